package peernet

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	keyA = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k="
	keyB = "T1wQ2Vb5y0n8sJrXk3mDfHc7uLz9aGeYpR6iKvNxWoE="
	keyC = "9f0K3xqLr8Vn2ZtJwYbUe5HsMgCd7Ri1PoAkXlQvBz4="
)

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func TestParseSecrets(t *testing.T) {
	counting := make([]byte, secretBytes)
	for i := range counting {
		counting[i] = byte(3 * i)
	}
	for _, c := range []struct {
		name, in string
		keys     int
		want     string // words of the error
	}{
		{"one line", keyB, 1, ""},
		{"line feed", keyB + "\n", 1, ""},
		{"CRLF", keyB + "\r\n" + keyC + "\r\n\r\n", 2, ""},
		{"eight", strings.Repeat(keyB+"\n", 8), 8, ""},
		{"nine", strings.Repeat(keyB+"\n", 9), 0, "9 lines, allowed are 1 to 8"},
		{"empty", "", 0, "is empty"},
		{"only line feeds", "\r\n\n", 0, "is empty"},
		{"blank line between", keyB + "\n\n" + keyC, 0, "line 2 is empty"},
		{"comment", "# ours\n" + keyB, 0, "line 1 is not base64"},
		{"passphrase", "correct horse battery staple", 0, "line 1 is not base64"},
		{"cut short", keyB[:40], 0, "line 1 is 30 bytes in base64, expected 32"},
		{"hex", keyB + "\n" + strings.Repeat("0123456789abcdef", 4), 0, "line 2 is 48 bytes"},
		{"all zero", b64(make([]byte, 32)), 0, "guessable"},
		{"repeated bytes", keyA, 0, "guessable"},
		{"passphrase in base64", b64([]byte("hunter2-hunter3-hunter4-qwertzui")), 0, "guessable"},
		{"counting", b64(counting), 0, "guessable"},
		{"two on a line", keyB + " " + keyC, 0, "line 1 is not base64"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := ParseSecrets([]byte(c.in))
			if c.want == "" {
				if err != nil || len(s.all()) != c.keys {
					t.Fatalf("%d keys, %v; want %d", len(s.all()), err, c.keys)
				}
				return
			}
			wantError(t, err, c.want)
			var se *SecretError
			if !errors.As(err, &se) {
				t.Fatalf("%T, want a *SecretError", err)
			}
			for line := range strings.Lines(c.in) {
				if l := strings.TrimSpace(line); l != "" && strings.Contains(err.Error(), l) {
					t.Fatalf("the error shows the secret: %v", err)
				}
			}
		})
	}
}

func TestGeneratedSecretsAreAccepted(t *testing.T) {
	a, b := newSecret(t), newSecret(t)
	if a == b {
		t.Fatal("twice the same secret")
	}
	if _, err := ParseSecrets([]byte(a + "\n" + b + "\n")); err != nil {
		t.Fatal(err)
	}
}

func TestLoadSecrets(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // WriteFile is subject to the umask
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct{ name, path, problem, remedy string }{
		{"private", write("private", keyB+"\n", 0o600), "", ""},
		{"read-only", write("read-only", keyB+"\n"+keyC, 0o400), "", ""},
		{"world", write("world", keyB, 0o644), "mode 0644", "chmod 600 " + dir + "/world"},
		{"group", write("group", keyB, 0o640), "mode 0640", "chmod 600 " + dir + "/group"},
		{"writable by others", write("others", keyB, 0o602), "mode 0602", "chmod 600"},
		{"missing", dir + "/none", "does not exist", "buoy keygen > " + dir + "/none"},
		{"directory", dir, "is a directory", "secret_file"},
		{"device", "/dev/null", "is no regular file", ""},
		{"empty", write("empty", "", 0o600), "is empty", "buoy keygen > " + dir + "/empty"},
		{"weak", write("weak", keyB+"\n"+keyA, 0o600), "line 2 is guessable", "buoy keygen > "},
		{"huge", write("huge", strings.Repeat(keyB+"\n", 1000), 0o600), "is larger than 4096 bytes", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := LoadSecrets(c.path)
			if c.problem == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantError(t, err, c.path+": ")
			wantError(t, err, c.problem)
			wantError(t, err, c.remedy)
			var se *SecretError
			if !errors.As(err, &se) || se.Path != c.path {
				t.Fatalf("%#v, want a *SecretError for %s", err, c.path)
			}
		})
	}
}

func TestLoadSecretsOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(keyB), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 12345, -1); err != nil {
		t.Fatal(err)
	}
	_, err := LoadSecrets(path)
	wantError(t, err, "belongs to uid 12345")
}

// systemd issue #29435: a credential's ACL mask shows as group bits.
func TestLoadSecretsFromCredentialsDirectory(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	if err := os.WriteFile(path, []byte(keyB), 0o600); err != nil {
		t.Fatal(err)
	}
	load := func(mode os.FileMode) error {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadSecrets(path)
		return err
	}
	wantError(t, load(0o440), "mode 0440")
	t.Setenv("CREDENTIALS_DIRECTORY", dir+"/")
	if err := load(0o440); err != nil {
		t.Fatal(err)
	}
	wantError(t, load(0o444), "mode 0444")
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	s, err := ParseSecrets([]byte(keyB))
	if err != nil {
		t.Fatal(err)
	}
	id, err := NewIdentity(s, "web", "lb1")
	if err != nil {
		t.Fatal(err)
	}
	type holder struct {
		Shown  Secrets
		hidden Secrets // fmt cannot call methods here
		id     *Identity
	}
	var printed strings.Builder
	for _, v := range []any{s, &s, holder{s, s, id}, &holder{s, s, id}, id, []Secrets{s}, map[string]Secrets{"a": s}} {
		fmt.Fprintf(&printed, "%v %+v %#v %s %q %x %d\n", v, v, v, v, v, v, v)
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		printed.Write(append(j, '\n'))
	}
	printed.WriteString(s.String() + s.GoString()) // fmt itself prefers Format
	out := printed.String()
	if !strings.Contains(out, redacted) {
		t.Fatalf("nothing says %s:\n%s", redacted, out)
	}
	for name, key := range map[string][]byte{"secret": s.all()[0], "CA key": id.caKey().Seed()} {
		for _, form := range []string{
			b64(key), fmt.Sprintf("%x", key[:8]), string(key[:8]),
			decimals(key[:8]), fmt.Sprintf("%#v", key[:4])[8:20],
		} {
			if strings.Contains(out, form) {
				t.Errorf("%s printed as %q in:\n%s", name, form, out)
			}
		}
	}
}

func FuzzParseSecrets(f *testing.F) {
	for _, seed := range []string{"", keyB, keyA + "\r\n", keyB + "\n" + keyC, "#", "\n\n", strings.Repeat(keyB+"\n", 9)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSecrets(bytes.Clone(data))
		if err != nil {
			var se *SecretError
			if !errors.As(err, &se) || len(s.all()) != 0 {
				t.Fatalf("%v with %d keys", err, len(s.all()))
			}
			return
		}
		if n := len(s.all()); n < 1 || n > maxSecrets {
			t.Fatalf("%d keys", n)
		}
		for i, key := range s.all() {
			if len(key) != secretBytes || weak(key) {
				t.Fatalf("key %d: %d bytes or weak", i, len(key))
			}
			if !bytes.Contains(data, []byte(b64(key))) {
				t.Fatalf("key %d does not stand in the input", i)
			}
		}
	})
}

// decimals is how fmt prints bytes with %v and %d, without the brackets.
func decimals(b []byte) string { return strings.Trim(fmt.Sprintf("%d", b), "[]") }
