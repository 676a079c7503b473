package test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
)

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

	const outranks = "lb1 outranks 150>100"
	s.told("kill HAProxy on the holder", bound, killHAProxy("lb1"), move{"lb1", "lb2", "lb1 is in FAULT"})
	s.told("start HAProxy again: preempting", bound, startHAProxy("lb1"), move{"lb2", "lb1", outranks})

	s.told("kill -9 the holder's daemon", bound, killDaemon("lb1"), move{"lb1", "lb2", "leader lb1 is gone"})
	s.told("start the daemon again: preempting", bound, startDaemon("lb1"), move{"lb2", "lb1", outranks})

	s.told("stop the holder's daemon", bound, stopDaemonServed("lb1"), move{"lb1", "lb2", "shutting down"})
	s.told("start the stopped daemon: preempting", bound, startDaemon("lb1"), move{"lb2", "lb1", outranks})

	s.told("hang HAProxy on the holder", bound, func(_ context.Context, s *story) error {
		s.w.Node("lb1").HangHAProxy()
		return nil
	}, move{"lb1", "lb2", "lb1 is in FAULT"})
	s.told("resume HAProxy", bound, func(_ context.Context, s *story) error {
		s.w.Node("lb1").ResumeHAProxy()
		return nil
	}, move{"lb2", "lb1", outranks})

	s.told("revoke the holder's token", verifyBound, func(_ context.Context, s *story) error {
		s.w.Node("lb1").RevokeToken()
		return nil
	}, move{"lb1", "lb2", "own fault"})
	s.told("restore the token", verifyBound, func(_ context.Context, s *story) error {
		s.w.Node("lb1").RestoreToken()
		return nil
	}, move{"lb2", "lb1", outranks})

	s.told("steal the address", verifyBound, steal, move{"199", "lb1", "had been moved away"})
	s.told("add a fourth node of the highest priority", 2*bound, addNode(200), move{"lb1", "lb4", "lb4 outranks 200>150"})
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

	s.step("stop the holder's daemon", bound, stopDaemonServed("lb1"), "lb2")
	s.stays("start the daemon of higher priority", startDaemon("lb1"), "lb1", "lb2")
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
