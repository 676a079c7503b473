package lab

import (
	"context"
	"time"

	"github.com/buoy-lb/buoy/test/lab/wire"
)

// cut spoils lines for as long as the fault lasts, and notes it before and after.
func (s *Scene) cut(what string, spoil func()) {
	// The switch first: by the record, nothing is cut before it really is.
	spoil()
	s.Note(what, Cause{MayMove: true})
	s.later(func() {
		s.Switch.Heal()
		s.Note("network healed", Cause{MayMove: true})
	})
}

var cutLine = wire.Line{Cut: true}

func networkFaults() []Fault {
	const cutOff = 3 * time.Second
	return []Fault{
		{
			Key: "unplugged", Title: "host cut off (cable pulled)", Shared: true, Moves: true,
			Begin: func(_ context.Context, s *Scene) error { return s.Victim.Unplug() },
			End:   func(_ context.Context, s *Scene) error { return s.Victim.Plug() },
		},
		{
			Key: "silent", Title: "host cut off (frames lost)", Shared: true, Moves: true,
			Begin: func(_ context.Context, s *Scene) error {
				s.cut(s.Victim.Name+" cut off", func() {
					for _, other := range s.hosts() {
						s.Switch.SpoilBoth(s.Victim.Name, other, cutLine)
					}
				})
				return nil
			},
		},
		{
			Key: "mute", Title: "host cut off one way (it hears, nobody hears it)", Shared: true, Moves: true,
			Begin: func(_ context.Context, s *Scene) error {
				s.cut(s.Victim.Name+" mute", func() {
					for _, other := range s.hosts() {
						s.Switch.Spoil(s.Victim.Name, other, cutLine)
					}
				})
				return nil
			},
		},
		{
			Key: "deaf", Title: "host cut off one way (it is heard, it hears nobody)", Moves: true,
			Note: "keepalived's master needs to hear nobody: it stays, and nobody is served.",
			Begin: func(_ context.Context, s *Scene) error {
				s.cut(s.Victim.Name+" deaf", func() {
					for _, other := range s.hosts() {
						s.Switch.Spoil(other, s.Victim.Name, cutLine)
					}
				})
				return nil
			},
		},
		{
			Key: "leader-alone", Title: "holder cut from its peers, not from the cloud", Moves: true, Hold: cutOff,
			Note: "HAProxy there goes on serving.",
			Begin: func(_ context.Context, s *Scene) error {
				s.cut(s.Victim.Name+" cut from its peers", func() {
					for _, b := range s.Others {
						s.Switch.SpoilBoth(s.Victim.Name, b.Name, cutLine)
					}
				})
				return nil
			},
		},
		{
			Key: "bridge", Title: "bridge partition (two reach the third only)", Hold: cutOff,
			Begin: func(_ context.Context, s *Scene) error {
				s.bridge()
				return nil
			},
		},
		{
			Key: "cloud-lost", Title: "holder cut from the cloud, not from its peers", Moves: true,
			Note: "The client comes through the cloud, too.",
			Begin: func(_ context.Context, s *Scene) error {
				s.cut(s.Victim.Name+" cut from the cloud", func() {
					s.Switch.SpoilBoth(s.Victim.Name, s.cloudHost.Name, cutLine)
				})
				return nil
			},
		},
	}
}

// rough spoils every line between two hosts in the VPC, the cloud's included, in a way
// that is no reason to move.
func rough(key, title string, l wire.Line) Fault {
	return Fault{
		Key: key, Title: title, Hold: 8 * time.Second,
		Begin: func(_ context.Context, s *Scene) error {
			s.Note(title, Cause{Rough: true})
			for _, a := range s.Balancers {
				for _, b := range s.hosts() {
					if a.Name != b {
						s.Switch.SpoilBoth(a.Name, b, l)
					}
				}
			}
			s.later(func() {
				s.Switch.Heal()
				s.Smooth("network healed", Cause{})
			})
			return nil
		},
	}
}

func roughFaults() []Fault {
	const msec = time.Millisecond
	return []Fault{
		rough("loss-10", "10 % of frames lost", wire.Line{Loss: 0.10}),
		rough("loss-20", "20 % of frames lost", wire.Line{Loss: 0.20}),
		rough("loss-30", "30 % of frames lost", wire.Line{Loss: 0.30}),
		rough("delay-100", "delay of 100 ± 50 ms each way", wire.Line{Delay: 100 * msec, Jitter: 50 * msec}),
		rough("delay-300", "delay of 300 ± 100 ms each way", wire.Line{Delay: 300 * msec, Jitter: 100 * msec}),
		rough("duplicates", "10 % of frames twice", wire.Line{Duplicate: 0.10}),
	}
}

// bridge cuts the victim and the last of the others from one another; a third reaches both.
// Nobody needs to move: the holder still has a majority.
func (s *Scene) bridge() {
	far := s.Others[len(s.Others)-1]
	s.Switch.SpoilBoth(s.Victim.Name, far.Name, cutLine)
	s.Note(s.Victim.Name+" and "+far.Name+" cut from one another", Cause{})
	s.later(func() {
		s.Switch.Heal()
		s.Note("network healed", Cause{})
	})
}
