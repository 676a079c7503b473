package notify

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

// fakeTarget takes what it is sent, unless it has a fault.
type fakeTarget struct {
	fault  atomic.Pointer[error]
	hangs  bool
	tries  []time.Duration // since begin
	titles []string
	begin  time.Time
}

func (f *fakeTarget) name() string { return "fake://target" }

func (f *fakeTarget) send(ctx context.Context, m message) error {
	f.tries = append(f.tries, time.Since(f.begin))
	if f.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	if fault := f.fault.Load(); fault != nil {
		return *fault
	}
	f.titles = append(f.titles, m.Title)
	return nil
}

// alerting runs body in a bubble with running alerts.
func alerting(t *testing.T, body func(a *Alerts, log *logBook), targets ...target) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var log logBook
		a := newAlerts(targets, log.logger())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { a.Run(ctx, testIdentity); close(done) }()
		for _, target := range targets {
			if f, ok := target.(*fakeTarget); ok {
				f.begin = time.Now()
			}
		}
		body(a, &log)
		cancel()
		<-done
	})
}

// rest lets time pass, and then everybody come to rest.
func rest(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestAlertsReachEveryTargetInOrder(t *testing.T) {
	one, two := &fakeTarget{}, &fakeTarget{}
	alerting(t, func(a *Alerts, _ *logBook) {
		a.Tell(moved("lb2", "lb2 is gone"))
		a.Tell(away(fsm.PhaseBegan))
		rest(time.Minute)
		want := []string{"buoy web: lb1 has taken 203.0.113.10 from lb2", "buoy web: lb3 does not answer"}
		if !slices.Equal(one.titles, want) || !slices.Equal(two.titles, want) {
			t.Errorf("got %q and %q, want %q", one.titles, two.titles, want)
		}
	}, one, two)
}

// One target that hangs holds up neither the caller nor the other target; it is tried again for
// a while, each time for 10 s.
func TestADeadTargetHoldsUpNobody(t *testing.T) {
	dead, well := &fakeTarget{hangs: true}, &fakeTarget{}
	alerting(t, func(a *Alerts, log *logBook) {
		begin := time.Now()
		for i := range 1000 {
			a.Tell(moved("lb2", strings.Repeat("x", i)))
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("telling took %v", took)
		}
		rest(time.Second)
		if len(well.titles) == 0 {
			t.Error("the other target got nothing")
		}
		rest(9*time.Minute - time.Second)
		want := []time.Duration{0, 15 * time.Second, 55 * time.Second, 185 * time.Second, 495 * time.Second}
		if !slices.Equal(dead.tries[:min(5, len(dead.tries))], want) {
			t.Errorf("tried after %v, want %v", dead.tries, want)
		}
		for _, text := range []string{"an alert is given up", "an alert is left out: too many wait"} {
			if !strings.Contains(log.String(), text) {
				t.Errorf("%q is not logged", text)
			}
		}
	}, dead, well)
}

func TestAlertsAreTriedAgain(t *testing.T) {
	f, noRoute := &fakeTarget{}, errors.New("no route")
	f.fault.Store(&noRoute)
	alerting(t, func(a *Alerts, log *logBook) {
		a.Tell(moved("lb2", "lb2 is gone"))
		rest(20 * time.Second)
		f.fault.Store(nil)
		rest(time.Minute)
		if len(f.titles) != 1 || len(f.tries) != 3 {
			t.Errorf("sent %q in %d attempts", f.titles, len(f.tries))
		}
		if !strings.Contains(log.String(), "no route") {
			t.Error("the failure is not logged")
		}
	}, f)
}

func TestAlertsThatCouldNotBeSentAreLogged(t *testing.T) {
	var kept *logBook
	alerting(t, func(a *Alerts, log *logBook) {
		kept = log
		a.Tell(moved("lb2", "one"))
		a.Tell(moved("lb2", "two"))
		rest(time.Second)
	}, &fakeTarget{hangs: true})
	if n := strings.Count(kept.String(), "the daemon stops: an alert is not sent"); n != 2 {
		t.Errorf("%d of 2 in the log:\n%s", n, kept)
	}
}

func TestNoTargetsNoWork(t *testing.T) {
	alerting(t, func(a *Alerts, _ *logBook) {
		a.Tell(moved("lb2", "one"))
		if len(a.ledger.entries) != 0 {
			t.Error("a ledger that nobody reads")
		}
	})
}
