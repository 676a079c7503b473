package cluster

import (
	"slices"
	"testing"
	"time"
)

// TestReleaseFollowsTheLead: where machines carry the address, it goes with the lead, at
// once, and no two carry it when the cluster is at rest.
func TestReleaseFollowsTheLead(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		for name := range w.boxes {
			if r := w.cloud.released(name); len(r) == 0 || r[0].epoch != 0 {
				t.Errorf("%s released %+v at its start; want whatever a crash left behind", name, r)
			}
		}
		lb1 := w.boxes["lb1"]
		term := lb1.node.raft.CurrentTerm()
		began, before := time.Now(), len(w.cloud.released("lb1"))
		lb1.fault()
		w.settles("lb2", time.Second)
		r := w.cloud.released("lb1")[before:]
		if len(r) == 0 || r[0].epoch != term || r[0].at.Sub(began) > 200*time.Millisecond {
			t.Errorf("lb1 released %+v after %v; want that of term %d at once", r, began, term)
		}
		if got := w.cloud.carriers(); !slices.Equal(got, []string{"lb2"}) {
			t.Errorf("carried by %v, want lb2 alone", got)
		}
		w.boxes["lb2"].quit()
		w.settles("lb3", time.Second)
		if got := w.cloud.carriers(); !slices.Equal(got, []string{"lb3"}) {
			t.Errorf("carried by %v after a stop, want lb3 alone", got)
		}
	})
}

// TestReleaseAfterAClaimThatOutlivesItsTerm: the act ends after the term did, and after the
// release that went with it.
func TestReleaseAfterAClaimThatOutlivesItsTerm(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.boxes["lb1"].fault()
		w.settles("lb2", time.Second)
		w.cloud.setLatency(600 * time.Millisecond)
		before := w.cloud.attempts()
		w.boxes["lb1"].heal()
		w.until(func() bool { return w.cloud.attempts() > before })
		released := len(w.cloud.released("lb1"))
		w.cloud.setLatency(0)
		w.boxes["lb2"].campaign()
		time.Sleep(100 * time.Millisecond)
		if n := len(w.cloud.released("lb1")) - released; n != 2 {
			t.Errorf("released %d times, want with the term and after the claim", n)
		}
		w.settles("lb1", 5*time.Second)
	})
}

// TestReleaseThatHangs keeps neither the loop nor a stop from their work.
func TestReleaseThatHangs(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.cloud.releaseHangs.Store(true)
		lb1 := w.boxes["lb1"]
		lb1.fault()
		w.settles("lb2", time.Second)
		lb1.heal()
		w.settles("lb1", time.Second)
		began := time.Now()
		lb1.quit()
		if took := time.Since(began); took < releaseTimeout || took > 2*releaseTimeout+100*time.Millisecond {
			t.Errorf("the stop took %v; want it to wait for the release, and not for ever", took)
		}
		w.settles("lb2", time.Second)
	})
}
