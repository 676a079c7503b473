package healthcheck

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// script is a Checker that takes its time and answers by a function of how
// often it was asked.
type script struct {
	answer func(n int) Result
	takes  time.Duration
	events events

	mu     sync.Mutex
	looks  []time.Time
	closed bool
}

func (s *script) Check(ctx context.Context) Result {
	s.mu.Lock()
	s.looks = append(s.looks, time.Now())
	n := len(s.looks)
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return Result{Output: "timeout"}
	case <-time.After(s.takes):
		return s.answer(n)
	}
}

func (s *script) Events() <-chan struct{} { return s.events }

func (s *script) Close() error {
	s.closed = true
	return nil
}

func good(int) Result { return Result{State: Good, Output: "fine"} }

// simulate runs one check in a bubble for so long and returns when its looks
// began.
func simulate(t *testing.T, s *script, spec Spec, d time.Duration, logger hclog.Logger) (*Monitor, []time.Duration) {
	t.Helper()
	spec.Checker = s
	m := NewMonitor([]Spec{spec}, logger)
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	start := time.Now()
	if err := m.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if !s.closed {
		t.Error("Run did not close the checker")
	}
	var at []time.Duration
	for _, l := range s.looks {
		at = append(at, l.Sub(start))
	}
	return m, at
}

func expectLooks(t *testing.T, got []time.Duration, ms ...int) {
	t.Helper()
	ok := len(got) == len(ms)
	for i := 0; ok && i < len(ms); i++ {
		ok = got[i] == time.Duration(ms[i])*time.Millisecond
	}
	if !ok {
		t.Errorf("looks at %v, want %v ms", got, ms)
	}
}

var fast = Spec{Name: "web", Interval: 200 * time.Millisecond, Timeout: 250 * time.Millisecond, Rise: 2, Fall: 2}

func TestLooksComeAtAFixedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, at := simulate(t, &script{answer: good, takes: 30 * time.Millisecond}, fast, 700*time.Millisecond, nil)
		expectLooks(t, at, 0, 200, 400, 600)
	})
}

func TestALookThatOverrunsSkipsTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, at := simulate(t, &script{answer: good, takes: 230 * time.Millisecond}, fast, 900*time.Millisecond, nil)
		expectLooks(t, at, 0, 400, 800)
	})
}

// The first look of a hang begins at the tick; the time until the verdict is
// two timeouts and the pause, whatever the interval.
func TestAHardResultIsConfirmedBeforeTheNextTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: func(n int) Result {
			if n == 1 {
				return good(n)
			}
			return Result{Cause: "gone", Output: "gone", Again: 20 * time.Millisecond}
		}}
		m, at := simulate(t, s, fast, 500*time.Millisecond, nil)
		expectLooks(t, at, 0, 200, 220, 400) // 400: a verdict needs no confirmation
		c := m.Verdict().Checks[0]
		if !c.Fault || c.Detect != 220*time.Millisecond {
			t.Errorf("got %+v, want fault, detected in 220 ms", c)
		}
	})
}

func TestAnEventIsLookedAtAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{events: make(events, 1), answer: func(n int) Result {
			if n == 1 {
				return good(n)
			}
			return Result{Now: true, Output: "gone"}
		}}
		time.AfterFunc(50*time.Millisecond, s.events.wake)
		m, at := simulate(t, s, fast, 150*time.Millisecond, nil)
		expectLooks(t, at, 0, 50)
		if !m.Verdict().Checks[0].Fault {
			t.Error("a certain death was counted instead of believed")
		}
	})
}

func TestATimeoutIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answer: good, takes: time.Hour}
		m, _ := simulate(t, s, fast, 300*time.Millisecond, nil)
		if c := m.Verdict().Checks[0]; !c.Known || !c.Fault || c.Output != "timeout" {
			t.Errorf("got %+v", c)
		}
	})
}

func TestChangesAreSignalledAndLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := &script{answer: func(n int) Result {
			r := Result{Output: "look " + strings.Repeat("x", n)}
			if n <= 5 || n > 10 {
				r.State = Good
			}
			return r
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		spec := fast
		spec.Checker = s
		m := NewMonitor([]Spec{spec}, hclog.New(&hclog.LoggerOptions{Output: &out}))
		if c := m.Verdict().Checks[0]; c.Known || c.OK || !c.Fault {
			t.Errorf("before the first result: %+v, want unknown and fault", c)
		}
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		var story []bool
		for ctx.Err() == nil {
			select {
			case <-m.Changes():
				story = append(story, m.Verdict().Checks[0].OK)
			case <-ctx.Done():
			}
		}
		<-done
		if len(story) != 3 || !story[0] || story[1] || !story[2] {
			t.Errorf("changes %v, want ok, failing, ok", story)
		}
		if n := strings.Count(out.String(), "check changed"); n != 3 {
			t.Errorf("%d log lines, want 3:\n%s", n, &out)
		}
	})
}
