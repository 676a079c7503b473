package command

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/buoy-lb/buoy/assigner"
)

const (
	grace     = 2 * time.Second // between SIGTERM and SIGKILL, and between the end and that of the output
	maxOutput = 4 << 10         // bytes kept of what a program prints
	tempFail  = 75              // EX_TEMPFAIL of sysexits.h
)

// run executes one program to its end and returns what it wrote to stdout. check, if any, runs
// right before the start.
func (p *Provider) run(ctx context.Context, argv []string, ip netip.Addr, check func() error) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.o.Timeout, fmt.Errorf("not done within %v", p.o.Timeout))
	defer cancel()
	var stdout, stderr capped
	cmd := exec.CommandContext(ctx, argv[0], p.arguments(argv, ip)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return signal(cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace // then SIGKILL, and no more waiting for children that hold the output open

	if err := trusted(argv[0]); err != nil {
		return "", &assigner.Error{Class: assigner.Own, Op: "start " + argv[0], Err: err}
	}
	if check != nil {
		if err := check(); err != nil {
			return "", &assigner.Error{Class: assigner.NoRight, Op: "start " + argv[0], Err: err}
		}
	}
	if err := cmd.Start(); err != nil {
		return "", notRunnable(argv[0], err)
	}
	err := cmd.Wait()
	_ = signal(cmd.Process.Pid, syscall.SIGKILL) // children that it left behind
	if errors.Is(err, exec.ErrWaitDelay) {       // it has succeeded; a child that it left behind held the output
		err = nil
	}
	if err == nil {
		return stdout.String(), nil
	}
	p.o.Logger.Warn("program failed", "program", argv[0], "ip", ip, "error", err,
		"stdout", summary(stdout.String()), "stderr", summary(stderr.String()))
	return "", failure(ctx, argv[0], err, summary(stderr.String()+"\n"+stdout.String()))
}

// failure classes the end of a program.
func failure(ctx context.Context, program string, err error, output string) error {
	class := assigner.Own
	var exit *exec.ExitError
	switch cause := context.Cause(ctx); {
	case cause != nil:
		class, err = assigner.Shared, fmt.Errorf("stopped: %w", cause)
	case errors.As(err, &exit) && exit.ExitCode() == tempFail:
		class = assigner.Shared
	}
	if output != "" {
		err = fmt.Errorf("%w; it said: %s", err, output)
	}
	return &assigner.Error{Class: class, Op: program, Err: err}
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

// summary makes a program's output fit for a log line.
func summary(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if r := []rune(s); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return s
}
