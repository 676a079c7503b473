package lab

import (
	"context"
	"errors"
	"time"

	"github.com/buoy-lb/buoy/assigner/dotest"
)

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
			return errors.Join(s.awaitFit(ctx), s.Victim.StartHAProxy(ctx))
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
		{
			Key: "droplet-busy", Title: "cloud: 422, the successor's droplet is busy, in a failover", Moves: true,
			Begin: func(_ context.Context, s *Scene) error {
				s.Note("droplet of "+s.Others[0].Name+" busy for 5 s", Cause{MayMove: true, Rough: true})
				s.later(func() { s.Smooth("no droplet busy", Cause{MayMove: true}) })
				s.Victim.KillHAProxy()
				return s.Cloud.PendDroplet(s.Others[0].Droplet, time.Now().Add(5*time.Second))
			},
			End: func(ctx context.Context, s *Scene) error {
				return errors.Join(s.Cloud.PendDroplet(s.Others[0].Droplet, time.Time{}), s.Victim.StartHAProxy(ctx))
			},
		},
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
