package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/buoy-lb/buoy/assigner/dotest"
	"github.com/buoy-lb/buoy/test/lab/variant"
	"github.com/buoy-lb/buoy/test/lab/wire"
)

// Faults are all that the lab knows, in the order in which `make lab` goes through them.
func Faults() []Fault {
	return slices.Concat(
		touching(haproxyFaults(), "haproxy"),
		touching(daemonFaults(), "daemon"),
		touching(networkFaults(), "network"),
		touching(roughFaults(), "network"),
		touching(machineFaults(), "machine"),
		touching(cloudFaults(), "cloud", "haproxy", "daemon"),
		touching(membershipFaults(), Alone),
	)
}

// Alone is what a fault touches that goes with no other.
const Alone = "everything"

// touching says what the faults get hold of, those apart that say so themselves.
func touching(faults []Fault, what ...string) []Fault {
	for i := range faults {
		if faults[i].Touches == nil {
			faults[i].Touches = what
		}
	}
	return faults
}

// FindFault returns the fault with that key.
func FindFault(key string) (Fault, error) {
	for _, f := range Faults() {
		if f.Key == key {
			return f, nil
		}
	}
	return Fault{}, fmt.Errorf("no fault %q; buoy-lab list shows them", key)
}

func haproxyFaults() []Fault {
	startHAProxy := func(ctx context.Context, s *Scene) error { return s.Victim.StartHAProxy(ctx) }
	return []Fault{
		{
			Key: "haproxy-killed", Title: "HAProxy killed (-9)", Shared: true, Moves: true,
			Begin: func(_ context.Context, s *Scene) error { s.Victim.KillHAProxy(); return nil },
			End:   startHAProxy,
		},
		{
			Key: "haproxy-hung", Title: "HAProxy hung (SIGSTOP)", Shared: true, Moves: true,
			Note:  "keepalived's checks look for a process, and there is one.",
			Begin: func(_ context.Context, s *Scene) error { s.Victim.HangHAProxy(); return nil },
			End:   func(_ context.Context, s *Scene) error { s.Victim.ResumeHAProxy(); return nil },
		},
		{
			Key: "haproxy-stopped", Title: "HAProxy stopped in order", Shared: true, Moves: true,
			Begin: func(ctx context.Context, s *Scene) error { return s.Victim.StopHAProxy(ctx) },
			End:   startHAProxy,
		},
		{
			Key: "haproxy-reloaded", Title: "HAProxy reloaded, 10 times", Shared: true, Hold: 3 * time.Second,
			Begin: func(ctx context.Context, s *Scene) error {
				s.Note("HAProxy of "+s.Victim.Name+" reloaded", Cause{})
				for range 10 {
					s.Victim.ReloadHAProxy()
					if err := pause(ctx, 250*time.Millisecond); err != nil {
						return err
					}
				}
				return nil
			},
		},
	}
}

