package test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
)

// How long a step may take. The bounds are for a busy machine and the race detector:
// they catch what never happens, the figures say how fast it does.
const (
	bound = 20 * time.Second
	// verifyBound is for faults that only the steady look at the cloud can find: two
	// looks in a row, and the self-test that lets a node back in.
	verifyBound = bound + 4*sandbox.VerifyInterval
)

// story is one world and what happens in it, step after step.
type story struct {
	*testing.T
	w *sandbox.World
}

func newStory(t *testing.T, priorities []int, preempt bool) *story {
	t.Helper()
	binary, err := raceBinary()
	if err != nil {
		t.Fatal(err)
	}
	return &story{T: t, w: newWorld(t, binary, priorities, preempt)}
}

// newWorld makes a world with one node for each priority, all of them down.
func newWorld(t *testing.T, binary string, priorities []int, preempt bool) *sandbox.World {
	t.Helper()
	w, err := sandbox.New(t.Context(), sandbox.Options{
		Binary: binary, Priorities: priorities, AssignLatency: 100 * time.Millisecond, LogFormat: "json",
	})
	if errors.Is(err, sandbox.ErrNoHAProxy) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range w.Nodes() {
				t.Logf("the end of the log of %s:\n%s", n.Name, n.Tail(60))
			}
		}
	})
	for _, n := range w.Nodes() {
		if err := n.WriteConfig(sandbox.Settings{Priority: n.Settings.Priority, NoPreempt: !preempt}); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (s *story) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// step does something and expects the address to come to holder, by the cloud's own
// record, and holder to know that it is the master. The oracle has the last word.
func (s *story) step(name string, bound time.Duration, do func(ctx context.Context, s *story) error, holder string) {
	s.Helper()
	ok := s.Run(name, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), bound)
		defer cancel()
		began := time.Now()
		if err := do(ctx, s); err != nil {
			t.Fatal(err)
		}
		if _, err := s.w.WaitHolder(ctx, holder); err != nil {
			t.Fatal(err)
		}
		if err := s.w.WaitState(ctx, holder, api.StateMaster); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s is master after %v", holder, time.Since(began).Round(time.Millisecond))
		consult(t, s.w)
	})
	if !ok {
		s.Fatalf("%s failed: what would follow means nothing", name)
	}
}

func form(ctx context.Context, s *story) error {
	if err := s.w.Start(ctx); err != nil {
		return err
	}
	return s.w.Form(ctx)
}

// The actions on one node.
func killHAProxy(name string) func(context.Context, *story) error {
	return func(_ context.Context, s *story) error { s.w.Node(name).KillHAProxy(); return nil }
}

func startHAProxy(name string) func(context.Context, *story) error {
	return func(ctx context.Context, s *story) error { return s.w.Node(name).StartHAProxy(ctx) }
}

func killDaemon(name string) func(context.Context, *story) error {
	return func(_ context.Context, s *story) error { s.w.Node(name).KillDaemon(); return nil }
}

func startDaemon(name string) func(context.Context, *story) error {
	return func(ctx context.Context, s *story) error { return s.w.Node(name).StartDaemon(ctx) }
}

// TestEndToEnd: the node of the highest priority that can hold the address does.
func TestEndToEnd(t *testing.T) {
	s := newStory(t, []int{150, 100, 50}, true)
	s.step("form a cluster with init and join", 2*bound, form, "lb1")

	s.step("kill HAProxy on the holder", bound, killHAProxy("lb1"), "lb2")
	s.step("start HAProxy again: preempting", bound, startHAProxy("lb1"), "lb1")

	s.step("kill -9 the holder's daemon", bound, killDaemon("lb1"), "lb2")
	s.step("start the daemon again: preempting", bound, startDaemon("lb1"), "lb1")

	s.step("stop the holder's daemon", bound, stopDaemonServed("lb1"), "lb2")
	s.step("start the stopped daemon: preempting", bound, startDaemon("lb1"), "lb1")

	s.step("hang HAProxy on the holder", bound, func(_ context.Context, s *story) error {
		s.w.Node("lb1").HangHAProxy()
		return nil
	}, "lb2")
	s.step("resume HAProxy", bound, func(_ context.Context, s *story) error {
		s.w.Node("lb1").ResumeHAProxy()
		return nil
	}, "lb1")

	s.step("revoke the holder's token", verifyBound, func(_ context.Context, s *story) error {
		s.w.Node("lb1").RevokeToken()
		return nil
	}, "lb2")
	s.step("restore the token", verifyBound, func(_ context.Context, s *story) error {
		s.w.Node("lb1").RestoreToken()
		return nil
	}, "lb1")

	s.step("steal the address", verifyBound, steal, "lb1")
	s.step("add a fourth node of the highest priority", 2*bound, addNode(200), "lb4")
	s.step("restart all daemons at once", 2*bound, restartAll, "lb4")
	s.votersAre(4)
	s.step("lose the quorum and regain it", 2*bound, loseQuorum, "lb1")
}

// TestEndToEndNoPreempt: who has the address keeps it while its checks pass.
func TestEndToEndNoPreempt(t *testing.T) {
	s := newStory(t, []int{150, 100, 50}, false)
	s.step("form a cluster with init and join", 2*bound, form, "lb1")

	s.step("kill HAProxy on the holder", bound, killHAProxy("lb1"), "lb2")
	s.stays("start HAProxy again", startHAProxy("lb1"), "lb1", "lb2")

	s.step("kill -9 the holder's daemon: the best of the others follows", bound, killDaemon("lb2"), "lb1")
	s.stays("start the daemon of lower priority", startDaemon("lb2"), "lb2", "lb1")
}

