package cloudhttp

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadToken(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		content string
		mode    os.FileMode
		token   string
		text    string // part of the error
	}{
		"plain":          {"dop_v1_abc", 0o600, "dop_v1_abc", ""},
		"trimmed":        {" dop_v1_abc\r\n", 0o400, "dop_v1_abc", ""},
		"empty":          {"\n", 0o600, "", "empty"},
		"two lines":      {"dop_v1_abc\ndop_v1_def\n", 0o600, "", "more than one word"},
		"no ASCII":       {"dop_v1_äbc\n", 0o600, "", "characters"},
		"huge":           {strings.Repeat("x", 5000), 0o600, "", "longer than"},
		"group-readable": {"dop_v1_abc", 0o640, "", "chmod 600"},
		"world-readable": {"dop_v1_abc", 0o604, "", "mode 0604"},
	} {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(path, []byte(c.content), c.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil { // past the umask
			t.Fatal(err)
		}
		token, err := LoadToken(path)
		if token != c.token || (err == nil) != (c.text == "") {
			t.Errorf("%s: %q, %v; want %q", name, token, err, c.token)
		}
		wantTokenError(t, name, err, path, c.text)
	}
	for path, text := range map[string]string{filepath.Join(dir, "absent"): "create it", dir: "not a regular file"} {
		_, err := LoadToken(path)
		if err == nil {
			t.Errorf("%s is accepted", path)
		}
		wantTokenError(t, path, err, path, text)
	}
}

func wantTokenError(t *testing.T, name string, err error, path, text string) {
	t.Helper()
	if err == nil {
		return
	}
	var e *TokenError
	if !errors.As(err, &e) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v; want a *TokenError that names %s and says %q", name, err, path, text)
	}
	if strings.Contains(err.Error(), "dop_v1") || strings.Contains(err.Error(), "xxx") {
		t.Errorf("%s: the error contains the token: %v", name, err)
	}
}

// TestSystemdCredential: LoadCredential= of a service with User= shows as 0440, the ACL's mask.
func TestSystemdCredential(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	path := filepath.Join(dir, "do-token")
	if err := os.WriteFile(path, []byte("dop_v1_abc"), 0o400); err != nil {
		t.Fatal(err)
	}
	for mode, ok := range map[os.FileMode]bool{0o440: true, 0o444: false, 0o460: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadToken(path); (err == nil) != ok {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}
