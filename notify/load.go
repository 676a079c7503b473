package notify

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxFile is far above what anybody lists.
const maxFile = 16 << 10

// load reads the entries of the configuration's alerts: URLs, and file:PATH for files of URLs, one
// a line. The error is an *Error.
func load(entries []string) ([]target, error) {
	var targets []target
	for i, entry := range entries {
		key := fmt.Sprintf("alerts[%d]", i)
		path, file := strings.CutPrefix(entry, "file:")
		if !file {
			t, err := parse(entry)
			if err != nil {
				return nil, &Error{key, err}
			}
			targets = append(targets, t)
			continue
		}
		listed, err := loadFile(path)
		if err != nil {
			return nil, &Error{key, err}
		}
		targets = append(targets, listed...)
	}
	return targets, nil
}

// Check says what is wrong with an alert URL, in words that hold no secret.
func Check(url string) error {
	_, err := parse(url)
	return err
}

func loadFile(path string) ([]target, error) {
	data, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	var targets []target
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		t, err := parse(line)
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, i+1, err)
		}
		targets = append(targets, t)
	}
	if len(targets) == 0 {
		return nil, fmt.Errorf("%s holds no URL; write one a line, or remove the entry", path)
	}
	return targets, nil
}

// readSecret reads a file that nobody else may read.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		var p *fs.PathError // with the path once is enough
		if errors.As(err, &p) {
			err = p.Err
		}
		return nil, fmt.Errorf("%s: %w; write the URLs into it, one a line, mode 0600", path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	mode := info.Mode().Perm()
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file", path)
	case mode&forbidden(path) != 0:
		return nil, fmt.Errorf("%s: mode %04o lets others read the passwords in it; chmod 600 %s", path, mode, path)
	case ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid():
		return nil, fmt.Errorf("%s belongs to user %d; chown %d %s", path, stat.Uid, os.Geteuid(), path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than %d KiB", path, maxFile>>10)
	}
	return data, err
}

// forbidden are the permission bits that the file must not have. systemd gives a credential to
// the service's user by an ACL, whose mask stat shows as group bits (systemd issue #29435).
func forbidden(path string) fs.FileMode {
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" && filepath.Dir(path) == filepath.Clean(dir) {
		return 0o037
	}
	return 0o077
}
