// Package config turns buoy.yaml into typed values, or into errors that an operator can
// act on: each names the file, the line and the key, shows the offending text, and says
// what was found and what is allowed. All mistakes of a file are reported at once.
//
// It judges the YAML alone. It opens no other file, asks no network and starts nothing,
// so that configuration management can run `buoy check` before the secret, the token or
// HAProxy exist; `buoy run` and `buoy doctor` judge the things that the file names.
//
// The document is read from its syntax tree, key by key, rather than decoded into
// structs: only the tree knows where a wrong value stands and whether a key was given at
// all, and a getter that carries the default and the range of its key is one line. The
// files: section.go reads one mapping, values.go one scalar; file.go, provider.go and
// check.go name the keys; config.go holds the result.
//
// A key with no value (`id:`) counts as absent. Anchors, aliases, merge keys and tags are
// refused: what stands in the file is what is meant.
package config
