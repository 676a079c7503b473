package cluster

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// telling are machines that know within a second what they hold.
func telling(w *world) { w.cloud.tells(time.Second) }

// repaired has the address stolen and says how long it was away from lb1.
func (w *world) repaired(to string, within time.Duration) time.Duration {
	w.t.Helper()
	began := time.Now()
	w.cloud.steal(to)
	w.settles("lb1", within)
	return time.Since(began)
}

// TestDriftIsRepaired within the bars: 5 s where machines can tell what they hold, and be
// late by a second, else with the next look, 36 s. Steals come at all phases of the ticks,
// and long after the looks that follow a claim.
func TestDriftIsRepaired(t *testing.T) {
	for name, tc := range map[string]struct {
		hints bool
		bar   time.Duration
		told  int // how many of 6 a hint tells at least: a look may come first
	}{
		"with hints":    {true, 5 * time.Second, 3},
		"without hints": {false, 36 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			prepare := func(w *world) {
				if tc.hints {
					w.cloud.tells(time.Second)
				}
			}
			threeIn(t, prepare, func(t *testing.T, w *world) {
				var worst time.Duration
				told := 0
				for i := range 6 {
					// More than duelQuiet, so that each is the first.
					time.Sleep(6*time.Minute + time.Duration(i)*4370*time.Millisecond)
					worst = max(worst, w.repaired([]string{"lb2", "nobody"}[i%2], time.Minute))
					time.Sleep(time.Second)
					last := w.boxes["lb1"].node.Status().Last
					bar := 36 * time.Second
					if last.Reason == "the address had been moved away, as a hint said" {
						told++
						bar = hintPatience + 10*time.Millisecond
					}
					if s := last.Stages; !strings.HasPrefix(last.Reason, "the address had been moved away") || s.Detect > bar || s.Claim > 100*time.Millisecond {
						t.Errorf("%s, %+v", last.Reason, s)
					}
				}
				if told < tc.told {
					t.Errorf("hints told %d times", told)
				}
				t.Logf("away for %v at most", worst)
				if worst > tc.bar {
					t.Errorf("away for %v, at most %v is promised", worst, tc.bar)
				}
				w.cloud.disciplined(t)
			})
		})
	}
}

// TestHintOfAnother is enough where the leader's own machine cannot tell.
func TestHintOfAnother(t *testing.T) {
	threeIn(t, telling, func(t *testing.T, w *world) {
		w.cloud.mutes("lb1", errors.New("no metadata service"))
		for range 5 {
			time.Sleep(6*time.Minute + 370*time.Millisecond)
			if away := w.repaired("lb3", time.Minute); away > 6*time.Second { // a probe more
				t.Errorf("away for %v", away)
			}
		}
		w.cloud.mutes("lb1", nil)
		w.stays(time.Minute)
	})
}

// TestHintsAtRest cost no requests, and a claim none but the usual looks.
func TestHintsAtRest(t *testing.T) {
	looks := func(hints bool) (n int) {
		prepare := func(w *world) {
			if hints {
				w.cloud.tells(time.Second)
			}
		}
		threeIn(t, prepare, func(t *testing.T, w *world) {
			w.boxes["lb1"].quit()
			w.settles("lb2", time.Second)
			before := w.cloud.looked()
			w.stays(10 * time.Minute)
			n = w.cloud.looked() - before
		})
		return n
	}
	// An interval of 30 s, 20 % more or less.
	if with, without := looks(true), looks(false); with > 31 || without > 31 {
		t.Errorf("%d looks in ten minutes with hints, %d without", with, without)
	}
}

// TestHintsThatAreWrong cost a look each ten seconds, and no write.
func TestHintsThatAreWrong(t *testing.T) {
	threeIn(t, telling, func(t *testing.T, w *world) {
		time.Sleep(time.Minute)
		w.cloud.tells(time.Hour) // nobody has it, they say
		w.boxes["lb1"].fault()   // a new leader asks all machines anew
		w.settles("lb2", time.Second)
		time.Sleep(time.Minute)
		before := w.cloud.looked()
		w.stays(10 * time.Minute)
		if n := w.cloud.looked() - before; n < 58 || n > 62 {
			t.Errorf("%d looks in ten minutes, want 60", n)
		}
	})
}

// TestHintThatHangs is given up, and does not pile up.
func TestHintThatHangs(t *testing.T) {
	threeIn(t, telling, func(t *testing.T, w *world) {
		time.Sleep(time.Minute)
		w.cloud.hintHangs.Store(true)
		time.Sleep(time.Minute)
		if n := w.cloud.hinting.Load(); n > 3 {
			t.Errorf("%d hints are being read by three nodes", n)
		}
		for name, b := range w.boxes {
			if c := b.node.Contact(); c.Hint != nil {
				t.Errorf("%s still says that it holds %v", name, c.Hint.Held)
			}
		}
		if away := w.repaired("lb2", time.Minute); away > 36*time.Second {
			t.Errorf("away for %v", away)
		}
		w.cloud.hintHangs.Store(false)
		time.Sleep(6 * time.Minute)
		if away := w.repaired("lb2", time.Minute); away > 5*time.Second {
			t.Errorf("away for %v when hints are back", away)
		}
	})
}
