package fsm

import (
	"testing"
	"time"
)

func TestDampingDelay(t *testing.T) {
	want := []time.Duration{0, 0, 5, 10, 20, 40, 60, 60, 60}
	for falls, seconds := range want {
		if got := DampingDelay(falls); got != seconds*time.Second {
			t.Errorf("after fall %d: %v, want %ds", falls, got, seconds)
		}
	}
	for _, falls := range []int{-1, 1 << 20} {
		if got := DampingDelay(falls); got < 0 || got > time.Minute {
			t.Errorf("after fall %d: %v", falls, got)
		}
	}
}

// TestDamping takes one node through a day; each step is the time, its health then, and
// whether it falls.
func TestDamping(t *testing.T) {
	ok, fault := Report{Health: HealthOK, Priority: 100}, Report{Health: HealthFault, Priority: 100}
	weighted := func(p int) Report { return Report{Health: HealthDegraded, Priority: p} }
	const never = -1
	var d Damping
	for i, step := range []struct {
		at     time.Duration
		health Report
		falls  bool
		count  int
		until  time.Duration // damped until then; never: for as long as health is not good; 0: not damped
	}{
		{0, fault, true, 1, 0},
		{time.Second, ok, false, 1, 0}, // the first fall costs nothing
		{2 * time.Second, fault, true, 2, never},
		{10 * time.Second, fault, false, 2, never},
		{11 * time.Second, ok, false, 2, 16 * time.Second},
		{15 * time.Second, ok, false, 2, 16 * time.Second},
		{15500 * time.Millisecond, fault, false, 2, never}, // no fall, but not well either
		{16 * time.Second, ok, false, 2, 21 * time.Second},
		{21 * time.Second, ok, false, 2, 0},
		{30 * time.Second, fault, true, 3, never},
		{31 * time.Second, ok, false, 3, 41 * time.Second},
		{32 * time.Second, weighted(80), false, 3, 41 * time.Second}, // fit, which was the trouble
		{42 * time.Second, weighted(80), true, 4, never},
		{43 * time.Second, weighted(80), false, 4, never},
		{44 * time.Second, weighted(60), false, 4, never},
		{45 * time.Second, weighted(90), false, 4, 65 * time.Second}, // better than when it fell
		{46 * time.Second, ok, false, 4, 65 * time.Second},
		// Quiet for ten minutes, but for a moment.
		{6 * time.Minute, fault, false, 4, never},
		{6*time.Minute + time.Second, ok, false, 4, 6*time.Minute + 21*time.Second},
		{16 * time.Minute, ok, false, 4, 0},
		{16*time.Minute + time.Second, ok, false, 0, 0}, // forgotten
		{17 * time.Minute, fault, true, 1, 0},
		// Forgotten also if nobody looked in between.
		{18 * time.Minute, ok, false, 1, 0},
		{time.Hour, fault, true, 1, 0},
	} {
		now := start.Add(step.at)
		d = d.Step(now, step.health)
		if step.falls {
			d = d.Fell(now, step.health)
		}
		until, damped := d.Damped(now)
		want := time.Time{}
		if step.until > 0 {
			want = start.Add(step.until)
		}
		if d.Falls != step.count || damped != (step.until != 0) || damped && !until.Equal(want) {
			t.Errorf("step %d at %v: %d falls, damped %v until %v; want %d, until %v", i, step.at, d.Falls, damped, until.Sub(start), step.count, step.until)
		}
	}
}
