package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// These tests keep hashicorp/raft issue #696 from coming back: a transfer to a hung,
// lagging follower that times out leaves a goroutine behind, the next one blocks, and if
// leadership is lost meanwhile the node refuses every Apply for the life of the process,
// while State() says Leader.

// TestGuardKeepsTransfersFromAHungPeer asks for the dangerous transfers through buoy.
func TestGuardKeepsTransfersFromAHungPeer(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		lb1, lb2, lb3 := w.boxes["lb1"], w.boxes["lb2"], w.boxes["lb3"]
		resume := lb3.disk.hang()
		lb2.fault() // an entry that lb3 cannot take; lb3 is the only target left
		time.Sleep(100 * time.Millisecond)
		for range 3 {
			if to, err := lb1.node.Transfer(context.Background(), "lb3"); err == nil {
				t.Errorf("leadership was handed to %s, which hangs", to)
			}
			time.Sleep(2 * time.Second)
		}
		w.isolate("lb1", true)
		time.Sleep(2 * time.Second)
		resume()
		w.isolate("lb1", false)
		lb2.heal()
		w.settles("lb1", time.Minute)
		w.must(await(context.Background(), lb1.node.raft.Barrier(time.Second), time.Second))
		w.cloud.disciplined(t)
	})
}

// TestWatchdogGivesUpAWedgedLeader makes the wedge by going past the guard, and expects
// the daemon to end with ErrWedged. A wedged raft leaks goroutines for good, which a
// bubble does not allow: this runs in real time.
func TestWatchdogGivesUpAWedgedLeader(t *testing.T) {
	if testing.Short() {
		t.Skip("takes up to a minute of real time")
	}
	const worlds, rounds = 8, 4
	for round := range rounds {
		var wedged atomic.Int32
		var wg sync.WaitGroup
		for range worlds {
			wg.Go(func() {
				if wedge(t) {
					wedged.Add(1)
				}
			})
		}
		wg.Wait()
		if n := wedged.Load(); n > 0 || t.Failed() {
			t.Logf("round %d: %d of %d wedged", round+1, n, worlds)
			return
		}
	}
	t.Fatalf("%d attempts did not wedge raft: if #696 is mended upstream, the guard and this test can go", worlds*rounds)
}

// wedge reports whether raft was wedged, which takes some luck, and then fails the test
// unless the watchdog noticed.
func wedge(t *testing.T) bool {
	w := newWorld(t)
	defer w.close()
	for i, name := range []string{"lb1", "lb2", "lb3"} {
		w.add(name, 150-i, func(b *box) {
			b.timing = Timing{Heartbeat: 200 * time.Millisecond, Election: 200 * time.Millisecond, Lease: 100 * time.Millisecond}
			b.member.Preempt = false
			b.rpc = 2 * time.Second // while a request hangs, the rest must happen
		})
	}
	w.form("lb1")
	for _, name := range []string{"lb2", "lb3"} {
		// Real time on a busy machine: the leader may have lost its lease in between.
		w.until(func() bool {
			return w.boxes[name].node.Join(context.Background(), w.boxes["lb1"].member.Address, func(string) {}) == nil
		})
	}
	if w.leader() != w.boxes["lb1"] {
		return false
	}
	lb1, lb3 := w.boxes["lb1"], w.boxes["lb3"]

	resume := lb3.disk.hang()
	defer resume()
	lb1.node.raft.Barrier(time.Second) // an entry that lb3 lacks
	// Until the pipeline has given up and replication has begun to wait, as long again, in
	// one request at a time.
	time.Sleep(lb1.rpc + 200*time.Millisecond + rand.N(200*time.Millisecond))
	// One is taken by replication as it begins to wait, one stays in the buffer, one hangs.
	for range 3 {
		f := lb1.node.raft.LeadershipTransferToServer(raft.ServerID(lb3.member.ID), raft.ServerAddress(lb3.member.Address))
		if err := await(context.Background(), f, 5*time.Second); err == nil {
			return false
		}
	}
	w.isolate("lb1", true)
	w.until(func() bool { return lb1.node.raft.State() != raft.Leader })
	w.isolate("lb1", false)
	w.until(func() bool {
		l := w.leader()
		if l != nil && l != lb1 {
			lb1.campaign()
		}
		return l == lb1
	})
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		select {
		case err := <-lb1.done:
			lb1.run(nil)
			if !errors.Is(err, ErrWedged) {
				t.Errorf("Run ended with %v, want ErrWedged", err)
			}
			return true
		default:
		}
		if await(context.Background(), lb1.node.raft.Barrier(time.Second), time.Second) == nil {
			return false // in time after all
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("a leader that can commit nothing went on for 30 s")
	return true
}

// until polls for up to ten seconds.
func (w *world) until(ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			w.t.Fatal("waited 10 s in vain")
		}
		time.Sleep(20 * time.Millisecond)
	}
}
