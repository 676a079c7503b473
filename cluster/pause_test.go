package cluster

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

func (w *world) pause() {
	w.t.Helper()
	w.must(w.leader().node.Pause(context.Background(), "lb3"))
}

func (w *world) resume() {
	w.t.Helper()
	w.must(w.leader().node.Resume(context.Background()))
}

// TestPauseLeavesTheAddress where somebody has moved it, says where that is, and ends with
// a claim at once.
func TestPauseLeavesTheAddress(t *testing.T) {
	threeIn(t, telling, func(t *testing.T, w *world) {
		lb1 := w.boxes["lb1"]
		w.pause()
		began := lb1.node.Status().Paused
		if began == nil || began.By != "lb3" || time.Since(began.Since) > time.Second {
			t.Fatalf("the mark: %+v", began)
		}
		w.stays(time.Minute)
		s := lb1.node.Status()
		if a := s.Addresses[0]; a.State != AddressPaused || !a.Held || a.Holder != "lb1" || s.Members[0].State != StateMaster {
			t.Errorf("paused with the address here: %s, %+v; want MASTER", s.Members[0].State, a)
		}
		w.cloud.steal("lb2")
		w.stays(5 * time.Minute)
		for name, b := range w.boxes {
			a := b.node.Status().Addresses[0]
			if a.State != AddressPaused || name == "lb1" && (a.Held || a.Holder != "lb2" || time.Since(a.VerifiedAt) > 36*time.Second) {
				t.Errorf("%s sees %+v", name, a)
			}
		}
		if m := lb1.seen("lb1"); m.State == StateMaster {
			t.Error("lb1 says that it holds what lb2 has")
		}
		w.pause() // again
		if again := lb1.node.Status().Paused; *again != *began {
			t.Errorf("the second pause changed the mark to %+v", again)
		}
		w.resume()
		w.settles("lb1", 50*time.Millisecond)
		w.resume() // again
		time.Sleep(time.Second)
		if last := lb1.node.Status().Last; last.Reason != "the address had been moved away during a pause" || last.Stages.Detect > 36*time.Second {
			t.Errorf("%+v", last)
		}
		w.stays(time.Minute)
		w.cloud.disciplined(t)
	})
}

// TestPauseOutlivesLeadersAndRestarts: the lead goes on to the best, and the address stays,
// even with a node that is gone.
func TestPauseOutlivesLeadersAndRestarts(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.pause()
		w.boxes["lb1"].kill()
		w.until(func() bool { l := w.leader(); return l != nil && l.name == "lb2" })
		w.stays(time.Minute)
		if s := w.boxes["lb2"].node.Status(); s.Addresses[0].Holder != "lb1" || s.Addresses[0].Held || s.Paused == nil {
			t.Errorf("lb2 sees %+v", s.Addresses[0])
		}
		for _, name := range []string{"lb2", "lb3"} {
			w.boxes[name].kill()
		}
		for _, name := range []string{"lb2", "lb3"} {
			w.boxes[name].boot()
		}
		w.until(func() bool { l := w.leader(); return l != nil && l.name == "lb2" })
		w.stays(time.Minute)
		if h := w.cloud.holder(); h != "lb1" {
			t.Fatalf("%s holds the address, want lb1", h)
		}
		w.resume()
		w.settles("lb2", 50*time.Millisecond)
		time.Sleep(time.Second)
		if last := w.boxes["lb3"].node.Status().Last; last.From != "lb1" || last.To != "lb2" {
			t.Errorf("%+v", last)
		}
		w.cloud.disciplined(t)
	})
}

// TestPauseReasons: a move that waited for the end of a pause says so.
func TestPauseReasons(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.pause()
		w.boxes["lb1"].fault()
		time.Sleep(time.Minute)
		w.resume()
		w.settles("lb2", 50*time.Millisecond)
		time.Sleep(time.Second)
		last := w.boxes["lb2"].node.Status().Last
		if last.Reason != "lb1 is in FAULT: haproxy; lb2 takes over; claimed after a pause" || last.Stages.Claim < 59*time.Second {
			t.Errorf("%+v", last)
		}
	})
}

// TestPauseInMidClaim: it is broken off before the operator is answered.
func TestPauseInMidClaim(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		time.Sleep(2 * time.Minute)
		w.cloud.setLatency(4 * time.Second)
		w.cloud.steal("nobody")
		before, writes := w.cloud.attempts(), len(w.cloud.writes())
		for end := time.Now().Add(time.Minute); w.cloud.attempts() == before && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		began := time.Now()
		w.pause()
		if took := time.Since(began); took > 200*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if busy := w.cloud.attempts() > before; !busy || len(w.cloud.writes()) != writes {
			t.Fatal("the claim was not in flight")
		}
		w.stays(time.Minute)
		w.cloud.setLatency(0)
		w.resume()
		w.settles("lb1", 50*time.Millisecond)
		w.cloud.disciplined(t)
	})
}

// TestPauseWithACloudThatFails: what nobody can verify is not said to be here.
func TestPauseWithACloudThatFails(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.pause()
		w.stays(time.Minute)
		w.cloud.fail("lb1", testFault{})
		time.Sleep(time.Minute)
		s := w.boxes["lb1"].node.Status()
		if a := s.Addresses[0]; a.State != AddressUnverified || a.Held || a.Error == "" || s.Members[0].State == StateMaster {
			t.Errorf("%s, %+v", s.Members[0].State, a)
		}
	})
}

// TestPauseWithACloudThatCannotTell: there is nothing to look at, and nothing wrong.
func TestPauseWithACloudThatCannotTell(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.pause()
		w.boxes["lb1"].fault()
		w.cloud.breaks(testIP, errors.ErrUnsupported)
		time.Sleep(time.Minute)
		looks := w.cloud.looked()
		w.stays(10 * time.Minute)
		s := w.boxes["lb2"].node.Status()
		if a := s.Addresses[0]; a.State != AddressPaused || a.Held || a.Error != "" || s.Members[1].State == StateMaster {
			t.Errorf("%s, %+v", s.Members[1].State, a)
		}
		if n := w.cloud.looked() - looks; n > 26 {
			t.Errorf("%d looks in ten minutes", n)
		}
		w.cloud.breaks(testIP, nil)
		w.resume()
		w.settles("lb2", 50*time.Millisecond)
	})
}

func TestPauseIsTheLeaders(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		var elsewhere *fsm.NotLeaderError
		n := w.boxes["lb2"].node
		for _, err := range []error{n.Pause(context.Background(), "lb2"), n.Resume(context.Background())} {
			if !errors.As(err, &elsewhere) || elsewhere.Name != "lb1" {
				t.Errorf("%v, want to be sent to lb1", err)
			}
		}
		if n.Status().Paused != nil {
			t.Error("paused all the same")
		}
	})
}
