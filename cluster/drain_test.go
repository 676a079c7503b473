package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

// drain marks a member at the leader, which must take it.
func (w *world) drain(member string, d time.Duration) {
	w.t.Helper()
	w.must(w.leader().node.Drain(context.Background(), member, d, false))
}

func (w *world) undrain(member string) {
	w.t.Helper()
	w.must(w.leader().node.Undrain(context.Background(), member))
}

// seen is how the box sees another member.
func (b *box) seen(member string) MemberStatus {
	for _, m := range b.node.Status().Members {
		if m.Member.Name == member {
			return m
		}
	}
	return MemberStatus{}
}

func TestDrainMovesTheAddress(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.drain("lb1", 0)
		w.settles("lb2", 500*time.Millisecond)
		time.Sleep(tickInterval)
		for name, b := range w.boxes { // hearsay, too
			m := b.seen("lb1")
			if m.State != StateDrained || m.Eligible || m.Reason != "lb1 is drained" || !m.Voter || !m.Drain.Until.IsZero() {
				t.Errorf("%s sees lb1 as %s, eligible %v (%s), voter %v, until %v", name, m.State, m.Eligible, m.Reason, m.Voter, m.Drain.Until)
			}
		}
		var refused *fsm.RefusedError
		if _, err := w.boxes["lb2"].node.Transfer(context.Background(), "lb1"); !errors.As(err, &refused) || err.Error() != "lb1 is drained" {
			t.Errorf("transfer to a drained member: %v, want a refusal", err)
		}
		w.stays(10 * time.Minute)
		w.boxes["lb2"].kill() // it is not lb1's turn either
		w.settles("lb3", 10*time.Second)
		w.stays(time.Minute)
		w.boxes["lb2"].boot()
		w.settles("lb2", 10*time.Second)
		w.undrain("lb1")
		w.settles("lb1", 5*time.Second)
		w.undrain("lb1") // again
		time.Sleep(tickInterval)
		if s := w.boxes["lb3"].node.Status(); s.Last == nil || s.Last.Reason != "lb1 outranks 150>100" {
			t.Errorf("last move %+v, want lb1's return", s.Last)
		}
		w.stays(time.Minute)
		w.cloud.disciplined(t)
	})
}

// TestDrainEndsByItself to the millisecond, at whoever leads then, and at the last end
// that was given.
func TestDrainEndsByItself(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		began := time.Now()
		w.drain("lb1", time.Hour)
		w.settles("lb2", 500*time.Millisecond)
		w.drain("lb1", 30*time.Minute+123*time.Millisecond)
		ends := w.boxes["lb2"].seen("lb1").Drain.Until
		if d := ends.Sub(began); d < 30*time.Minute || d > 30*time.Minute+time.Second {
			t.Fatalf("ends after %v, want half an hour", d)
		}
		w.stays(20 * time.Minute)
		w.boxes["lb2"].quit()
		w.settles("lb3", time.Second)
		w.boxes["lb2"].boot()
		w.settles("lb2", 5*time.Second)
		w.stays(time.Until(ends))
		w.settles("lb1", 100*time.Millisecond)
		if marks := w.boxes["lb1"].node.fsm.State().Drains; len(marks) != 0 {
			t.Errorf("still marked: %v", marks)
		}
		w.stays(time.Minute)
		w.cloud.disciplined(t)
	})
}

// TestDrainThatEndsUnseen: there is no leader when its time comes.
func TestDrainThatEndsUnseen(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.drain("lb1", time.Minute)
		w.settles("lb2", 500*time.Millisecond)
		for _, name := range []string{"lb1", "lb2", "lb3"} {
			w.boxes[name].kill()
		}
		time.Sleep(time.Hour)
		for _, b := range w.boxes {
			b.boot()
		}
		w.settles("lb1", 10*time.Second)
		w.cloud.disciplined(t)
	})
}

func TestDrainSurvivesARestartOfAll(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		// What is acknowledged is on disk: nobody gets the time for anything else.
		w.drain("lb1", 0)
		for _, b := range w.boxes {
			b.kill()
		}
		for _, b := range w.boxes {
			b.boot()
		}
		w.settles("lb2", 10*time.Second)
		w.stays(time.Minute)
		for name, b := range w.boxes {
			if m := b.seen("lb1"); m.State != StateDrained {
				t.Errorf("%s sees lb1 as %s, want DRAINED", name, m.State)
			}
		}
		w.cloud.disciplined(t)
	})
}

