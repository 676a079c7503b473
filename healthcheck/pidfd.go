package healthcheck

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// events wakes a Monitor; it has room for one signal.
type events chan struct{}

func (e events) wake() {
	select {
	case e <- struct{}{}:
	default:
	}
}

// watch is a process under observation through a pidfd, which unlike a number
// cannot come to mean another process. Opening one needs no privilege, but the
// same PID namespace and Linux 5.3.
type watch struct {
	pid  int
	file *os.File
	done chan struct{} // closed when the goroutine has ended

	mu    sync.Mutex
	ended time.Time // when the process was seen to end; zero while it lives
}

// watchPID observes process pid and wakes e when it ends. A zombie has ended.
func watchPID(pid int, e events) (*watch, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("pidfd_open process %d: %w", pid, err)
	}
	// Non-blocking makes os.NewFile put it into the runtime's poller, so that
	// waiting holds no thread. (PIDFD_NONBLOCK would need Linux 5.10.)
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("pidfd of process %d: %w", pid, err)
	}
	w := &watch{pid: pid, file: os.NewFile(uintptr(fd), "pidfd"), done: make(chan struct{})}
	conn, err := w.file.SyscallConn()
	if err != nil {
		w.file.Close()
		return nil, fmt.Errorf("pidfd of process %d: %w", pid, err)
	}
	w.poll(uintptr(fd))
	go func() {
		defer close(w.done)
		if conn.Read(w.poll) == nil { // else closed by us
			e.wake()
		}
	}()
	return w, nil
}

// poll reports whether the process has ended, and notes when.
func (w *watch) poll(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	if err != nil || n == 0 {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended.IsZero() {
		w.ended = time.Now()
	}
	return true
}

// end is when the process was seen to end; false while it lives. A nil watch
// has seen nothing.
func (w *watch) end() (time.Time, bool) {
	if w == nil {
		return time.Time{}, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended, !w.ended.IsZero()
}

// lives reports whether there is a watch and its process has not ended.
func (w *watch) lives() bool {
	_, ended := w.end()
	return w != nil && !ended
}

// close ends the observation; nil is fine.
func (w *watch) close() {
	if w != nil {
		w.file.Close()
		<-w.done
	}
}

// stat is what /proc/PID/stat says of a process (proc_pid_stat(5)).
type stat struct {
	comm   string // at most maxComm bytes
	zombie bool   // it has ended, and nobody has reaped it
	parent int
}

// readStat reads the stat of process pid. The name stands in parentheses and
// may itself contain any character.
func readStat(pid int) (stat, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, err
	}
	s := string(data)
	open, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("/proc/%d/stat: no process name in it", pid)
	}
	st := stat{comm: s[open+1 : end]}
	var state string
	if _, err := fmt.Sscan(s[end+1:], &state, &st.parent); err != nil {
		return stat{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	st.zombie = state == "Z" || state == "X"
	return st, nil
}
