package config

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
)

// DefaultDigitalOceanPath is where the assign-ip programs of keepalived's days keep the token.
const DefaultDigitalOceanPath = "/etc/digitalocean.yaml"

// LoadDigitalOcean reads the API token, the key apiToken, from such a program's configuration.
// It is read as those programs read it: whatever else stands in the file does not matter, nor
// who else may read it. The error is an [*Error], which never shows a line of the file.
func LoadDigitalOcean(path string) (token string, err error) {
	data, err := readAll(path)
	if err == nil {
		token, err = oldToken(data)
	}
	if err != nil {
		return "", &Error{File: path, Err: err}
	}
	return token, nil
}

func oldToken(data []byte) (string, error) {
	if len(data) > maxFile {
		return "", fmt.Errorf("is larger than %d KiB; this is not a file with a token", maxFile>>10)
	}
	var old struct {
		Token string `yaml:"apiToken"`
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if err := yaml.UnmarshalWithOptions(data, &old, yaml.AllowDuplicateMapKey()); err != nil {
		line := 0
		if syntax := yaml.Error(nil); errors.As(err, &syntax) && syntax.GetToken() != nil {
			line = syntax.GetToken().Position.Line
		}
		return "", fmt.Errorf("line %d: not what was expected; wanted: apiToken: TOKEN", line)
	}
	token := strings.TrimSpace(old.Token)
	switch {
	case token == "":
		return "", errors.New("has no apiToken; wanted: apiToken: TOKEN")
	case !IsToken(token):
		return "", errors.New("apiToken is more than one word, or has characters that no token has")
	}
	return token, nil
}

// IsToken says whether text can be an API token: one word of printable ASCII, fit for an HTTP
// header.
func IsToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}