func TestDrainIsRefusedWithAReason(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		lb1 := w.boxes["lb1"].node
		var elsewhere *fsm.NotLeaderError
		for _, err := range []error{
			w.boxes["lb3"].node.Drain(context.Background(), "lb3", 0, false),
			w.boxes["lb3"].node.Undrain(context.Background(), "lb3"),
		} {
			if !errors.As(err, &elsewhere) || elsewhere.Name != "lb1" {
				t.Errorf("asked a follower: %v, want to be sent to lb1", err)
			}
		}
		w.boxes["lb2"].fault()
		w.drain("lb3", 0)
		w.drain("lb3", time.Hour) // again: nobody loses anything by that
		for name, tc := range map[string]struct {
			member string
			d      time.Duration
			words  string
		}{
			"the last": {"lb1", 0, "with lb1 drained nobody would be eligible"},
			"unknown":  {"lb9", 0, `no member is called "lb9"; the members are lb1, lb2, lb3`},
			"no name":  {"", 0, `no member is called ""`},
			"an ID":    {w.boxes["lb3"].member.ID, 0, "no member is called"},
			"too long": {"lb3", MaxDrain + 1, "1s to 720h0m0s"},
			"negative": {"lb3", -time.Second, "1s to 720h0m0s"},
			"tiny":     {"lb3", MinDrain - 1, "1s to 720h0m0s"},
		} {
			var refused *fsm.RefusedError
			if err := lb1.Drain(context.Background(), tc.member, tc.d, false); !errors.As(err, &refused) || !strings.Contains(err.Error(), tc.words) {
				t.Errorf("%s: %v, want a refusal with %q", name, err, tc.words)
			}
		}
		if err := lb1.Undrain(context.Background(), "lb9"); err == nil {
			t.Error("undrained a stranger")
		}
		w.stays(time.Minute)
		if marks := lb1.fsm.State().Drains; len(marks) != 1 {
			t.Errorf("marks after refused drains: %v, want lb3's alone", marks)
		}
	})
}

func TestNobodyDrainsAWitness(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.add("lb1", 150, nil)
		w.add("wit", 100, func(b *box) { b.member.Role = fsm.RoleWitness })
		w.form("lb1", "wit")
		w.settles("lb1", 10*time.Second)
		if err := w.boxes["lb1"].node.Drain(context.Background(), "wit", 0, true); err == nil || !strings.Contains(err.Error(), "nothing to drain") {
			t.Errorf("drained a witness: %v", err)
		}
	})
}

// TestTwoDrainsAtOnce leave one member in service, whichever.
func TestTwoDrainsAtOnce(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.drain("lb3", 0)
		n := w.boxes["lb1"].node
		errs := make(chan error, 2)
		for _, name := range []string{"lb1", "lb2"} {
			go func() { errs <- n.Drain(context.Background(), name, 0, false) }()
		}
		one, other := <-errs, <-errs
		if (one == nil) == (other == nil) {
			t.Errorf("%v and %v; want one of the two refused", one, other)
		}
	})
}

// TestDrainOfANewLeader: it has to ask its peers first, and refuses nobody unasked.
func TestDrainOfANewLeader(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.probeDelay.Store(int64(firstLook - 5*time.Millisecond)) // longer than until sleeps
		w.boxes["lb1"].kill()
		w.until(func() bool { return w.leader() == w.boxes["lb2"] })
		w.drain("lb2", 0)
		w.settles("lb3", time.Second)
	})
}

// TestForcedDrainHolds: nobody else is fit; when somebody is, the address moves.
func TestForcedDrainHolds(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.boxes["lb2"].fault()
		w.boxes["lb3"].fault()
		time.Sleep(tickInterval)
		w.must(w.boxes["lb1"].node.Drain(context.Background(), "lb1", 0, true))
		w.stays(5 * time.Minute)
		s := w.boxes["lb1"].node.Status()
		if a := s.Addresses[0]; a.State != AddressClaimed || a.Holder != "lb1" || time.Since(a.VerifiedAt) > time.Minute {
			t.Errorf("the address is %s by %q, verified %v ago; want claimed by lb1 and looked after", a.State, a.Holder, time.Since(a.VerifiedAt))
		}
		if s.Members[0].State != StateDrained || s.Decision.Reason.Cause != fsm.ReasonDrained || s.Decision.Reason.Code != fsm.ReasonNobody {
			t.Errorf("lb1 is %s and decides %s", s.Members[0].State, s.Decision.Reason)
		}
		w.boxes["lb3"].heal()
		w.settles("lb3", 5*time.Second)
		w.cloud.disciplined(t)
	})
}

// TestDrainInMidClaim: the claim is broken off, and the lead handed over, at once.
func TestDrainInMidClaim(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.cloud.setLatency(4 * time.Second)
		w.cloud.steal("nobody")
		before := w.cloud.attempts()
		w.until(func() bool { return w.cloud.attempts() > before })
		w.cloud.setLatency(0)
		written := len(w.cloud.writes())
		w.drain("lb1", 0)
		w.settles("lb2", 200*time.Millisecond)
		time.Sleep(5 * time.Second)
		for _, wr := range w.cloud.writes()[written:] {
			if wr.node == "lb1" {
				t.Errorf("lb1 wrote although it was drained: %+v", wr)
			}
		}
		w.cloud.disciplined(t)
	})
}
