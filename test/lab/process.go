package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
	"github.com/buoy-lb/buoy/test/lab/wire"
)

// start runs a program on this host, at normal priority or at nice.
func (b *Balancer) start(nice int, log *os.File, env []string, argv ...string) (*sandbox.Process, error) {
	return startOn(b.host, nice, log, env, argv...)
}

func startOn(h *wire.Host, nice int, log *os.File, env []string, argv ...string) (*sandbox.Process, error) {
	// Not CommandContext: it lives until somebody here ends it, and dies with us.
	cmd := exec.CommandContext(context.Background(), argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), env...)
	return sandbox.StartProcess(cmd, func() error {
		if err := schedule(unix.SCHED_NORMAL, 0); err != nil {
			return err
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, nice); err != nil {
			return fmt.Errorf("set the priority: %w", err)
		}
		if h == nil {
			return nil
		}
		return h.Enter()
	})
}

// logFile is opened for appending; the caller closes it once the child runs.
func (b *Balancer) logFile(name string) (*os.File, error) {
	return os.OpenFile(filepath.Join(b.Dir, name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
}

// startMeasuring runs a part of the lab itself on a host, at the lab's own priority.
func startMeasuring(h *wire.Host, out *os.File, argv ...string) (*sandbox.Process, error) {
	cmd := exec.CommandContext(context.Background(), argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	return sandbox.StartProcess(cmd, h.Enter)
}
