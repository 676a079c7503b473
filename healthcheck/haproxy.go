package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// stoppingAsks and stoppingPause: how often and how soon to ask again a
	// process that says it is stopping. After a reload its successor answers
	// within 80 ms (HAProxy 2.6; 16 ms with 3.2).
	stoppingAsks  = 3
	stoppingPause = 30 * time.Millisecond

	// confirmPause precedes the look that confirms that HAProxy is gone or
	// hung: there is no reason to wait for the next tick.
	confirmPause = 20 * time.Millisecond
)

// HAProxy is the kind `haproxy`: three looks, one verdict, no fork. It learns
// of the death of the serving worker and of its master by pidfd, asks `show
// info` at the statistics socket, and requests the monitor-uri of the real
// frontend. It finds the processes through the Pid that `show info` gives, so
// that it follows reloads in every start mode (single process, -sf,
// master-worker, systemd).
type HAProxy struct {
	socket     string
	monitor    string // "" = none
	softWeight int

	events events

	// The processes that served at the last look; nil where there is none or
	// it cannot be watched. Only Check and Close touch them.
	worker, master *watch
	unwatched      error // why worker is nil

	// fullAt is when a look last found all connections taken. Only Check touches it.
	fullAt time.Time
}

// backlogged is for how long after it was full HAProxy may leave a request unanswered:
// its places are free again, and it works off those who queued for one.
const backlogged = time.Second

var _ interface {
	Checker
	eventful
} = (*HAProxy)(nil)

// NewHAProxy returns a check of the HAProxy whose statistics socket is at
// socket (level user suffices). monitor is the URL of a monitor-uri on the
// frontend that serves, or "". softWeight is what having no usable backend
// adds to the priority after SoftDelay; 0 warns only.
func NewHAProxy(socket, monitor string, softWeight int) *HAProxy {
	return &HAProxy{socket: socket, monitor: monitor, softWeight: softWeight, events: make(events, 1)}
}

// Events delivers when a watched process has ended.
func (h *HAProxy) Events() <-chan struct{} { return h.events }

// Close stops watching processes. It returns nil.
func (h *HAProxy) Close() error {
	h.worker.close()
	h.master.close()
	h.worker, h.master = nil, nil
	return nil
}

// Check looks at socket and monitor at the same time and judges them together.
func (h *HAProxy) Check(ctx context.Context) Result {
	_, before := h.worker.end()
	var s socketLook
	var m monitorLook
	var wg sync.WaitGroup
	wg.Go(func() { s = lookSocket(ctx, h.socket) })
	if h.monitor != "" {
		wg.Go(func() { m = lookMonitor(ctx, h.monitor, h.socket) })
	}
	wg.Wait()
	if s.answer == answered && !s.info.stopping {
		h.follow(s.info.pid)
	}
	r := judge(s, h.load(s, m, time.Now()), h.softWeight)
	if end, ended := h.worker.end(); ended {
		switch {
		case r.Cause == causeGone:
			r.Now, r.Begin = true, end
		case r.State != Hard && before: // survived: it proves nothing any more
			h.worker.close()
			h.worker = nil
		}
	}
	if r.State == Good && h.unwatched != nil {
		r.Output += "; its death is noticed by polling only: " + h.unwatched.Error()
	}
	return r
}

// load is m in the light of the looks before it: right after HAProxy was full, silence is
// still load.
func (h *HAProxy) load(s socketLook, m monitorLook, now time.Time) monitorLook {
	switch {
	case m.full || s.info.full():
		h.fullAt = now
	case m.answer == silent && now.Sub(h.fullAt) < backlogged:
		m.full = true
		m.text += ", working off a queue: all connections were taken a moment ago"
	}
	return m
}

// follow watches the worker pid and its master, if they are not watched yet.
// A number from another PID namespace may name a stranger, whose death costs
// no more than one extra look.
func (h *HAProxy) follow(pid int) {
	if h.worker.lives() && h.worker.pid == pid {
		return
	}
	h.worker.close()
	h.worker, h.unwatched = watchPID(pid, h.events)
	st, err := readStat(pid)
	if err != nil {
		return // it has just ended, and the watch will say so
	}
	if h.master.lives() && h.master.pid == st.parent {
		return
	}
	h.master.close()
	h.master = nil
	if parent, err := readStat(st.parent); err == nil && parent.comm == st.comm {
		h.master, _ = watchPID(st.parent, h.events) // only a hint: the worker leaves when its master dies
	}
}

// socketLook is what the statistics socket said.
type socketLook struct {
	answer answer
	info   info
	text   string
}

