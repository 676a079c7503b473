package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// maxComm is how much of its name a process shows (TASK_COMM_LEN - 1).
const maxComm = 15

// Process is the kind `process`: a process lives, and its death is an event.
// It says nothing of what the process does: one that hangs lives.
type Process struct {
	name    string
	pidFile string

	events events
	seen   *watch // the process that was found last; only Check and Close touch it
}

var _ interface {
	Checker
	eventful
} = (*Process)(nil)

// NewProcess returns a check for any process whose name (comm, 15 bytes; a
// longer name is cut) is exactly name, or, with a pidFile, for the process
// whose number stands there; then a name that is not empty must match too.
func NewProcess(name, pidFile string) *Process {
	return &Process{name: name[:min(len(name), maxComm)], pidFile: pidFile, events: make(events, 1)}
}

// Events delivers when the watched process has ended.
func (p *Process) Events() <-chan struct{} { return p.events }

// Close stops watching. It returns nil.
func (p *Process) Close() error {
	p.seen.close()
	p.seen = nil
	return nil
}

// Check looks for a process only when the one it knows has ended, so that a
// passing check costs next to nothing.
func (p *Process) Check(context.Context) Result {
	if p.seen.lives() {
		return p.good(p.seen.pid)
	}
	end, died := p.seen.end()
	pid, err := p.find()
	if err == nil {
		p.seen.close()
		p.seen, err = watchPID(pid, p.events)
		if errors.Is(err, errors.ErrUnsupported) { // Linux before 5.3
			r := p.good(pid)
			r.Output += "; its death is noticed by polling only: " + err.Error()
			return r
		}
	}
	if err == nil && p.seen.lives() {
		return p.good(pid)
	}
	r := Result{Cause: "gone", Output: fmt.Sprintf("process %d has ended", pid)}
	if err != nil {
		r.Output = err.Error()
	}
	if died {
		r.Now, r.Begin = true, end
	}
	return r
}

func (p *Process) good(pid int) Result {
	return Result{State: Good, Output: fmt.Sprintf("process %d lives", pid)}
}

// find returns the number of the wanted process.
func (p *Process) find() (int, error) {
	if p.pidFile == "" {
		return findComm(p.name)
	}
	data, err := os.ReadFile(p.pidFile)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("pid file %s: found %q, want one number", p.pidFile, oneLine(string(data)))
	}
	st, err := readStat(pid)
	switch {
	case err != nil:
		return 0, fmt.Errorf("pid file %s: no process %d: %w", p.pidFile, pid, err)
	case p.name != "" && st.comm != p.name:
		return 0, fmt.Errorf("pid file %s: process %d is %q, want %q", p.pidFile, pid, st.comm, p.name)
	}
	return pid, nil
}

// findComm returns a living process named name. Zombies do not count: they
// keep their name until somebody reaps them.
func findComm(name string) (int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	entries, err := dir.Readdirnames(-1)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e)
		if err != nil {
			continue
		}
		if st, err := readStat(pid); err == nil && st.comm == name && !st.zombie {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no process named %q in /proc", name)
}
