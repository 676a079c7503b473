package program

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Check says why path, which is absolute, must not be run as a program: it is not there, or cannot
// be executed; or this process is root, and somebody else could replace the file, a directory
// on the way to it or a link (as keepalived's enable_script_security). Ask again right before
// each run: it may have changed.
//
// It judges the program alone, not the files that its arguments name.
func Check(path string) error {
	return check(path, os.Geteuid())
}

// check is Check for the user euid.
func check(path string, euid int) error {
	last, err := walk(path, func(at string, info fs.FileInfo) error {
		if euid != 0 {
			return nil // it can do no more than its user could
		}
		return onlyOurs(at, info, euid)
	})
	switch {
	case err != nil:
		return err
	case !last.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file (%s)", path, last.Mode())
	case last.Mode()&0o111 == 0:
		return fmt.Errorf("%s is not executable; chmod +x %s", path, path)
	}
	return nil
}

// maxLinks is how many symbolic links the kernel follows (path_resolution(7)).
const maxLinks = 40

// walk visits, from the root on, whatever the kernel passes on its way to path, links included,
// and returns what path is in the end.
func walk(path string, visit func(at string, info fs.FileInfo) error) (fs.FileInfo, error) {
	at, rest := "/", strings.Split(path, "/")
	info, err := os.Lstat(at)
	if err == nil {
		err = visit(at, info)
	}
	for links := 0; err == nil && len(rest) > 0; {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		if info, err = os.Lstat(next); err == nil {
			err = visit(next, info)
		}
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		target, readErr := os.Readlink(next)
		if links++; readErr != nil || links > maxLinks {
			return nil, errors.Join(fmt.Errorf("%s: too many symbolic links", path), readErr)
		}
		if rest = append(strings.Split(target, "/"), rest...); filepath.IsAbs(target) {
			at = "/"
		}
	}
	return info, err
}

// onlyOurs refuses what somebody other than root and euid may change. In a directory with the
// sticky bit others may add files, yet not replace those of root.
func onlyOurs(at string, info fs.FileInfo, euid int) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: its owner is not known", at)
	}
	mode := info.Mode()
	sticky := mode.IsDir() && mode&fs.ModeSticky != 0
	switch {
	case stat.Uid != 0 && int(stat.Uid) != euid:
		return fmt.Errorf("%s belongs to user %d, who could replace it; it would run as root: chown root %s", at, stat.Uid, at)
	case mode&fs.ModeSymlink != 0: // its own mode means nothing
	case mode&0o020 != 0 && stat.Gid != 0 && !sticky:
		return fmt.Errorf("%s is writable by group %d (mode %04o); it would run as root: chmod g-w %s", at, stat.Gid, mode.Perm(), at)
	case mode&0o002 != 0 && !sticky:
		return fmt.Errorf("%s is writable by everybody (mode %04o); it would run as root: chmod o-w %s", at, mode.Perm(), at)
	}
	return nil
}
