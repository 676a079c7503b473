package cluster

import (
	"context"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

// fall has lb1 fail until lb2 holds the address, and heals it.
func (w *world) fall(heal func()) {
	w.t.Helper()
	w.boxes["lb1"].fault()
	w.settles("lb2", time.Second)
	time.Sleep(3 * time.Second)
	heal()
}

// returns is how long lb1 takes to hold the address again.
func (w *world) returns(within time.Duration) time.Duration {
	w.t.Helper()
	began := time.Now()
	w.settles("lb1", within)
	return time.Since(began)
}

func TestDampingDelaysTheReturn(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		lb1 := w.boxes["lb1"]
		once := func(want time.Duration) {
			t.Helper()
			w.fall(lb1.heal)
			if want > 0 {
				time.Sleep(time.Second)
				d := w.boxes["lb2"].node.Status().Decision
				if d.Reason.Code != fsm.ReasonDamped || d.Reason.Delay != want {
					t.Errorf("lb2 leads because %s; want lb1 damped for %v", d.Reason, want)
				}
				want -= time.Second
			}
			if got := w.returns(2 * time.Minute); got < want || got > want+2*time.Second {
				t.Errorf("lb1 is back after %v, want %v", got, want)
			}
		}
		for _, seconds := range []time.Duration{0, 5, 10, 20, 40, 60, 60} {
			once(seconds * time.Second)
		}
		time.Sleep(fsm.DampingQuiet)
		once(0)
		once(5 * time.Second)

		// A degraded leader falls too, when another takes over from it.
		lb1.health(fsm.Check{Name: "web", Known: true, Weight: -60})
		w.settles("lb2", time.Second)
		lb1.heal()
		if got := w.returns(time.Minute); got < 9*time.Second || got > 12*time.Second {
			t.Errorf("degraded, lb1 is back after %v, want 10s", got)
		}

		// A restart forgets.
		lb1.fault()
		w.settles("lb2", time.Second)
		lb1.quit()
		lb1.checks = []fsm.Check{{Name: "haproxy", Known: true, OK: true}}
		lb1.boot()
		if got := w.returns(time.Minute); got > 2*time.Second {
			t.Errorf("restarted, lb1 is back after %v", got)
		}
		w.cloud.disciplined(t)
	})
}

// TestDampedIsTheLastResort: a node that fails now and then is better than none.
func TestDampedIsTheLastResort(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		lb1 := w.boxes["lb1"]
		w.fall(lb1.heal)
		w.returns(5 * time.Second)
		w.fall(lb1.heal)
		w.boxes["lb3"].fault()
		time.Sleep(time.Second)
		w.boxes["lb2"].fault()
		w.settles("lb1", time.Second)
		w.boxes["lb2"].heal()
		w.stays(time.Minute) // damped or not, it leads now
		w.cloud.disciplined(t)
	})
}

// TestWhoStaysHasNotFallen: a hand-over that does not come about is no fall.
func TestWhoStaysHasNotFallen(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		lb1 := w.boxes["lb1"]
		w.boxes["lb3"].fault()
		defer w.boxes["lb2"].disk.hang()() // it cannot follow the log: no hand-over
		for range 3 {
			time.Sleep(barUnready)
			lb1.fault()
			time.Sleep(2 * guardFor)
			lb1.heal()
			if code := lb1.node.Status().Decision.Reason.Code; code != fsm.ReasonOnlyBarred {
				t.Fatalf("lb1: %q; it should have tried to hand over: the test shows nothing", code)
			}
		}
		time.Sleep(time.Second)
		if r, _ := lb1.node.self.get(); r.Damped {
			t.Errorf("damped after %d falls that were none", r.Falls)
		}
	})
}

// TestWhoPassesTheLeadOnHasNotFallen: lb3, degraded, is asked to lead, and hands on at once.
func TestWhoPassesTheLeadOnHasNotFallen(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		lb3 := w.boxes["lb3"]
		lb3.health(fsm.Check{Name: "web", Known: true, Weight: -10})
		time.Sleep(time.Second)
		for range 3 {
			if _, err := w.boxes["lb1"].node.Transfer(context.Background(), "lb3"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			w.settles("lb1", time.Second)
		}
		if r, _ := lb3.node.self.get(); r.Damped {
			t.Errorf("damped after %d falls that were none", r.Falls)
		}
	})
}

