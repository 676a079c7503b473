package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"

	"github.com/buoy-lb/buoy/program"
)

// ProgramError is a program that must not be run, because somebody else could replace it.
type ProgramError struct{ Err error }

// Error says what is wrong and what to do.
func (e *ProgramError) Error() string { return fmt.Sprintf("a command of the provider: %v", e.Err) }

// Unwrap returns what is wrong.
func (e *ProgramError) Unwrap() error { return e.Err }

// trusted refuses what [program.Check] does. A program that is not there is no matter of trust:
// running it says so.
func trusted(name string) error {
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return nil //nolint:nilerror // see above
	}
	if err := program.Check(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &ProgramError{err}
	}
	return nil
}