// stopDaemonServed stops a daemon in good order while a client asks for pages: a
// planned switch, in which no request may fail.
func stopDaemonServed(name string) func(context.Context, *story) error {
	return func(ctx context.Context, s *story) error {
		served, cancel := context.WithCancel(ctx)
		traffic, done := s.w.NewTraffic(), make(chan struct{})
		go func() {
			defer close(done)
			traffic.Run(served)
		}()
		defer func() { cancel(); <-done }()
		if err := traffic.WaitServed(ctx); err != nil {
			return err
		}
		if err := s.w.Node(name).StopDaemon(ctx); err != nil {
			return err
		}
		if _, err := s.w.WaitHolder(ctx, "lb2"); err != nil {
			return err
		}
		if err := traffic.WaitServed(ctx); err != nil {
			return err
		}
		if o := traffic.Reset(); o.Failed > 0 {
			return fmt.Errorf("%d of %d requests failed: %w", o.Failed, o.Requests, o.LastError)
		}
		return nil
	}
}

// steal takes the address away behind buoy's back; nobody but the holder may mend it,
// and without a change of leader.
func steal(ctx context.Context, s *story) error {
	before := len(s.w.Cloud.Writes(time.Time{}))
	if err := s.w.Steal(); err != nil {
		return err
	}
	if _, err := s.w.WaitHolder(ctx, "lb1"); err != nil {
		return err
	}
	writes := s.w.Cloud.Writes(time.Time{})
	last := writes[len(writes)-1]
	if len(writes) != before+1 || last.Epoch != writes[before-1].Epoch {
		return fmt.Errorf("%d writes, the last one in epoch %d after %d; want 1 in the same epoch", len(writes)-before, last.Epoch, writes[before-1].Epoch)
	}
	return nil
}

func addNode(priority int) func(context.Context, *story) error {
	return func(ctx context.Context, s *story) error {
		n, err := s.w.AddNode(ctx, priority)
		if err != nil {
			return err
		}
		if err := n.StartHAProxy(ctx); err != nil {
			return err
		}
		if err := n.StartDaemon(ctx); err != nil {
			return err
		}
		_, err = n.Buoy(ctx, "join", s.w.Node("lb2").Address) // a follower shows the way
		return err
	}
}

// restartAll is a power failure: all daemons end at once and come back.
func restartAll(ctx context.Context, s *story) error {
	for _, n := range s.w.Nodes() {
		n.KillDaemon()
	}
	for _, n := range s.w.Nodes() {
		if err := n.StartDaemon(ctx); err != nil {
			return err
		}
	}
	return nil
}

// loseQuorum leaves two of four: nobody may write, whatever happens. Then a third is back.
func loseQuorum(ctx context.Context, s *story) error {
	s.w.Node("lb4").KillDaemon()
	s.w.Node("lb1").KillDaemon()
	before := len(s.w.Cloud.Writes(time.Time{}))
	if err := s.w.Steal(); err != nil {
		return err
	}
	err := sandbox.Poll(ctx, "lb2 to see that nobody leads", func(ctx context.Context) error {
		status, err := s.w.Node("lb2").Status(ctx)
		if err == nil && status.Raft.Leader != "" {
			err = fmt.Errorf("leader %s", status.Raft.Leader)
		}
		return err
	})
	if err != nil {
		return err
	}
	if after := len(s.w.Cloud.Writes(time.Time{})); after != before {
		return fmt.Errorf("%d writes without a quorum", after-before)
	}
	return s.w.Node("lb1").StartDaemon(ctx)
}

// votersAre checks that everybody still counts the same members.
func (s *story) votersAre(want int) {
	for _, n := range s.w.Nodes() {
		status, err := n.Status(s.Context())
		if err != nil {
			s.Error(err)
		} else if status.Raft.Voters != want || len(status.Members) != want {
			s.Errorf("%s counts %d voters and %d members, want %d", n.Name, status.Raft.Voters, len(status.Members), want)
		}
	}
}

// stays does something that makes rival eligible again and expects the address to stay
// on holder: it has confirmed twice more that it holds the address after it saw the
// rival, without a write.
func (s *story) stays(name string, do func(context.Context, *story) error, rival, holder string) {
	s.step(name+": not preempting", verifyBound, func(ctx context.Context, s *story) error {
		if err := do(ctx, s); err != nil {
			return err
		}
		before := len(s.w.Cloud.Writes(time.Time{}))
		if err := s.awaitLooks(ctx, rival, holder, 2); err != nil {
			return err
		}
		if after := len(s.w.Cloud.Writes(time.Time{})); after != before {
			return fmt.Errorf("%d writes though %s may not preempt", after-before, rival)
		}
		return nil
	}, holder)
}

// awaitLooks waits until holder has confirmed the address so many times while it saw
// rival as eligible.
func (s *story) awaitLooks(ctx context.Context, rival, holder string, looks int) error {
	var last time.Time
	seen := -1
	return sandbox.Poll(ctx, holder+" to look again", func(ctx context.Context) error {
		status, err := s.w.Node(holder).Status(ctx)
		if err != nil {
			return err
		}
		if m, _ := status.Member(rival); !m.Eligible {
			return fmt.Errorf("%s is not eligible: %s", rival, m.Reason)
		}
		if at := status.FloatingIPs[0].VerifiedAt; at != nil && at.After(last) {
			last = *at
			seen++
		}
		if seen < looks {
			return fmt.Errorf("%d looks", max(seen, 0))
		}
		return nil
	})
}
