package lab

import (
	"context"
	"errors"
	"time"

	"github.com/buoy-lb/buoy/assigner/dotest"
	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
	"github.com/buoy-lb/buoy/test/lab/variant"
	"github.com/buoy-lb/buoy/test/lab/wire"
)

// play is a scene that a mutant cannot play without breaking its rule. The true daemon
// plays it, too, and must break none.
type play struct {
	options func(*Options)
	do      func(ctx context.Context, s *Scene) error
}

// playSettle is the judge's bound in plays: less than usual, to be done sooner.
const playSettle = 6 * time.Second

// fast are timers with which an election is over before a ticket is.
const fast = "{heartbeat: 150ms, election: 150ms, lease: 75ms}"

var plays = map[string]play{
	"no-wait":              {func(o *Options) { o.Timing = fast }, killWithTicket(2, 0)},
	"late-ticket":          {func(o *Options) { o.Equal = true }, killWithTicket(4, 80*time.Millisecond)},
	"early-release":        {nil, nothing},
	"wall-clock":           {func(o *Options) { o.Stepped = true }, waitByTheWall},
	"no-write-guard":       {nil, slowConnection},
	"blind-retry":          {nil, failover(dotest.Fault{Effect: dotest.Drop, Accepted: true, Count: 1})},
	"claim-without-ticket": {nil, nothing},
	"minority-writes":      {nil, leaderAlone},
	"no-verify":            {nil, failover(dotest.Fault{Effect: dotest.ActionErrored, Count: 1})},
	"no-reconcile":         {nil, stolen},
	"no-pending-check":     {func(o *Options) { o.Assign = 4 * time.Second }, failover()},
	"stale-health":         {nil, stolenFromTheSick},
	"no-stepdown":          {nil, failover()},
	"no-own-fault":         {nil, tokenGone},
	"one-witness":          {func(o *Options) { o.Equal = true }, bridged},
	"eager-preempt":        {func(o *Options) { o.NoPreempt = true }, comeBack},
	"equal-moves":          {func(o *Options) { o.Equal = true }, comeBack},
	"forgetful-vote":       {nil, blackout},
	"memory-log":           {nil, blackout},
	"early-ack":            {nil, growing},
}

// growing has a balancer join, and looks whether it is counted from then on.
func growing(ctx context.Context, s *Scene) error {
	s.Note("membership in motion", Cause{Rough: true})
	if err := s.grow(ctx, s.Victim); err != nil {
		return err
	}
	s.Smooth("a balancer has joined", Cause{MayMove: true})
	return pause(ctx, 3*time.Second)
}

func nothing(context.Context, *Scene) error { return nil }

// settled waits until P2 has its say.
func (s *Scene) settled(ctx context.Context) error {
	return pause(ctx, playSettle+s.opts.Assign+time.Second)
}

// failover kills the holder's HAProxy while requests to move the address suffer faults.
func failover(faults ...dotest.Fault) func(context.Context, *Scene) error {
	return func(ctx context.Context, s *Scene) error {
		for _, f := range faults {
			f.Method, f.Path = "POST", assignPath
			s.Cloud.Inject(f)
		}
		s.Victim.KillHAProxy()
		return s.settled(ctx)
	}
}

// steal moves the address to a machine outside.
func (s *Scene) steal() error {
	s.Note("the address is stolen", Cause{Drift: true})
	return s.Cloud.Steal(FloatingIP, stranger)
}

func stolen(ctx context.Context, s *Scene) error {
	if err := s.steal(); err != nil {
		return err
	}
	return pause(ctx, s.setup().Repair+s.opts.Assign+time.Second)
}

// stolenFromTheSick is for who claims without being fit.
func stolenFromTheSick(ctx context.Context, s *Scene) error {
	s.Victim.KillHAProxy()
	if err := pause(ctx, detect+s.opts.Assign+time.Second); err != nil {
		return err
	}
	return stolen(ctx, s)
}

func tokenGone(ctx context.Context, s *Scene) error {
	s.Victim.RevokeToken()
	// Two looks at the cloud have to fail first.
	return pause(ctx, 2*s.opts.verify()+s.opts.Settle+4*time.Second)
}

// comeBack has the holder fail and return when its return is no reason for a move.
func comeBack(ctx context.Context, s *Scene) error {
	s.Victim.KillHAProxy()
	if err := s.awaitFit(ctx); err != nil {
		return err
	}
	if err := s.AwaitRest(ctx); err != nil {
		return err
	}
	if err := s.Victim.StartHAProxy(ctx); err != nil {
		return err
	}
	return pause(ctx, 5*time.Second)
}