// lookSocket asks `show info`, and again where the process that answers is
// stopping, since its successor may be about to take over the socket.
func lookSocket(ctx context.Context, path string) socketLook {
	in, err := showInfo(ctx, path)
	for range stoppingAsks {
		if err != nil || !in.stopping {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(stoppingPause):
			in, err = showInfo(ctx, path)
		}
	}
	look := socketLook{answer: classify(err), info: in}
	switch look.answer {
	case answered:
		look.text = fmt.Sprintf("process %d answers", in.pid)
	case silent:
		look.text = fmt.Sprintf("stats socket %s: no answer (hung, or all its slots taken)", path)
	default:
		look.text = fmt.Sprintf("stats socket %s: %s", path, remedy(err))
	}
	return look
}

// remedy says what is wrong with a stats socket that cannot be asked, and what to do.
func remedy(err error) string {
	var reason unix.Errno
	switch {
	case errors.Is(err, os.ErrPermission):
		return "permission denied: add buoy to the group haproxy, and `mode 660 group haproxy` to HAProxy's `stats socket` line"
	case errors.As(err, &reason) && (reason == unix.ENOENT || reason == unix.ECONNREFUSED):
		return reason.Error() + ": is HAProxy running? Its `stats socket` line must name this path"
	default:
		return err.Error()
	}
}

// monitorLook is what the monitor URL said; the zero value is none asked.
type monitorLook struct {
	asked  bool
	answer answer
	status int
	full   bool // no answer, and no connection is left to give
	text   string
}

// says reports whether the monitor URL answered with status.
func (m monitorLook) says(status int) bool {
	return m.answer == answered && m.asked && m.status == status
}

// lookMonitor requests url. Where no answer has come at half time it asks the
// statistics socket whether all connections are taken: then silence is load.
func lookMonitor(ctx context.Context, url, socket string) monitorLook {
	m := monitorLook{asked: true}
	var load string
	var err error
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		select {
		case <-done:
		case <-halfTime(ctx):
			load, m.full = showLoad(ctx, socket)
		}
	})
	m.status, err = get(ctx, url)
	close(done)
	wg.Wait()

	m.answer = classify(err)
	switch {
	case m.answer == answered:
		m.text = fmt.Sprintf("GET %s: status %d", url, m.status)
	case m.answer == silent && m.full:
		m.text = load
	case m.answer == silent:
		m.text = fmt.Sprintf("GET %s: no answer", url)
	default:
		m.text = err.Error()
	}
	return m
}

// halfTime delivers when half of the time that ctx has left is over; never if
// ctx has no deadline.
func halfTime(ctx context.Context) <-chan time.Time {
	end, ok := ctx.Deadline()
	if !ok {
		return nil
	}
	return time.After(time.Until(end) / 2)
}

// The causes of a result that is not good.
const (
	causeGone      = "gone"
	causeHung      = "hung"
	causeStopping  = "stopping"
	causeDataPath  = "data path"
	causeBackends  = "no backends"
	causeSaturated = "saturated"
	causeSocket    = "stats socket"
)

// judge is the verdict on two looks taken together. Its order is its meaning:
//
//	socket            monitor            verdict
//	stopping          any                hard: stopping
//	any               503                soft: no backends (the event loop lives)
//	ok                200, none          good
//	failed            200                soft: stats socket
//	ok                silent, and full   soft: saturated
//	ok                failed             hard: data path
//	failed            another status     hard: data path
//	refused           refused, none      hard: gone
//	otherwise                            hard: hung
//
// Without a monitor URL a socket that is silent because its slots are taken
// counts as hung: nothing would tell the two apart.
func judge(s socketLook, m monitorLook, softWeight int) Result {
	ok := s.answer == answered
	switch {
	case ok && s.info.stopping:
		return Result{Cause: causeStopping, Output: fmt.Sprintf("stopping: process %d accepts no new work", s.info.pid)}
	case m.says(http.StatusServiceUnavailable):
		return Result{State: Soft, Cause: causeBackends, Weight: softWeight, Output: "no backends: " + m.text}
	case ok && (!m.asked || m.says(http.StatusOK)):
		return Result{State: Good, Output: s.text}
	case m.says(http.StatusOK):
		return Result{State: Soft, Cause: causeSocket, Output: s.text}
	case ok && m.answer == silent && m.full:
		return Result{State: Soft, Cause: causeSaturated, Output: "saturated: " + m.text}
	case ok || m.asked && m.answer == answered:
		r := Result{Cause: causeDataPath, Output: "data path: " + m.text}
		if m.answer == silent {
			r.Again = confirmPause // the time has been spent already
		}
		return r
	}
	text := s.text
	if m.asked {
		text += "; " + m.text
	}
	r := Result{Cause: causeHung, Output: "hung: " + text, Again: confirmPause}
	if s.answer != silent && (!m.asked || m.answer != silent) {
		r.Cause, r.Output = causeGone, "gone: "+text
	}
	return r
}
