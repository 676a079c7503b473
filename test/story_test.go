package test

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
	// assignLatency is how long the cloud takes to move the address.
	assignLatency = 100 * time.Millisecond
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
		Binary: binary, Priorities: priorities, AssignLatency: assignLatency, LogFormat: "json",
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

// move is what the cluster must have on record after a step: reason is a part of the
// sentence that operators read.
type move struct{ from, to, reason string }

// told is a step that moves the address, and the cluster tells the story of it.
func (s *story) told(name string, bound time.Duration, do func(context.Context, *story) error, want move) {
	s.Helper()
	s.step(name, bound, func(ctx context.Context, s *story) error {
		began := time.Now()
		if err := do(ctx, s); err != nil {
			return err
		}
		return sandbox.Poll(ctx, "the move to be on record", func(ctx context.Context) error {
			status, err := s.w.Node(want.to).Status(ctx)
			if err != nil {
				return err
			}
			if status.LastTransition == nil || status.LastTransition.At.Before(began) {
				return errors.New("none yet")
			}
			return want.matches(*status.LastTransition)
		})
	}, want.to)
}

// matches says what is wrong with the record of a move.
func (m move) matches(got api.Transition) error {
	stages := got.StagesMS
	switch {
	case got.From != m.from || got.To != m.to || !strings.Contains(got.Reason, m.reason):
		return fmt.Errorf("%s to %s because %q, want %s to %s because %q", got.From, got.To, got.Reason, m.from, m.to, m.reason)
	case min(stages.Detect, stages.Elect, stages.Claim, stages.Confirm) < 0 || stages.Total < assignLatency.Seconds()*1e3:
		return fmt.Errorf("stages that cannot be, as the cloud takes %v: %+v", assignLatency, stages)
	}
	return nil
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
