package peernet

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const (
	secretBytes = 32
	// maxSecrets bounds the handshake's work: each secret is one more CA to try.
	maxSecrets = 8
	// maxSecretFile is far above eight lines of 44 characters.
	maxSecretFile = 4096

	keygenHint = "create one with: umask 077; buoy keygen"
)

// SecretError says what is wrong with the cluster secret and how to mend it. It
// never holds any part of the secret itself.
type SecretError struct {
	Path    string // the file, "" for a secret that came from memory
	Problem string // what was found, and what is allowed
	Remedy  string // what to type, may be ""
	Err     error  // the cause, may be nil
}

func (e *SecretError) Error() string {
	s := "cluster secret"
	if e.Path != "" {
		s += " " + e.Path
	}
	s += ": " + e.Problem
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

func (e *SecretError) Unwrap() error { return e.Err }

// Secrets holds the cluster's secrets: the first one is ours, every one is
// accepted. It prints as "[secret]" in every format. The zero value holds none.
type Secrets struct {
	// A function, because fmt sees through everything else where a Secrets sits
	// in somebody's unexported field: it may not call our methods there.
	keys func() [][]byte
}

const redacted = "[secret]"

// String returns "[secret]".
func (Secrets) String() string { return redacted }

// GoString returns "[secret]".
func (Secrets) GoString() string { return redacted }

// Format prints "[secret]" whatever the verb.
func (Secrets) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns "[secret]"; encoding/json uses it too.
func (Secrets) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (s Secrets) all() [][]byte {
	if s.keys == nil {
		return nil
	}
	return s.keys()
}

// GenerateSecret returns a new cluster secret: 32 random bytes in base64, one
// line without its line feed.
func GenerateSecret() (string, error) {
	key := make([]byte, secretBytes)
	if _, err := rand.Read(key); err != nil {
		return "", fmt.Errorf("read random bytes: %w", err)
	}
	return base64.StdEncoding.EncodeToString(key), nil
}

// ParseSecrets reads one base64 secret of 32 bytes a line, at most eight. The
// first line is the secret that this node uses, the further ones it accepts from
// others as well. To rotate without a gap: the new secret as second line on
// every node, then as first line on every node, then the old line out.
//
// Carriage returns and line feeds at the end are tolerated, comments are not.
// Errors are a *SecretError.
func ParseSecrets(data []byte) (Secrets, error) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return Secrets{}, &SecretError{Problem: "is empty", Remedy: keygenHint}
	}
	lines := bytes.Split(data, []byte("\n"))
	if len(lines) > maxSecrets {
		return Secrets{}, &SecretError{
			Problem: fmt.Sprintf("has %d lines, allowed are 1 to %d, one secret each", len(lines), maxSecrets),
			Remedy:  "remove the secrets that no node uses any more",
		}
	}
	keys := make([][]byte, 0, len(lines))
	for i, line := range lines {
		key, problem := parseSecret(bytes.TrimSpace(line))
		if problem != "" {
			return Secrets{}, &SecretError{Problem: fmt.Sprintf("line %d %s", i+1, problem), Remedy: keygenHint}
		}
		keys = append(keys, key)
	}
	return Secrets{keys: func() [][]byte { return keys }}, nil
}

// parseSecret returns the key, or in words what is wrong with the line. It never
// quotes the line.
func parseSecret(line []byte) (key []byte, problem string) {
	key, err := base64.StdEncoding.Strict().AppendDecode(nil, line)
	switch {
	case len(line) == 0:
		return nil, "is empty, expected a secret of 32 bytes in base64"
	case err != nil:
		return nil, fmt.Sprintf("is not base64 (%d characters, expected the 44 that buoy keygen prints)", len(line))
	case len(key) != secretBytes:
		return nil, fmt.Sprintf("is %d bytes in base64, expected %d", len(key), secretBytes)
	case weak(key):
		return nil, "is guessable (a pattern or a passphrase), expected 32 random bytes"
	}
	return key, ""
}

// weak recognizes keys that no random generator produced: few distinct bytes,
// a constant step from byte to byte, or nothing but printable text. A random key
// is refused by mistake once in about 10^13 keys.
func weak(key []byte) bool {
	seen := map[byte]bool{}
	step, text := true, true
	for i, b := range key {
		seen[b] = true
		text = text && b >= ' ' && b <= '~'
		step = step && (i < 2 || b-key[i-1] == key[1]-key[0])
	}
	return len(seen) < 16 || step || text
}

// LoadSecrets reads the secrets from a file, as ParseSecrets does. The file must
// be regular, belong to us or to root, and be readable by nobody else (mode 0600
// or less). Errors are a *SecretError.
func LoadSecrets(path string) (Secrets, error) {
	data, err := readSecretFile(path)
	if err != nil {
		return Secrets{}, err
	}
	s, err := ParseSecrets(data)
	var se *SecretError
	if errors.As(err, &se) {
		se.Path = path
		if se.Remedy == keygenHint {
			se.Remedy += " > " + path
		}
	}
	return s, err
}

func readSecretFile(path string) ([]byte, error) {
	// Nonblocking, so that a FIFO under that name is an error and not a hang.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &SecretError{
			Path: path, Problem: "does not exist", Err: err,
			Remedy: fmt.Sprintf("copy it from another node, or create one with: (umask 077; buoy keygen > %s)", path),
		}
	}
	if err != nil {
		return nil, &SecretError{Path: path, Problem: err.Error(), Err: err}
	}
	defer f.Close()
	// Judged on the open file, so that it cannot be swapped in between.
	info, err := f.Stat()
	if err != nil {
		return nil, &SecretError{Path: path, Problem: err.Error(), Err: err}
	}
	if err := checkSecretFile(path, info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return nil, &SecretError{Path: path, Problem: err.Error(), Err: err}
	}
	if len(data) > maxSecretFile {
		return nil, &SecretError{Path: path, Problem: fmt.Sprintf("is larger than %d bytes, expected one secret a line", maxSecretFile)}
	}
	return data, nil
}

func checkSecretFile(path string, info fs.FileInfo) error {
	if info.IsDir() {
		return &SecretError{Path: path, Problem: "is a directory, expected a file", Remedy: "set secret_file to the file in it"}
	}
	if !info.Mode().IsRegular() {
		return &SecretError{Path: path, Problem: fmt.Sprintf("is no regular file (%s)", info.Mode())}
	}
	forbidden := fs.FileMode(0o077)
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" && filepath.Dir(path) == filepath.Clean(dir) {
		// systemd gives a credential to the service's user by an ACL, whose mask
		// stat shows as group bits: 0440 there is private (systemd issue #29435).
		forbidden = 0o037
	}
	if mode := info.Mode().Perm(); mode&forbidden != 0 {
		return &SecretError{
			Path: path, Problem: fmt.Sprintf("is open to group or others (mode %04o, allowed is 0600 or less)", mode),
			Remedy: "others may have read it; if not, mend it with: chmod 600 " + path,
		}
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return &SecretError{
			Path: path, Problem: fmt.Sprintf("belongs to uid %d, expected uid %d (ours) or root", st.Uid, os.Geteuid()),
			Remedy: fmt.Sprintf("mend it with: chown %d %s", os.Geteuid(), path),
		}
	}
	return nil
}
