package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
)

const (
	// Grace is how long a program has between SIGTERM and SIGKILL, and a child that it has
	// left behind may hold its output open.
	Grace     = 2 * time.Second
	maxOutput = 4 << 10 // bytes kept of what a program prints
)

// ErrNotStarted is in the error of a program that could not be started at all.
var ErrNotStarted = errors.New("cannot be run")

// Output is the first 4 KiB of each of the things that a program printed.
type Output struct{ Stdout, Stderr string }

// Run executes argv to its end, with env added to this process's own environment. When ctx
// ends, the process group gets SIGTERM and, after [Grace], SIGKILL; children that are left in
// it when the program has ended are killed too. The error is nil for exit status 0, an
// *exec.ExitError for another one, or [ErrNotStarted] with the cause; of a program that ctx has
// ended it is never nil.
func Run(ctx context.Context, argv, env []string) (Output, error) {
	var stdout, stderr capped
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return signal(cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = Grace
	if err := cmd.Start(); err != nil {
		return Output{}, fmt.Errorf("%w: %w", ErrNotStarted, err)
	}
	err := cmd.Wait()
	_ = signal(cmd.Process.Pid, syscall.SIGKILL) // children that it left behind
	if errors.Is(err, exec.ErrWaitDelay) {       // it has succeeded; such a child held the output
		err = nil
	}
	return Output{stdout.String(), stderr.String()}, err
}

// signal sends sig to what is left of a program's process group. The group's number cannot be in
// use by others while a member lives, and right after the last one's end it is not yet: the kernel
// hands numbers out in ascending order.
func signal(pid int, sig syscall.Signal) error {
	if err := syscall.Kill(-pid, sig); errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	} else if err != nil {
		return err
	}
	return nil
}

// capped keeps the first maxOutput bytes and swallows the rest, so that the program does not block
// on it.
type capped struct {
	mu  sync.Mutex // after WaitDelay os/exec no longer waits for the copying goroutine
	buf []byte
}

// Write never fails.
func (c *capped) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf = append(c.buf, b[:min(len(b), maxOutput-len(c.buf))]...)
	return len(b), nil
}

// String returns what was kept.
func (c *capped) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.buf)
}

// Summary makes a program's output, or any other text, one printable line of at most 200 characters.
func Summary(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if r := []rune(s); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return s
}
