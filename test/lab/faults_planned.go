package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
	"github.com/buoy-lb/buoy/test/lab/variant"
)

// plannedFaults are no faults: an operator's doing, or the return of a balancer, for which
// no request has to fail (P8).
func plannedFaults() []Fault {
	return []Fault{
		{
			Key: "transfer", Title: "buoy transfer, to the next balancer and back", Moves: true,
			Begin: func(ctx context.Context, s *Scene) error {
				return s.transfer(ctx, s.next())
			},
			End: func(ctx context.Context, s *Scene) error { return s.transfer(ctx, s.best()) },
		},
		{
			Key: "drained", Title: "buoy drain on the holder, and buoy undrain", Moves: true,
			Begin: func(ctx context.Context, s *Scene) error {
				s.Note("buoy drain on "+s.Victim.Name, Cause{MayMove: true, Planned: true})
				return s.Victim.Buoy(ctx, "drain")
			},
			End: func(ctx context.Context, s *Scene) error {
				s.Note("buoy undrain on "+s.Victim.Name, Cause{MayMove: true, Planned: true})
				return s.Victim.Buoy(ctx, "undrain")
			},
		},
		{
			Key: "preempted", Title: "the best balancer returns and takes the address back", Hold: time.Second,
			Begin: preempted,
		},
		{
			Key: "rolling-restart", Title: "all daemons restarted, one after the other", Hold: time.Second, Long: restBound,
			Begin: func(ctx context.Context, s *Scene) error { return s.restartAll(ctx, func(*Balancer) {}) },
		},
		{
			Key: "rolling-upgrade", Title: "all daemons replaced by another build, one after the other", Hold: time.Second, Long: restBound,
			Upgraded: true,
			Begin: func(ctx context.Context, s *Scene) error {
				// The second time it takes them back.
				if err := s.restartAll(ctx, func(b *Balancer) { b.upgraded = !b.upgraded }); err != nil {
					return err
				}
				return s.runs(ctx)
			},
		},
	}
}

// next is the best balancer that does not hold the address; nil if there is none.
func (s *Scene) next() *Balancer {
	holder := s.Holder()
	for _, b := range s.Balancers {
		if b != holder && b.cond.fit() {
			return b
		}
	}
	return nil
}

// transfer has the operator move the address, and returns when the cloud has confirmed it.
func (s *Scene) transfer(ctx context.Context, to *Balancer) error {
	if to == nil {
		return errors.New("nobody could take the address over")
	}
	s.Note("buoy transfer "+to.Name, Cause{MayMove: true, Planned: true})
	return to.Buoy(ctx, "transfer", to.Name)
}

// restartAll restarts all daemons in order, the holder's last, and does something to each
// while it is down.
func (s *Scene) restartAll(ctx context.Context, meanwhile func(*Balancer)) error {
	for _, b := range append(append([]*Balancer{}, s.Others...), s.Victim) {
		if err := b.StopDaemon(ctx); err != nil {
			return err
		}
		meanwhile(b)
		if err := errors.Join(b.StartDaemon(ctx), s.AwaitRest(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// runs checks that every daemon is of the build that it is meant to be.
func (s *Scene) runs(ctx context.Context) error {
	for _, b := range s.Balancers {
		status, err := b.Status(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", b.Name, err)
		}
		if (status.Version == variant.NextVersion) != b.upgraded {
			return fmt.Errorf("%s runs %s", b.Name, status.Version)
		}
	}
	return nil
}

// preempted takes the best balancer out of service without a loss, first its daemon and
// then its HAProxy, and has it return: its HAProxy last, so that its checks let it in.
func preempted(ctx context.Context, s *Scene) error {
	best := s.best()
	if err := best.StopDaemon(ctx); err != nil {
		return err
	}
	if err := s.awaitHolder(ctx, func(b *Balancer) bool { return b != best }); err != nil {
		return err
	}
	if err := errors.Join(best.StopHAProxy(ctx), best.StartDaemon(ctx), s.AwaitRest(ctx), best.StartHAProxy(ctx)); err != nil {
		return err
	}
	s.Note(best.Name+" is to take the address back", Cause{MayMove: true, Planned: true})
	return s.awaitHolder(ctx, func(b *Balancer) bool { return b == best })
}

// awaitHolder waits until the address is at a balancer of which ok holds, by the cloud's record.
func (w *World) awaitHolder(ctx context.Context, ok func(*Balancer) bool) error {
	ctx, cancel := context.WithTimeout(ctx, restBound)
	defer cancel()
	return sandbox.Poll(ctx, "the address to move", func(context.Context) error {
		if holder := w.Holder(); holder == nil || !ok(holder) {
			return fmt.Errorf("it is on %q", w.nameOf(w.Cloud.Holder(FloatingIP)))
		}
		return nil
	})
}
