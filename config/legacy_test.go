package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadDigitalOcean(t *testing.T) {
	const token = "dop_v1_0123456789abcdef"
	for name, c := range map[string]struct{ text, want, wrong string }{
		"as the blog has it": {"apiToken: " + token + "\n", token, ""},
		"document, comment":  {"---\n# DigitalOcean\napiToken: \"" + token + "\" # ours\n", token, ""},
		"from Windows":       {"\ufeffapiToken: " + token + "\r\n", token, ""},
		"JSON":               {`{"apiToken": "` + token + `"}`, token, ""},
		"other keys":         {"region: nyc3\napiToken: " + token + "\nfloatingIP: {a: [1, 2], b: &x 3, c: *x}\n", token, ""},
		"another key twice":  {"region: a\nregion: b\napiToken: " + token + "\n", token, ""},
		"digits alone":       {"apiToken: 1234567890\n", "1234567890", ""},
		"nothing":            {"", "", "no apiToken"},
		"another key":        {"apitoken: " + token + "\n", "", "no apiToken"},
		"empty":              {"apiToken:\n", "", "no apiToken"},
		"two words":          {"apiToken: " + token + " x\n", "", "more than one word"},
		"list":               {"a: b\napiToken: [" + token + "]\n", "", "line 2"},
		"no YAML":            {"apiToken: {" + token + "\n", "", "line 1"},
		"the token alone":    {token + "\n", "", "line 1"},
		"huge":               {"apiToken: " + strings.Repeat("x", 100_000), "", "64 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "digitalocean.yaml")
			if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := LoadDigitalOcean(path)
			if got != c.want || (err == nil) != (c.wrong == "") {
				t.Fatalf("LoadDigitalOcean = %q, %v; want %q", got, err, c.want)
			}
			var wrong *Error
			if err != nil && (!errors.As(err, &wrong) || !strings.Contains(err.Error(), c.wrong) || strings.Contains(err.Error(), token)) {
				t.Errorf("error %v; want %q, and nothing of the token", err, c.wrong)
			}
		})
	}
	if _, err := LoadDigitalOcean(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}
