package healthcheck

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// eventful is a Checker that learns of trouble between two looks.
type eventful interface {
	Events() <-chan struct{}
}

// Monitor runs checks and holds their verdict. Its methods may be called from
// any goroutine.
type Monitor struct {
	logger  hclog.Logger
	specs   []Spec
	changes chan struct{}

	mu     sync.Mutex // guards checks, which one goroutine each writes
	checks []Status
}

// NewMonitor prepares the checks; nothing runs before Run. A nil logger is
// silent. The Monitor owns the Checkers of specs from here on.
func NewMonitor(specs []Spec, logger hclog.Logger) *Monitor {
	if logger == nil {
		logger = hclog.NewNullLogger()
	}
	m := &Monitor{logger: logger, specs: specs, changes: make(chan struct{}, 1)}
	for _, s := range specs {
		m.checks = append(m.checks, newTracker(s).status)
	}
	return m
}

// Run looks until ctx ends, then closes the checkers and returns nil. It is to
// be called once.
func (m *Monitor) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for i := range m.specs {
		wg.Go(func() { m.watch(ctx, i) })
	}
	wg.Wait()
	return nil
}

// Verdict is the present state of all checks.
func (m *Monitor) Verdict() Verdict {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Verdict{Checks: append([]Status(nil), m.checks...)}
}

// Changes delivers after the verdict has changed in the sense of
// Verdict.Equal. It has room for one signal: several changes may come as one,
// none is lost.
func (m *Monitor) Changes() <-chan struct{} { return m.changes }

// watch owns check i: a look at the start, one each interval, one at each
// event, and one soon where a result asks for it. A look that overruns its
// interval makes the next one be skipped, as in keepalived, so that a slow
// check cannot run back to back.
func (m *Monitor) watch(ctx context.Context, i int) {
	spec := m.specs[i]
	if c, ok := spec.Checker.(io.Closer); ok {
		defer func() {
			if err := c.Close(); err != nil {
				m.logger.Warn("check not closed", "check", spec.Name, "error", err)
			}
		}()
	}
	var events <-chan struct{}
	if e, ok := spec.Checker.(eventful); ok {
		events = e.Events()
	}
	tick := time.NewTicker(spec.Interval)
	defer tick.Stop()

	for t := newTracker(spec); ; {
		r := look(ctx, spec)
		if ctx.Err() != nil {
			return
		}
		t = t.step(r, time.Now())
		m.publish(i, t.status)
		select { // the tick that came during the look
		case <-tick.C:
		default:
		}
		var again <-chan time.Time
		if r.Again > 0 && t.pending() {
			again = time.After(r.Again)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-again:
		case <-events:
		}
	}
}

// look runs one check under its timeout.
func look(ctx context.Context, spec Spec) Result {
	ctx, cancel := context.WithTimeout(ctx, spec.Timeout)
	defer cancel()
	r := spec.Checker.Check(ctx)
	r.Output = oneLine(r.Output)
	return r
}

// publish stores a status; a change is logged and signalled.
func (m *Monitor) publish(i int, s Status) {
	m.mu.Lock()
	old := m.checks[i]
	m.checks[i] = s
	m.mu.Unlock()
	if s.Equal(old) {
		return
	}
	m.log(s)
	select {
	case m.changes <- struct{}{}:
	default:
	}
}

// log writes the one line of a change. The boot clock beside the wall clock
// lets the lines of several nodes on one machine be ordered.
func (m *Monitor) log(s Status) {
	var boot unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) // cannot fail for this clock
	m.logger.Info("check changed", "check", s.Name, "ok", s.OK, "fault", s.Fault,
		"warn", s.Warn, "weight", s.Weight, "output", s.Output,
		"since", s.Since.Format(time.RFC3339Nano), "detect", s.Detect, "boottime_ns", boot.Nano())
}