func daemonFaults() []Fault {
	startDaemon := func(ctx context.Context, s *Scene) error { return s.Victim.StartDaemon(ctx) }
	const serves = "HAProxy there goes on serving, so that nobody is cut off while this lasts."
	return []Fault{
		{
			Key: "daemon-killed", Title: "daemon killed (-9)", Note: serves, Shared: true, Moves: true,
			Begin: func(_ context.Context, s *Scene) error { s.Victim.KillDaemon(); return nil },
			End:   startDaemon,
		},
		{
			Key: "daemon-stopped", Title: "daemon stopped in order", Note: serves, Shared: true, Moves: true,
			Begin: func(ctx context.Context, s *Scene) error { return s.Victim.StopDaemon(ctx) },
			End:   startDaemon,
		},
		{
			Key: "daemon-hung", Title: "daemon hung (SIGSTOP)", Note: serves, Shared: true, Moves: true,
			Begin: func(_ context.Context, s *Scene) error { s.Victim.HangDaemon(); return nil },
			End:   func(_ context.Context, s *Scene) error { s.Victim.ResumeDaemon(); return nil },
		},
		{
			Key: "daemon-restarted", Title: "daemon restarted", Hold: time.Second,
			Note: serves,
			// Whether the address moves there and back, or not at all, is the daemon's choice.
			Begin: func(ctx context.Context, s *Scene) error {
				return errors.Join(s.Victim.StopDaemon(ctx), s.Victim.StartDaemon(ctx))
			},
		},
		{
			Key: "rolling-restart", Title: "all daemons restarted, one after the other", Touches: []string{Alone}, Hold: time.Second,
			Begin: func(ctx context.Context, s *Scene) error {
				for _, b := range append(append([]*Balancer{}, s.Others...), s.Victim) {
					if err := errors.Join(b.StopDaemon(ctx), b.StartDaemon(ctx), s.AwaitRest(ctx)); err != nil {
						return err
					}
				}
				return nil
			},
		},
		{
			Key: "all-killed", Title: "all daemons killed at once (-9)", Touches: []string{Alone}, Hold: time.Second,
			Begin: func(ctx context.Context, s *Scene) error {
				for _, b := range s.Balancers {
					b.KillDaemon()
				}
				for _, b := range s.Balancers {
					if err := b.StartDaemon(ctx); err != nil {
						return err
					}
				}
				return nil
			},
		},
	}
}

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
				// Nobody needs to move: the holder still has a majority.
				far := s.Others[len(s.Others)-1]
				s.Switch.SpoilBoth(s.Victim.Name, far.Name, cutLine)
				s.Note(s.Victim.Name+" and "+far.Name+" cut from one another", Cause{})
				s.later(func() {
					s.Switch.Heal()
					s.Note("network healed", Cause{})
				})
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

// SpinFor is how long `saturated` lasts.
const SpinFor = 10 * time.Second