// TestBarredIncumbentKeepsTheAddress has raft elect lb3 while lb1, which holds the address
// in good health, cannot take the lead back for a while.
func TestBarredIncumbentKeepsTheAddress(t *testing.T) {
	for name, tc := range map[string]struct {
		at   string // where the address really is
		want string // who claims it meanwhile
	}{
		"as on record": {"lb1", ""},
		"elsewhere":    {"nobody", "lb3"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				for _, name := range []string{"lb1", "lb2", "lb3"} {
					w.add(name, 100, nil)
				}
				w.form("lb1", "lb2", "lb3")
				w.settles("lb1", 10*time.Second)
				time.Sleep(2 * time.Minute)
				resume := w.boxes["lb1"].disk.hang()
				w.cloud.steal(tc.at)
				before := len(w.cloud.writes())
				w.boxes["lb3"].campaign()
				time.Sleep(2500 * time.Millisecond) // it has tried once, and again
				if w.leader() != w.boxes["lb3"] {
					t.Fatal("lb3 does not lead: the test shows nothing")
				}
				var wrote string
				for _, wr := range w.cloud.writes()[before:] {
					wrote += wr.node
				}
				if wrote != tc.want {
					t.Errorf("claimed by %q, want %q", wrote, tc.want)
				}
				if code := w.boxes["lb3"].node.Status().Decision.Reason.Code; tc.want == "" && code != fsm.ReasonIncumbentBarred {
					t.Errorf("lb3 waits because of %q", code)
				}
				resume()
				if tc.want == "" {
					w.settles("lb1", 5*time.Second)
					w.stays(time.Minute)
				}
				w.cloud.disciplined(t)
			})
		})
	}
}

// TestBarOutlivesTheTenure: an election is no way around a failed transfer.
func TestBarOutlivesTheTenure(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		lb1 := w.boxes["lb1"]
		lb1.node.post(func(l *loop) {
			for _, name := range []string{"lb2", "lb3"} {
				l.bar(w.boxes[name].member.ID, errRefused)
			}
		})
		term := lb1.node.raft.CurrentTerm()
		w.boxes["lb2"].campaign()
		w.until(func() bool { return lb1.node.raft.CurrentTerm() >= term+2 })
		w.settles("lb1", 5*time.Second) // handed back
		lb1.fault()
		w.stays(barFailed - 10*time.Second)
		if d := lb1.node.Status().Decision; d.Reason.Code != fsm.ReasonOnlyBarred {
			t.Errorf("lb1: %s (%s), want it to hold because the others are barred", d.Kind, d.Reason)
		}
		w.settles("lb2", 15*time.Second)
		w.cloud.disciplined(t)
	})
}

// TestFailedTransferLeavesNoTrace: neither an operator's choice nor the target's standing
// changes by a hand-over that did not come about.
func TestFailedTransferLeavesNoTrace(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		_, err := w.boxes["lb1"].node.Transfer(context.Background(), "lb3")
		w.must(err)
		w.settles("lb3", time.Second)
		time.Sleep(time.Second)
		before := len(w.cloud.writes())
		term := w.boxes["lb3"].node.raft.CurrentTerm()
		resume := w.boxes["lb2"].disk.hang()
		if to, err := w.boxes["lb3"].node.Transfer(context.Background(), "lb2"); err == nil {
			t.Fatalf("leadership was handed to %s, which hangs", to)
		}
		time.Sleep(10 * time.Second)
		if now := w.boxes["lb3"].node.raft.CurrentTerm(); now != term {
			t.Errorf("the lead went around: term %d, then %d", term, now)
		}
		resume()
		time.Sleep(100 * time.Millisecond)
		w.boxes["lb2"].campaign() // by chance, not appointed
		time.Sleep(5 * time.Second)
		w.settles("lb3", 5*time.Second)
		if more := w.cloud.writes()[before:]; len(more) > 0 {
			t.Errorf("the address was written: %+v", more)
		}
		if s := w.boxes["lb3"].node.fsm.State(); s.Preferred != w.boxes["lb3"].member.ID {
			t.Errorf("an operator's choice is now %q, want lb3", s.Preferred)
		}
		w.cloud.disciplined(t)
	})
}

// TestBarNeedsALaterEntry: time alone does not end a bar.
func TestBarNeedsALaterEntry(t *testing.T) {
	now := time.Now()
	for name, tc := range map[string]struct {
		bar    bar
		last   uint64
		barred bool
	}{
		"none":                         {bar{}, 7, false},
		"still running":                {bar{end: now.Add(1), after: 7}, 8, true},
		"over, and a later entry":      {bar{end: now, after: 7}, 8, false},
		"over, but no later entry":     {bar{end: now, after: 7}, 7, true},
		"over, for one that was early": {bar{end: now}, 7, false},
	} {
		if got := tc.bar.until(now, tc.last).After(now); got != tc.barred {
			t.Errorf("%s: barred %v, want %v", name, got, tc.barred)
		}
	}
}
