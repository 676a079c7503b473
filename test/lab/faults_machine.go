package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/buoy-lb/buoy/test/lab/variant"
)

func machineFaults() []Fault {
	return []Fault{
		{
			Key: "saturated", Title: "all cores saturated (4 busy loops each)", Shared: true, Hold: 10 * time.Second,
			Begin: func(_ context.Context, s *Scene) error {
				s.Note("cores saturated", Cause{Rough: true})
				spin, err := startOn(nil, 0, os.Stderr, nil, s.opts.Self, "spin", fmt.Sprint(4*runtime.NumCPU()))
				if err != nil {
					return err
				}
				s.later(func() {
					spin.Kill()
					s.Smooth("cores free", Cause{})
				})
				return nil
			},
		},
		{
			Key: "disk-full", Title: "holder's data disk full", Touches: []string{"disk", "daemon"}, Hold: 5 * time.Second,
			Begin: func(_ context.Context, s *Scene) error {
				// It may keep the lead, which needs no disk while nothing happens, or lose it.
				s.Note("disk of "+s.Victim.Name+" full", Cause{MayMove: true})
				return s.Victim.disk.fill()
			},
			End: func(_ context.Context, s *Scene) error {
				err := s.Victim.disk.free()
				s.Note("disk of "+s.Victim.Name+" has room", Cause{MayMove: true})
				return err
			},
		},
		{
			Key: "disk-full-failover", Title: "holder's data disk full, and its HAProxy killed", Moves: true,
			Touches: []string{"disk", "daemon", "haproxy"},
			Begin: func(_ context.Context, s *Scene) error {
				s.Note("disk of "+s.Victim.Name+" full", Cause{MayMove: true})
				err := s.Victim.disk.fill()
				s.Victim.KillHAProxy()
				return err
			},
			End: func(ctx context.Context, s *Scene) error {
				err := s.Victim.disk.free()
				return errors.Join(err, s.Victim.StartHAProxy(ctx))
			},
		},
		stepClock("clock-forward", "holder's wall clock stepped by +1 h", time.Hour),
		stepClock("clock-back", "holder's wall clock stepped by -1 h", -time.Hour),
	}
}

func stepClock(key, title string, by time.Duration) Fault {
	return Fault{
		Key: key, Title: title, Stepped: true, Hold: 4 * time.Second,
		Begin: func(_ context.Context, s *Scene) error {
			s.Note("clock of "+s.Victim.Name+" stepped", Cause{})
			return variant.StepClock(s.Victim.clockFile(), by)
		},
		End: func(_ context.Context, s *Scene) error {
			s.Note("clock of "+s.Victim.Name+" right again", Cause{})
			return variant.StepClock(s.Victim.clockFile(), 0)
		},
	}
}

func membershipFaults() []Fault {
	return []Fault{
		{
			Key: "each-lost", Title: "each member cut off (cable pulled), one after the other", Hold: time.Second, Long: 3 * restBound,
			Begin: func(ctx context.Context, s *Scene) error {
				for _, b := range s.Balancers {
					if err := errors.Join(s.lose(ctx, b), s.AwaitRest(ctx)); err != nil {
						return err
					}
				}
				return nil
			},
		},
		{
			Key: "wiped", Title: "a data directory lost, another machine joins instead", Hold: time.Second,
			// One that has lost its data has forgotten its votes: until `join --replace` exists
			// it must be refused, and is gone for good.
			Begin: func(ctx context.Context, s *Scene) error {
				lost := s.Others[len(s.Others)-1]
				s.Note("disk of "+lost.Name+" lost", Cause{Rough: true})
				lost.KillDaemon()
				if err := errors.Join(lost.disk.wipe(), lost.StartDaemon(ctx)); err != nil {
					return err
				}
				if lost.Buoy(ctx, "join", s.Victim.ip.String()) == nil {
					return errors.New("a machine that has lost its data was taken for what it was")
				}
				lost.KillDaemon()
				err := s.grow(ctx, s.Victim)
				s.Smooth("another machine is a member", Cause{MayMove: true})
				return err
			},
		},
		{
			Key: "join-in-partition", Title: "a balancer joins while another is cut off", Hold: time.Second,
			Begin: func(ctx context.Context, s *Scene) error {
				far := s.Others[len(s.Others)-1]
				s.Note("membership in motion", Cause{Rough: true})
				for _, other := range s.hosts() {
					if other != far.Name {
						s.Switch.SpoilBoth(far.Name, other, cutLine)
					}
				}
				s.Note(far.Name+" cut off", Cause{})
				err := s.grow(ctx, s.Others[0])
				s.Switch.Heal()
				s.Smooth("network healed", Cause{MayMove: true})
				return err
			},
		},
	}
}

// lose cuts a member off until the client is served by another one, and for a while.
func (s *Scene) lose(ctx context.Context, b *Balancer) error {
	if err := b.Unplug(); err != nil {
		return err
	}
	err := s.awaitHolder(ctx, func(holder *Balancer) bool { return holder != b })
	if err == nil {
		served, cancel := context.WithTimeout(ctx, restBound)
		defer cancel()
		err = s.client.awaitServed(served, s.World)
	}
	if err != nil {
		err = fmt.Errorf("without %s: %w", b.Name, err)
	}
	return errors.Join(err, pause(ctx, 2*time.Second), b.Plug())
}

// grow adds a balancer, which joins through another one.
func (w *World) grow(ctx context.Context, through *Balancer) error {
	b, err := w.AddBalancer(ctx)
	if err != nil {
		return err
	}
	err = errors.Join(b.StartHAProxy(ctx), b.StartDaemon(ctx), b.Join(ctx, through))
	b.cond.Voter = true
	return err
}
