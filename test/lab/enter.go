package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
)

// insideVar is set in the environment of a process that Enter has started.
const insideVar = "BUOY_LAB_INSIDE"

// realTime is the SCHED_RR priority of the lab itself.
const realTime = 10

// ErrNotRoot is returned by Enter when the lab cannot run here.
var ErrNotRoot = errors.New("the lab needs root: it makes network namespaces")

// Inside reports whether this process is the lab proper, in its own mount namespace.
func Inside() bool { return os.Getenv(insideVar) != "" }

// Enter runs this program again, with the same arguments, as the lab proper: in a mount
// namespace of its own, where all files and named network namespaces end with it, and
// ahead of all that it measures. It returns the exit status. Whatever way either of the
// two ends, nothing that the lab started outlives it.
func Enter(ctx context.Context) (status int, err error) {
	if os.Geteuid() != 0 {
		return 1, ErrNotRoot
	}
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideVar+"=1")
	p, err := sandbox.StartProcess(cmd, func() error {
		// unshare(2) is for this thread alone: it is thrown away once the child has ended.
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("make a mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("keep mounts private: %w", err)
		}
		return schedule(unix.SCHED_RR, realTime)
	})
	if err != nil {
		return 1, err
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer close(asked)
	defer signal.Stop(asked)
	go func() { // until asked is closed
		for s := range asked {
			p.Signal(s)
		}
	}()
	_ = p.Wait(context.WithoutCancel(ctx)) // it is told by a signal when to end
	return cmd.ProcessState.ExitCode(), nil
}

// schedule sets the policy of the calling thread, which its children inherit.
func schedule(policy uint32, priority uint32) error {
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: policy, Priority: priority}
	if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
		return fmt.Errorf("set the scheduling policy: %w", err)
	}
	return nil
}

// newDir makes the folder of a world. It is a file system of its own in memory, which
// vanishes with the lab's mount namespace even after kill -9. The path is short: a unix
// socket's may have no more than 107 bytes.
func newDir() (string, error) {
	if !Inside() {
		return "", errors.New("lab: Enter first")
	}
	const dir = "/run/buoy-lab"
	for _, mount := range []string{dir, "/run/netns"} {
		if err := os.MkdirAll(mount, 0o755); err != nil {
			return "", err
		}
		if err := unix.Mount("lab", mount, "tmpfs", 0, "size=1g,mode=755"); err != nil {
			return "", fmt.Errorf("mount %s: %w", mount, err)
		}
	}
	return filepath.Join(dir, "w"), os.Mkdir(filepath.Join(dir, "w"), 0o755)
}
