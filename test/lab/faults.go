package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/buoy-lb/buoy/assigner/dotest"
	"github.com/buoy-lb/buoy/cluster"
)

// Faults are all that the lab knows, in the order in which `make lab` goes through them.
func Faults() []Fault {
	return slices.Concat(
		touching(haproxyFaults(), "haproxy"),
		touching(daemonFaults(), "daemon"),
		touching(plannedFaults(), Alone),
		pausedFaults(),
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
	return Fault{}, usagef("no fault %q; buoy-lab list shows them", key)
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
		{
			Key: "haproxy-reload-failed", Title: "HAProxy reloaded with a broken configuration", Shared: true, Hold: 3 * time.Second,
			Begin: func(_ context.Context, s *Scene) error {
				s.Note("a reload of HAProxy of "+s.Victim.Name+" fails", Cause{})
				s.later(func() {
					_ = s.Victim.writeHAProxyConfig() // as it was
					s.Victim.ReloadHAProxy()
				})
				if err := s.Victim.breakHAProxyConfig(); err != nil {
					return err
				}
				s.Victim.ReloadHAProxy()
				return nil
			},
		},
		{
			Key: "haproxy-full", Title: "HAProxy at its maxconn", Shared: true, Hold: brief,
			Note: "Who holds no connection waits in vain: it is full, and would be so elsewhere.",
			Begin: func(_ context.Context, s *Scene) error {
				s.Note("HAProxy of "+s.Victim.Name+" full", Cause{Rough: true})
				return s.hold("tcp", net.JoinHostPort(FloatingIP.String(), "80"), haproxyMaxconn+100, "HAProxy has room")
			},
		},
		{
			Key: "stats-busy", Title: "all 10 sessions of HAProxy's stats socket taken", Shared: true, Hold: brief,
			Begin: func(_ context.Context, s *Scene) error {
				s.Note("stats socket of "+s.Victim.Name+" busy", Cause{Rough: true})
				return s.hold("unix", s.Victim.haproxySocket(), 10, "stats socket has room")
			},
		},
	}
}

// brief is longer than any system's checks take to see what is wrong, and shorter than
// HAProxy leaves a connection idle, so that all stay taken meanwhile.
const brief = 4 * time.Second

// hold has the client's host keep connections open for as long as the fault lasts.
func (s *Scene) hold(network, address string, connections int, afterwards string) error {
	p, err := startOn(s.client.host, 0, os.Stderr, nil, s.opts.Self, "hold", network, address, fmt.Sprint(connections))
	if err != nil {
		return err
	}
	s.later(func() {
		p.Kill()
		s.Smooth(afterwards, Cause{})
	})
	return nil
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
			Key: "daemon-killed-asking", Title: "daemon killed (-9) while it asks the cloud", Own: true, Moves: true,
			Touches: []string{"daemon", "haproxy", "cloud"},
			Note:    "It has a ticket (750 ms), which the next one has to wait out. HAProxy of the one before is dead, so nobody is served.",
			Begin:   killAsking,
			End: func(ctx context.Context, s *Scene) error {
				for _, b := range s.Balancers {
					if err := b.StartDaemon(ctx); err != nil {
						return err
					}
				}
				return s.Victim.StartHAProxy(ctx)
			},
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

// killAsking has the next balancer ask for the address of one whose HAProxy is dead, gets
// it no answer, and kills it.
func killAsking(ctx context.Context, s *Scene) error {
	s.Note("requests to move the address hang", Cause{Rough: true})
	s.Cloud.Inject(dotest.Fault{Method: "POST", Path: assignPath, Effect: dotest.Hang})
	defer func() {
		s.Cloud.ClearFaults()
		s.Smooth("requests are answered", Cause{MayMove: true})
	}()
	before, claimant := len(s.Cloud.Writes(time.Time{})), s.next()
	if claimant == nil {
		return errors.New("nobody could take over")
	}
	s.Victim.KillHAProxy()
	if err := s.awaitWrites(ctx, before+1); err != nil {
		return err
	}
	s.struck = cluster.Boottime()
	claimant.KillDaemon()
	return nil
}
