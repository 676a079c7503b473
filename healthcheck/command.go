package healthcheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// killDelay is how long a program has to follow SIGTERM (keepalived,
	// vrrp_scheduler.c).
	killDelay = 2 * time.Second

	// pipeDelay is how long its output may be held open by what it left
	// behind.
	pipeDelay = 100 * time.Millisecond
)

// Command is the kind `command`: a program that exits 0 is a success, another
// status or a signal a failure, as keepalived's vrrp_script has it.
//
// The program runs in a process group of its own, without a shell and with
// nothing on its standard input. At the timeout the group is sent SIGTERM, and
// 2 s later SIGKILL. The failure counts at the timeout and not, as in
// keepalived, when the program has been reaped: one that ignores signals
// (stuck on a dead disk, say) must not keep its last good result. For the same
// reason a look while the previous run has not ended is a failure, and starts
// nothing.
type Command struct {
	argv []string
	last *run // touched by Check and Close only
}

var _ interface {
	Checker
	io.Closer
} = (*Command)(nil)

// NewCommand returns a check that runs argv: a program and its arguments. It
// inherits the environment and the user of this process.
func NewCommand(argv []string) *Command { return &Command{argv: argv} }

// Check runs the program once, for as long as ctx allows.
func (c *Command) Check(ctx context.Context) Result {
	if c.last != nil && !c.last.over() {
		return Result{Cause: "stuck", Output: fmt.Sprintf("%s: the previous run (process %d) has not ended yet", c.argv[0], c.last.pid())}
	}
	r, err := startRun(c.argv)
	if err != nil {
		return Result{Cause: "not started", Output: err.Error()}
	}
	c.last = r
	select {
	case <-r.done:
		return r.result(c.argv[0])
	case <-ctx.Done():
		r.terminate()
		return Result{Cause: "timeout", Output: c.argv[0] + ": not finished within the timeout, killed"}
	}
}

// Close kills what is still running, and waits for it for at most a second.
func (c *Command) Close() error {
	if c.last == nil || c.last.over() {
		return nil
	}
	c.last.signal(syscall.SIGKILL)
	select {
	case <-c.last.done:
		return nil
	case <-time.After(time.Second):
		return fmt.Errorf("process %d does not end after SIGKILL", c.last.pid())
	}
}

// run is one run of a program.
type run struct {
	cmd  *exec.Cmd
	out  capped
	err  error         // of Wait; readable once done is closed
	done chan struct{} // closed when the program has been reaped

	terminated atomic.Bool
}

func startRun(argv []string) (*run, error) {
	//nolint:noctx // a context would kill the program alone, and at once; terminate ends its group
	r := &run{cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.out
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.cmd.WaitDelay = pipeDelay
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	go func() {
		defer close(r.done)
		r.err = r.cmd.Wait()
		if r.terminated.Load() {
			r.signal(syscall.SIGKILL) // what it left behind; its number is still fresh
		}
	}()
	return r, nil
}

func (r *run) pid() int { return r.cmd.Process.Pid }

// over reports whether the program has been reaped.
func (r *run) over() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// result is the verdict on a run that is over.
func (r *run) result(name string) Result {
	said := r.out.String()
	if r.err == nil || errors.Is(r.err, exec.ErrWaitDelay) { // the latter: exit 0, and a child keeps the output open
		return Result{State: Good, Output: said}
	}
	out := fmt.Sprintf("%s: %v", name, r.err)
	if said = oneLine(said); said != "" {
		out += ": " + said
	}
	return Result{Cause: "failed", Output: out}
}

// terminate ends the whole group: SIGTERM now, SIGKILL when its leader has
// ended, or after killDelay.
func (r *run) terminate() {
	r.terminated.Store(true)
	r.signal(syscall.SIGTERM)
	time.AfterFunc(killDelay, func() {
		if !r.over() { // else the number may be somebody else's by now
			r.signal(syscall.SIGKILL)
		}
	})
}

// signal sends sig to the group.
func (r *run) signal(sig syscall.Signal) { _ = syscall.Kill(-r.pid(), sig) }

// capped keeps the first maxOutput bytes and takes the rest, so that a program
// that talks a lot is neither stopped nor stored.
type capped struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write never fails.
func (c *capped) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf.Write(p[:min(len(p), maxOutput-c.buf.Len())])
	return len(p), nil
}

// String is what was kept so far.
func (c *capped) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}
