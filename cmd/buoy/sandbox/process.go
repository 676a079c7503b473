package sandbox

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// Process is a child that cannot outlive this process. A nil Process has ended.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed once the child has been reaped
}

// startProcess starts name with its output appended to logPath.
func startProcess(logPath, name string, args ...string) (*Process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	// The child holds its own copy of the descriptor.
	defer log.Close()

	// Not CommandContext: a child lives until somebody here ends it, and dies with us.
	cmd := exec.CommandContext(context.Background(), name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	return StartProcess(cmd, nil)
}

// StartProcess starts cmd, whose output must be a file or nothing. The child is in a
// process group of its own, so that Ctrl-C on a terminal does not reach it. prepare, if
// not nil, runs first, on the thread that starts the child and is then thrown away:
// what it changes of that thread (a namespace, a priority) the child inherits.
func StartProcess(cmd *exec.Cmd, prepare func() error) (*Process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go p.own(prepare, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// own starts the child and waits for it on one locked thread: the parent-death signal
// is tied to the thread that forks, not to the process (golang/go#27505).
func (p *Process) own(prepare func() error, started chan<- error) {
	runtime.LockOSThread()
	defer close(p.done)
	if prepare == nil {
		defer runtime.UnlockOSThread()
	} else if err := prepare(); err != nil {
		started <- err
		return
	}
	err := p.cmd.Start()
	started <- err
	if err == nil {
		_ = p.cmd.Wait() // how it ended is in its log
	}
}

// PID is the child's process ID, also after its end.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Running says whether the child has not been reaped yet.
func (p *Process) Running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends sig; an ended process is left alone.
func (p *Process) Signal(sig os.Signal) {
	if p.Running() {
		_ = p.cmd.Process.Signal(sig) // fails only if it has just ended
	}
}

// Kill ends the process at once and waits until it is gone.
func (p *Process) Kill() {
	if p == nil {
		return
	}
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Wait waits until the process has ended.
func (p *Process) Wait(ctx context.Context) error {
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for %s (pid %d) to end: %w", p.cmd.Path, p.PID(), ctx.Err())
	}
}

// Stop asks the process to end with SIGTERM and waits. It is killed when ctx ends
// first, which is an error.
func (p *Process) Stop(ctx context.Context) error {
	p.Signal(syscall.SIGTERM)
	if !p.Running() {
		return nil
	}
	if err := p.Wait(ctx); err != nil {
		p.Kill()
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}
