package command

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// ProgramError is a program that root must not run, because somebody else could replace it.
type ProgramError struct {
	Path string // what somebody else can change: the program, or a directory on the way to it
	Err  error
}

// Error names the place and what is wrong with it.
func (e *ProgramError) Error() string {
	return fmt.Sprintf("%s: %v; as root buoy runs only what nobody else can change", e.Path, e.Err)
}

// Unwrap returns what is wrong.
func (e *ProgramError) Unwrap() error { return e.Err }

// trusted refuses a program that others than root can change, if this process is root's. A
// program that is not there is no matter of trust.
func trusted(program string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	path, err := exec.LookPath(program)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return nil // running it says so
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil
	}
	for _, p := range []string{path, target} { // a link can be changed where it stands
		for ; ; p = filepath.Dir(p) {
			if err := onlyRoots(p); err != nil {
				return &ProgramError{p, err}
			}
			if p == "/" {
				break
			}
		}
	}
	return nil
}

// onlyRoots says why others than root can change path. As for keepalived's scripts: it must belong
// to root, and be writable by no other user, nor by a group that is not root's. A directory with
// the sticky bit may be: others cannot touch root's files in it.
func onlyRoots(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return nil // as above
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	mode := info.Mode()
	switch {
	case !ok:
		return nil
	case owner.Uid != 0:
		return fmt.Errorf("belongs to user %d, not to root", owner.Uid)
	case mode&fs.ModeSymlink != 0, mode.IsDir() && mode&fs.ModeSticky != 0:
		return nil
	case mode&0o002 != 0:
		return fmt.Errorf("mode %04o lets everybody write", mode.Perm())
	case mode&0o020 != 0 && owner.Gid != 0:
		return fmt.Errorf("mode %04o lets group %d write", mode.Perm(), owner.Gid)
	}
	return nil
}
