package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/buoy-lb/buoy/assigner/dotest"
	"github.com/buoy-lb/buoy/cluster"
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
		broken("api-403", "cloud: 403 for all", refuse(403)),
		broken("api-404", "cloud: 404 for all", refuse(404)),
		broken("api-422", "cloud: 422, address pending", post(refuse(422))),
		broken("api-429", "cloud: 429", dotest.Fault{Effect: dotest.Refuse, Status: 429, RetryAfter: time.Second}),
		broken("api-500", "cloud: 500", refuse(500)),
		broken("api-html", "cloud: 502 with a gateway's page", dotest.Fault{Effect: dotest.HTML}),
		broken("api-redirect", "cloud: 307", refuse(307)),
		broken("api-empty", "cloud: 200 and {}", dotest.Fault{Effect: dotest.Empty}),
		broken("api-cut", "cloud: half of the JSON", dotest.Fault{Effect: dotest.Truncate}),
		broken("api-slow", "cloud: 10 s slow", dotest.Fault{Delay: 10 * time.Second}),
		broken("api-hangs", "cloud: no answer", dotest.Fault{Effect: dotest.Hang}),
		broken("api-lost", "cloud: takes the request, its answer is lost", post(dotest.Fault{Effect: dotest.Drop, Accepted: true, Count: 1})),
		broken("api-errored", "cloud: the action ends in error", post(dotest.Fault{Effect: dotest.ActionErrored, Count: 2})),
		broken("api-gone", "cloud: the action is never heard of again", post(dotest.Fault{Effect: dotest.ActionGone})),
		broken("api-done", `cloud: the action ends as "done"`, post(dotest.Fault{Effect: dotest.ActionDone})),
		{
			Key: "blind-token", Title: "cloud: the holder's token may not see droplets", Moves: true,
			Note:  "As with token-revoked.",
			Begin: func(_ context.Context, s *Scene) error { s.Victim.BlindToken(); return nil },
			End: func(_ context.Context, s *Scene) error {
				err := s.Victim.RestoreToken()
				s.Note("token of "+s.Victim.Name+" restored", Cause{MayMove: true})
				return err
			},
		},
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
		lateWrite("late-write", 5*time.Second),
		lateWrite("later-write", 30*time.Second),
		drift("drift", "cloud: somebody else moves the address", 0),
		drift("drift-at-rest", "cloud: somebody else moves the address, long after the last claim", guarded),
		duel(),
		paused(),
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

// lateWrite has the cloud take a request late, when its leader is long deposed: the
// address then points at a balancer whose daemon is dead, until the new leader looks.
func lateWrite(key string, late time.Duration) Fault {
	return Fault{
		Key: key, Title: fmt.Sprintf("cloud: a deposed leader's request lands %.0f s late", late.Seconds()), Hold: late + 3*time.Second,
		Begin: func(ctx context.Context, s *Scene) error {
			s.Note(fmt.Sprintf("a request of %s is held up for %v", s.Victim.Name, late), Cause{MayMove: true, Rough: true})
			s.later(func() {
				s.Cloud.ClearFaults()
				s.Smooth("no request is held up", Cause{MayMove: true})
			})
			s.Cloud.Inject(dotest.Fault{Method: "POST", Path: assignPath, Node: s.Victim.Name, Delay: late, Count: 1})
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

// guarded is how long after a claim buoy looks more often than verify_interval says.
const guarded = 45 * time.Second

func drift(key, title string, after time.Duration) Fault {
	return Fault{
		Key: key, Title: title, Moves: false, Hold: 1, Long: after,
		Begin: func(ctx context.Context, s *Scene) error {
			if err := pause(ctx, after); err != nil {
				return err
			}
			s.Note("the address is stolen", Cause{Drift: true})
			s.struck = cluster.Boottime()
			if err := s.Cloud.Steal(FloatingIP, stranger); err != nil {
				return err
			}
			return s.awaitFit(ctx)
		},
	}
}

// duel has somebody move the address away again whenever it is back. From the fourth time
// on buoy hesitates before it asks again.
func duel() Fault {
	const rounds = 5
	return Fault{
		Key: "duel", Title: fmt.Sprintf("cloud: somebody else moves the address, %d times in a row", rounds),
		Hold: 1, Long: rounds * restBound,
		Begin: func(ctx context.Context, s *Scene) error {
			for range rounds {
				s.Note("the address is stolen", Cause{Drift: true})
				if err := errors.Join(s.Cloud.Steal(FloatingIP, stranger), s.awaitFit(ctx)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// paused has the operator forbid all writes, and breaks the holder meanwhile: another
// leads, and the address stays until he allows them again.
func paused() Fault {
	return Fault{
		Key: "writes-paused", Title: "buoy pause, the holder's HAProxy killed, buoy resume", Hold: 5 * time.Second,
		Begin: func(ctx context.Context, s *Scene) error {
			if err := s.Others[0].Buoy(ctx, "pause"); err != nil {
				return err
			}
			s.Note("buoy pause", Cause{Rough: true})
			s.Victim.KillHAProxy()
			return nil
		},
		End: func(ctx context.Context, s *Scene) error {
			if holder := s.Holder(); holder != s.Victim {
				return errors.New("the address has moved in spite of buoy pause")
			}
			s.Smooth("buoy resume", Cause{MayMove: true})
			return errors.Join(s.Others[1].Buoy(ctx, "resume"), s.awaitFit(ctx), s.Victim.StartHAProxy(ctx))
		},
	}
}