// bridged is a partition that is nobody's reason to move.
func bridged(ctx context.Context, s *Scene) error {
	s.bridge()
	defer s.undoAll()
	return pause(ctx, playSettle)
}

func leaderAlone(ctx context.Context, s *Scene) error {
	s.cut(s.Victim.Name+" cut from its peers", func() {
		for _, b := range s.Others {
			s.Switch.SpoilBoth(s.Victim.Name, b.Name, cutLine)
		}
	})
	defer s.undoAll()
	return pause(ctx, 12*time.Second)
}

// blackout kills all daemons at once, some terms on, and then the holder's HAProxy.
func blackout(ctx context.Context, s *Scene) error {
	for range 2 {
		holder := s.Holder()
		holder.KillDaemon()
		if err := s.awaitFit(ctx); err != nil {
			return err
		}
		if err := errors.Join(holder.StartDaemon(ctx), s.AwaitRest(ctx)); err != nil {
			return err
		}
	}
	for _, b := range s.Balancers {
		b.KillDaemon()
	}
	for _, b := range s.Balancers {
		if err := b.StartDaemon(ctx); err != nil {
			return err
		}
	}
	if err := pause(ctx, 3*time.Second); err != nil {
		return err
	}
	s.Balancers[0].KillHAProxy()
	return s.settled(ctx)
}

// killWithTicket ends the holder's daemon while it has a ticket. The followers' answers
// take late to reach it.
func killWithTicket(rounds int, late time.Duration) func(context.Context, *Scene) error {
	return func(ctx context.Context, s *Scene) error {
		for range rounds {
			holder := s.Holder()
			for _, b := range s.Balancers {
				if b != holder && late > 0 {
					s.Switch.Spoil(b.Name, holder.Name, wire.Line{Delay: late})
				}
			}
			s.Note("requests to move the address hang", Cause{Rough: true})
			s.Cloud.Inject(dotest.Fault{Method: "POST", Path: assignPath, Effect: dotest.Hang})
			if err := s.untilTicket(ctx, s.steal); err != nil {
				return err
			}
			if err := s.untilTicket(ctx, func() error { holder.KillDaemon(); return nil }); err != nil {
				return err
			}
			s.Cloud.ClearFaults()
			s.Switch.Heal()
			s.Smooth("requests are answered", Cause{MayMove: true})
			if err := errors.Join(holder.StartDaemon(ctx), s.AwaitRest(ctx)); err != nil {
				return err
			}
		}
		return nil
	}
}

// untilTicket does something and waits until somebody has a new ticket.
func (s *Scene) untilTicket(ctx context.Context, do func() error) error {
	tickets := func() int {
		h, _ := s.History()
		return len(h.Tickets)
	}
	before := tickets()
	if err := do(); err != nil {
		return err
	}
	return sandbox.Poll(ctx, "a ticket", func(context.Context) error {
		if tickets() == before {
			return errors.New("none yet")
		}
		return nil
	})
}

// waitByTheWall steps the clocks back while a ticket of another node is being waited for.
func waitByTheWall(ctx context.Context, s *Scene) error {
	s.Note("requests to move the address hang", Cause{Rough: true})
	s.Cloud.Inject(dotest.Fault{Method: "POST", Path: assignPath, Effect: dotest.Hang})
	err := s.untilTicket(ctx, func() error { s.Victim.KillHAProxy(); return nil })
	if err != nil {
		return err
	}
	for _, b := range s.Balancers {
		err = errors.Join(err, variant.StepClock(b.clockFile(), -time.Hour))
	}
	s.Others[0].KillDaemon() // lb2, which has the ticket
	s.Cloud.ClearFaults()
	s.Smooth("requests are answered", Cause{MayMove: true})
	return errors.Join(err, s.settled(ctx))
}

// slowConnection makes connecting to the cloud take longer than a ticket lives.
func slowConnection(ctx context.Context, s *Scene) error {
	s.Note("the cloud is far away", Cause{Rough: true})
	s.dropConnections()
	if err := pause(ctx, 100*time.Millisecond); err != nil { // that goes fast, still
		return err
	}
	for _, b := range s.Balancers {
		s.Switch.SpoilBoth(b.Name, s.cloudHost.Name, wire.Line{Delay: 390 * time.Millisecond})
	}
	s.Victim.KillHAProxy()
	if err := pause(ctx, 6*time.Second); err != nil {
		return err
	}
	s.Switch.Heal()
	s.Smooth("the cloud is near", Cause{MayMove: true})
	return s.settled(ctx)
}
