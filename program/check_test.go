package program

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// safe makes a program in a directory that only its user may change, below one that others
// may add to (the system's temporary directory, with its sticky bit).
func safe(t *testing.T) (dir, path string) {
	t.Helper()
	temp := t.TempDir()
	chmod(t, temp, 0o755) // whatever the umask
	chmod(t, filepath.Dir(temp), 0o755)
	dir = filepath.Join(temp, "bin")
	path = filepath.Join(dir, "hook")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, path
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func wants(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", texts)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%v: no %q", err, text)
		}
	}
}

func TestCheckWantsAProgram(t *testing.T) {
	dir, path := safe(t)
	if err := Check(path); err != nil {
		t.Error(err)
	}
	wants(t, Check(path+"x"), path+"x", "no such file")
	wants(t, Check(dir), "no regular file")
	chmod(t, path, 0o644)
	wants(t, Check(path), "chmod +x "+path)
}

// Everybody's right to write, to the file, to a directory or along a link, is a right to become
// root. The test plays root: what belongs to its own user passes for root's.
func TestRootRunsOnlyWhatNobodyElseMayChange(t *testing.T) {
	root := func(path string) error {
		_, err := walk(path, func(at string, info os.FileInfo) error { return onlyOurs(at, info, os.Geteuid()) })
		return err
	}
	dir, path := safe(t)
	if err := root(path); err != nil {
		t.Fatal(err)
	}
	chmod(t, path, 0o757)
	wants(t, root(path), "chmod o-w "+path)
	chmod(t, path, 0o755)

	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if err := root(link); err != nil {
		t.Error(err)
	}
	chmod(t, dir, 0o777)
	wants(t, root(path), "chmod o-w "+dir)
	wants(t, root(link), "chmod o-w "+dir)
	chmod(t, dir, os.ModeSticky|0o777)
	if err := root(path); err != nil {
		t.Errorf("a sticky directory: %v", err)
	}

	// A link by way of a directory that everybody may change.
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	chmod(t, open, 0o777)
	if err := os.Symlink(path, filepath.Join(open, "middle")); err != nil {
		t.Fatal(err)
	}
	first := filepath.Join(dir, "first")
	if err := os.Symlink(filepath.Join("..", "..", filepath.Base(filepath.Dir(open)), "open", "middle"), first); err != nil {
		t.Fatal(err)
	}
	wants(t, root(first), "chmod o-w "+open)
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	wants(t, root(loop), "too many symbolic links")
}

func TestRootRunsNobodyElsesProgram(t *testing.T) {
	dir, path := safe(t)
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 { // the file is ours, so to anybody else but root it is a stranger's
		wants(t, onlyOurs(path, info, 0), "belongs to user")
		return
	}
	for _, foreign := range []string{path, dir} {
		if err := os.Chown(foreign, 65534, 0); err != nil {
			t.Fatal(err)
		}
		wants(t, Check(path), "belongs to user 65534", "chown root "+foreign)
		if err := os.Chown(foreign, 0, 65534); err != nil {
			t.Fatal(err)
		}
		chmod(t, foreign, 0o775)
		wants(t, Check(path), "chmod g-w "+foreign)
		chmod(t, foreign, 0o755)
		if err := Check(path); err != nil {
			t.Error(err)
		}
	}
}
