package cluster

import (
	"context"
	"testing"
	"time"
)

func TestDuel(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var d duel
	// theft has the address moved away after a while, and claimed back when that may be.
	theft := func(after time.Duration) (pause time.Duration) {
		now = now.Add(after)
		pause = d.lost(now)
		if until := d.claimAfter(now, false); pause > 0 && !until.Equal(now.Add(pause)) {
			t.Errorf("a pause of %v ends in %v", pause, until.Sub(now))
		}
		now = now.Add(pause)
		d.repair(now)
		return pause
	}
	const s = time.Second
	for i, step := range []struct{ after, pause time.Duration }{
		{0, 0},
		{2 * time.Minute, 0},
		{2 * time.Minute, 0}, // the third within five minutes
		{s, 2 * s},
		{4 * time.Minute, 4 * s},
		{s, 8 * s},
		{s, 16 * s},
		{s, 32 * s},
		{s, 60 * s},
		{s, 60 * s},
		{duelQuiet, 0}, // forgotten
		{4 * time.Minute, 0},
		{4 * time.Minute, 0}, // three, but not within five minutes
		{s, 0},
		{s, 2 * s},
	} {
		if got := theft(step.after); got != step.pause {
			t.Errorf("step %d: a pause of %v, want %v", i, got, step.pause)
		}
	}
	if at := d.claimAfter(now, true); !at.Equal(now.Add(duelQuiet)) {
		t.Errorf("only looked at for %v more, want until it has been quiet", at.Sub(now))
	}
	if now = now.Add(duelQuiet); !d.claimAfter(now, true).IsZero() || !d.claimAfter(now, false).IsZero() {
		t.Error("not forgotten")
	}
}

// TestDuelBacksOff: somebody moves the address away as soon as it is back. Three repairs
// come at once, further ones ever later, and it is known all the while where it is.
func TestDuelBacksOff(t *testing.T) {
	threeIn(t, telling, func(t *testing.T, w *world) {
		time.Sleep(time.Minute)
		lb1 := w.boxes["lb1"].node
		for i, pause := range []time.Duration{0, 0, 0, 2, 4, 8, 16, 32, 60, 60} {
			pause *= time.Second
			away := w.repaired("lb2", 2*time.Minute)
			if away < pause || away > pause+5*time.Second {
				t.Errorf("theft %d: away for %v, want a pause of %v", i+1, away, pause)
			}
			a := lb1.Status().Addresses[0]
			if contested := i >= 2; contested != (a.Contested == i+1) || !a.ClaimAfter.IsZero() {
				t.Errorf("claimed back %d times; the status says contested %d, after %v", i+1, a.Contested, a.ClaimAfter)
			}
			time.Sleep(3 * time.Second)
		}
		w.cloud.steal("lb3")
		time.Sleep(10 * time.Second) // in the pause
		a := lb1.Status().Addresses[0]
		if a.Holder != "lb3" || a.Held || a.Contested != 10 || time.Until(a.ClaimAfter) < 50*time.Second {
			t.Errorf("in the pause: %+v", a)
		}
		looks := w.cloud.looked()
		time.Sleep(40 * time.Second)
		if n := w.cloud.looked() - looks; n < 1 {
			t.Error("nobody looks in the pause")
		}
		w.settles("lb1", 20*time.Second)
		w.stays(duelQuiet - 20*time.Second)
		if a := lb1.Status().Addresses[0]; a.Contested == 0 {
			t.Error("forgotten too soon")
		}
		w.stays(20 * time.Second)
		if a := lb1.Status().Addresses[0]; a.Contested != 0 {
			t.Error("not forgotten")
		}
		if away := w.repaired("lb2", time.Minute); away > 5*time.Second {
			t.Errorf("away for %v when all is forgotten", away)
		}
		w.cloud.disciplined(t)
	})
}

// TestDuelDoesNotKeepALeader from going, nor its successor from claiming at once.
func TestDuelDoesNotKeepALeader(t *testing.T) {
	threeIn(t, telling, func(t *testing.T, w *world) {
		for range 8 {
			w.repaired("lb3", 2*time.Minute)
		}
		w.cloud.steal("lb3")
		time.Sleep(10 * time.Second) // in a pause
		if _, err := w.boxes["lb1"].node.Transfer(context.Background(), "lb2"); err != nil {
			t.Fatal(err)
		}
		w.settles("lb2", 500*time.Millisecond)
		w.cloud.disciplined(t)
	})
}
