package cloudhttp

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/oauth2"
)

const maxToken = 4096 // bytes

// TokenError is a token file that cannot be used. It never contains the token.
type TokenError struct {
	Path   string
	Err    error
	Remedy string
}

// Error names the file, what is wrong and the remedy.
func (e *TokenError) Error() string {
	return fmt.Sprintf("token file %s: %v; %s", e.Path, e.Err, e.Remedy)
}

// Unwrap returns what is wrong.
func (e *TokenError) Unwrap() error { return e.Err }

// LoadToken reads an API token: one line in a file that only its owner may read, spaces around it
// ignored. Every error is a [*TokenError].
func LoadToken(path string) (string, error) {
	token, _, err := loadToken(path)
	return token, err
}

func loadToken(path string) (string, fs.FileInfo, error) {
	const write = "write the API token into it, as its only line"
	f, err := os.Open(path)
	if err != nil {
		var p *fs.PathError // the path is named already
		if errors.As(err, &p) {
			err = p.Err
		}
		return "", nil, &TokenError{path, err, "create it, readable by buoy alone (mode 0600), and " + write}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", nil, &TokenError{path, err, write}
	}
	if !info.Mode().IsRegular() {
		return "", info, &TokenError{path, errors.New("not a regular file"), write}
	}
	if mode := info.Mode().Perm(); mode&forbidden(path) != 0 {
		return "", info, &TokenError{path, fmt.Errorf("mode %04o lets others read it", mode), "chmod 600 " + path}
	}
	content, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", info, &TokenError{path, err, write}
	}
	token := strings.TrimSpace(string(content))
	switch {
	case token == "":
		return "", info, &TokenError{path, errors.New("empty"), write}
	case len(content) > maxToken:
		return "", info, &TokenError{path, fmt.Errorf("longer than %d bytes", maxToken), write}
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", info, &TokenError{path, errors.New("more than one word, or characters that no token has"), write}
	}
	return token, info, nil
}

// forbidden returns the permission bits that a token file must not have. A systemd credential is
// granted to the service's user by an ACL, whose mask shows as group-readable (0440) though no
// group may read it.
func forbidden(path string) fs.FileMode {
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" && filepath.Dir(path) == filepath.Clean(dir) {
		return 0o037
	}
	return 0o077
}

// TokenFile is an oauth2.TokenSource over a file that may be replaced at any time. When the new
// content is unusable the last good token stays in force, with one warning for each change: a slip
// while rotating must not cost the address.
type TokenFile struct {
	path string
	log  hclog.Logger

	mu    sync.Mutex
	token string
	seen  fs.FileInfo // of the last attempt to read; nil if there was no file
	gen   uint64      // counts the tokens, from 1
}

var _ oauth2.TokenSource = (*TokenFile)(nil)

// OpenToken reads the file once and returns it as a source. Every error is a [*TokenError].
func OpenToken(path string, log hclog.Logger) (*TokenFile, error) {
	token, info, err := loadToken(path)
	if err != nil {
		return nil, err
	}
	return &TokenFile{path: path, log: log, token: token, seen: info, gen: 1}, nil
}

// FixedToken is a source without a file.
func FixedToken(token string) *TokenFile { return &TokenFile{token: token, gen: 1} }

// Token returns the file's present token. It never fails: the last good one is the fallback.
func (t *TokenFile) Token() (*oauth2.Token, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, _ := os.Stat(t.path) // nil when it is gone
	if t.path != "" && !sameFile(t.seen, now) {
		token, _, err := loadToken(t.path)
		switch {
		case err != nil:
			t.log.Warn("the token file has become unusable; the last good token stays in force", "error", err)
		case token != t.token:
			t.log.Info("the token has been replaced", "file", t.path)
			t.token = token
			t.gen++
		}
		t.seen = now
	}
	return &oauth2.Token{AccessToken: t.token}, nil
}

// Generation numbers the token that Token returned last.
func (t *TokenFile) Generation() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.gen
}

// sameFile reports whether nothing has happened to the file between two looks.
func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && a.Mode() == b.Mode()
}
