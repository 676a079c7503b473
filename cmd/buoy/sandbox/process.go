package sandbox

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// process is a child that cannot outlive this process.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed once the child has been reaped
}

// startProcess starts name with its output appended to logPath. The child is in a
// process group of its own, so that Ctrl-C on a terminal reaches it through Close only.
func startProcess(logPath, name string, args ...string) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	// The child holds its own copy of the descriptor.
	defer log.Close()

	// Not CommandContext: a child lives until somebody here ends it, and dies with us.
	cmd := exec.CommandContext(context.Background(), name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go p.own(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// own starts the child and waits for it on one locked thread: the parent-death signal
// is tied to the thread that forks, not to the process (golang/go#27505).
func (p *process) own(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	err := p.cmd.Start()
	started <- err
	if err == nil {
		_ = p.cmd.Wait() // how it ended is in its log
	}
}

// running says whether the child has not been reaped yet; a nil process has ended.
func (p *process) running() bool {
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

// signal sends sig; an ended process is left alone.
func (p *process) signal(sig os.Signal) {
	if p.running() {
		_ = p.cmd.Process.Signal(sig) // fails only if it has just ended
	}
}

// kill ends the process at once and waits until it is gone.
func (p *process) kill() {
	if p == nil {
		return
	}
	p.signal(syscall.SIGKILL)
	<-p.done
}

// stop asks the process to end with SIGTERM and waits. It is killed when ctx ends
// first, which is an error.
func (p *process) stop(ctx context.Context) error {
	p.signal(syscall.SIGTERM)
	if !p.running() {
		return nil
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		p.kill()
		return fmt.Errorf("stop %s (pid %d): %w", p.cmd.Path, p.cmd.Process.Pid, ctx.Err())
	}
}