func machineFaults() []Fault {
	return []Fault{
		{
			Key: "saturated", Title: "all cores saturated (4 busy loops each)", Shared: true, Hold: SpinFor,
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

// stepClock needs a daemon that was built for it: see Options.Stepped.
func stepClock(key, title string, by time.Duration) Fault {
	return Fault{
		Key: key, Title: title, Hold: 4 * time.Second,
		Begin: func(_ context.Context, s *Scene) error {
			if !s.opts.Stepped {
				return errors.New("the daemon's clock cannot be stepped")
			}
			s.Note("clock of "+s.Victim.Name+" stepped", Cause{})
			return variant.StepClock(s.Victim.clockFile(), by)
		},
		End: func(_ context.Context, s *Scene) error {
			s.Note("clock of "+s.Victim.Name+" right again", Cause{})
			return variant.StepClock(s.Victim.clockFile(), 0)
		},
	}
}

// broken breaks the cloud for all and, while that lasts, kills the holder's HAProxy: the
// address can move only once the cloud is well again, or by patience.
func broken(key, title string, faults ...dotest.Fault) Fault {
	return Fault{
		Key: key, Title: title + ", in a failover", Hold: 4 * time.Second,
		Begin: func(_ context.Context, s *Scene) error {
			s.Note(title, Cause{Rough: true})
			for _, f := range faults {
				s.Cloud.Inject(f)
			}
			s.later(func() {
				s.Cloud.ClearFaults()
				s.Smooth("cloud well again", Cause{MayMove: true})
			})
			s.Victim.KillHAProxy()
			return nil
		},
		End: func(ctx context.Context, s *Scene) error {
			s.undoAll()
			victim := s.Victim
			err := s.awaitFit(ctx)
			return errors.Join(err, victim.StartHAProxy(ctx))
		},
	}
}

const assignPath = "/v2/*/*/actions"

func cloudFaults() []Fault {
	post := func(f dotest.Fault) dotest.Fault {
		f.Method, f.Path = "POST", assignPath
		return f
	}
	refuse := func(status int) dotest.Fault { return dotest.Fault{Effect: dotest.Refuse, Status: status} }
	return []Fault{
		{
			Key: "token-revoked", Title: "cloud: 401 for the holder's token", Moves: true,
			Note:  "Noticed at the second look at the cloud, here every 5 s. The holder goes on serving.",
			Begin: func(_ context.Context, s *Scene) error { s.Victim.RevokeToken(); return nil },
			End: func(_ context.Context, s *Scene) error {
				err := s.Victim.RestoreToken()
				s.Victim.spoilt = true // until it has tried its token again, which takes a while
				s.later(func() { s.Victim.spoilt = false })
				s.Note("token of "+s.Victim.Name+" restored", Cause{MayMove: true})
				return err
			},
		},
		broken("api-401", "cloud: 401 for all", refuse(401)),
		broken("api-404", "cloud: 404 for all", refuse(404)),
		broken("api-422", "cloud: 422, address pending", post(refuse(422))),
		broken("api-429", "cloud: 429", dotest.Fault{Effect: dotest.Refuse, Status: 429, RetryAfter: time.Second}),
		broken("api-500", "cloud: 500", refuse(500)),
		broken("api-slow", "cloud: 10 s slow", dotest.Fault{Delay: 10 * time.Second}),
		broken("api-hangs", "cloud: no answer", dotest.Fault{Effect: dotest.Hang}),
		broken("api-lost", "cloud: takes the request, its answer is lost", post(dotest.Fault{Effect: dotest.Drop, Accepted: true, Count: 1})),
		broken("api-errored", "cloud: the action ends in error", post(dotest.Fault{Effect: dotest.ActionErrored, Count: 2})),
		lateWrite(),
		drift(),
		{
			Key: "slow-move", Title: "cloud takes 3 s to move the address", Moves: true,
			Begin: func(_ context.Context, s *Scene) error {
				s.Note("cloud takes 3 s", Cause{Rough: true})
				s.Cloud.SetLatency(dotest.Fixed(3 * time.Second))
				s.Victim.KillHAProxy()
				return nil
			},
			End: func(ctx context.Context, s *Scene) error {
				s.Cloud.SetLatency(dotest.Fixed(s.opts.Assign))
				s.Smooth("cloud as fast as ever", Cause{MayMove: true})
				return s.Victim.StartHAProxy(ctx)
			},
		},
	}
}

// lateWrite has the cloud take a request 5 s late, when its leader is long deposed: the
// address then points at a balancer whose daemon is dead, until the new leader looks.
func lateWrite() Fault {
	return Fault{
		Key: "late-write", Title: "cloud: a deposed leader's request lands 5 s late", Hold: 8 * time.Second,
		Begin: func(ctx context.Context, s *Scene) error {
			s.Note("a request of "+s.Victim.Name+" is held up for 5 s", Cause{MayMove: true, Rough: true})
			s.later(func() {
				s.Cloud.ClearFaults()
				s.Smooth("no request is held up", Cause{MayMove: true})
			})
			s.Cloud.Inject(dotest.Fault{Method: "POST", Path: assignPath, Node: s.Victim.Name, Delay: 5 * time.Second, Count: 1})
			before := len(s.Cloud.Writes(time.Time{}))
			// Drift makes the holder write.
			if err := s.Cloud.Steal(FloatingIP, stranger); err != nil {
				return err
			}
			if err := s.awaitWrites(ctx, before+1); err != nil {
				return err
			}
			s.Victim.KillDaemon()
			return nil
		},
		End: func(ctx context.Context, s *Scene) error { return s.Victim.StartDaemon(ctx) },
	}
}

func drift() Fault {
	return Fault{
		Key: "drift", Title: "cloud: somebody else moves the address", Moves: false, Hold: 1,
		Begin: func(ctx context.Context, s *Scene) error {
			s.Note("the address is stolen", Cause{Drift: true})
			if err := s.Cloud.Steal(FloatingIP, stranger); err != nil {
				return err
			}
			return s.awaitFit(ctx)
		},
	}
}

func membershipFaults() []Fault {
	return []Fault{
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
