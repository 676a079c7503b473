package lab

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/test/lab/checker"
)

const (
	// legLength is how long one world lasts in a chaos run.
	legLength = 5 * time.Minute
	// calmEvery is after how many rounds nothing happens for calmFor: nothing may follow
	// from that.
	calmEvery = 12
	calmFor   = 15 * time.Second
)

// Chaos suffers random faults, up to two at a time, for as long as asked. What happens
// depends on the seed alone; when exactly, also on the machine.
func (l *Lab) Chaos(ctx context.Context, total time.Duration) error {
	began := time.Now()
	var errs error
	faults := 0
	for leg := uint64(0); time.Since(began) < total && errs == nil && ctx.Err() == nil; leg++ {
		r := rand.New(rand.NewPCG(l.Seed, leg))
		o := Options{
			Binary: l.Binary, Self: l.Self, Seed: l.Seed + leg,
			Balancers: []int{3, 3, 5}[r.IntN(3)],
			Assign:    []time.Duration{0, 200 * time.Millisecond, time.Second}[r.IntN(3)],
			Pauses:    []time.Duration{randomPause(r)},
		}
		l.say("\n%6s leg %d: %d balancers, the cloud takes %v", since(began), leg+1, o.Balancers, o.Assign)
		n, err := l.leg(ctx, o, r, min(legLength, total-time.Since(began)))
		faults += n
		errs = errors.Join(errs, err)
	}
	errs = errors.Join(errs, ctx.Err())
	verdict := "no rule broken"
	if errs != nil {
		verdict = "NOT as it has to be"
	}
	l.say("\n%d faults in %s, seed %d: %s", faults, since(began), l.Seed, verdict)
	return errs
}

func since(t time.Time) string { return time.Since(t).Round(time.Second).String() }

// leg is one world's share of a chaos run.
func (l *Lab) leg(ctx context.Context, o Options, r *rand.Rand, length time.Duration) (faults int, err error) {
	w, err := NewWorld(ctx, o, Buoy{})
	if err != nil {
		return 0, err
	}
	defer w.Close()
	defer func() { err = errors.Join(err, l.judge(w, "chaos", err)) }()
	if err := w.Start(ctx); err != nil {
		return 0, err
	}
	w.Watch(ctx)
	began := time.Now()
	for round := 1; time.Since(began) < length; round++ {
		if round%calmEvery == 0 {
			if err := pause(ctx, calmFor); err != nil {
				return faults, err
			}
		}
		n, err := l.round(ctx, w, r)
		faults += n
		if err != nil {
			return faults, fmt.Errorf("round %d: %w", round, err)
		}
	}
	return faults, nil
}

// round draws one fault, or two that do not get in one another's way, lets them last and
// has the world recover.
func (l *Lab) round(ctx context.Context, w *World, r *rand.Rand) (faults int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 4*restBound+longestPauses) // nothing in it waits for ever
	defer cancel()
	began := cluster.Boottime()
	var scenes []*Scene
	var chosen []Fault
	for _, f := range draw(r) {
		s, err := w.NewScene()
		if err != nil {
			if len(scenes) == 0 {
				return 0, err
			}
			break // the first fault has the address nowhere; one is enough
		}
		if !slices.Contains(f.Touches, "cloud") && r.IntN(3) == 0 {
			s.swap(r)
		}
		defer s.undoAll() // should the round end early
		l.say("  %s on %s", f.Title, s.Victim.Name)
		if err := f.Begin(ctx, s); err != nil {
			return len(scenes), fmt.Errorf("%s: %w", f.Key, err)
		}
		scenes, chosen = append(scenes, s), append(chosen, f)
		if err := pause(ctx, time.Duration(r.Int64N(int64(1500*time.Millisecond)))); err != nil {
			return len(scenes), err
		}
	}
	if err := pause(ctx, time.Duration(r.Int64N(int64(4*time.Second)))); err != nil {
		return len(scenes), err
	}
	for i, s := range slices.Backward(scenes) {
		if chosen[i].End != nil {
			if err := chosen[i].End(ctx, s); err != nil {
				return len(scenes), fmt.Errorf("end of %s: %w", chosen[i].Key, err)
			}
		}
		s.undoAll()
	}
	rest, cancel := context.WithTimeout(ctx, restBound)
	defer cancel()
	if err := w.AwaitRest(rest); err != nil {
		return len(scenes), err
	}
	l.say("    %s", w.afterRound(began))
	return len(scenes), nil
}

// randomPause is 0.1 s to 60 s, as likely of one order of magnitude as of another.
func randomPause(r *rand.Rand) time.Duration {
	return time.Duration(math.Pow(600, r.Float64()) * float64(100*time.Millisecond))
}

// swap makes a balancer the victim that does not hold the address.
func (s *Scene) swap(r *rand.Rand) {
	i := r.IntN(len(s.Others))
	s.Victim, s.Others[i] = s.Others[i], s.Victim
}

// draw chooses one or two faults.
func draw(r *rand.Rand) []Fault {
	all := slices.DeleteFunc(Faults(), func(f Fault) bool {
		// Those that need a world of their own, or that `lan` is not made for; and buoy would
		// hesitate at every theft in the five minutes after a duel.
		return f.Stepped || f.Upgraded || slices.Contains([]string{"wiped", "join-in-partition", "duel", "drift-at-rest"}, f.Key) ||
			strings.HasPrefix(f.Key, "loss-") || strings.HasPrefix(f.Key, "delay-")
	})
	first := all[r.IntN(len(all))]
	second := all[r.IntN(len(all))]
	if r.IntN(2) == 0 || conflict(first, second) {
		return []Fault{first}
	}
	return []Fault{first, second}
}

func conflict(a, b Fault) bool {
	return slices.Contains(a.Touches, Alone) || slices.Contains(b.Touches, Alone) ||
		slices.ContainsFunc(a.Touches, func(what string) bool { return slices.Contains(b.Touches, what) })
}

// afterRound says in a few words what came of a round.
func (w *World) afterRound(began time.Duration) string {
	var path []string
	for _, c := range w.changesSince(began) {
		path = append(path, c.To)
	}
	_, _, failed := outage(w.Record.requestsSince(began), began)
	text := fmt.Sprintf("%.1f s, %d requests failed", (cluster.Boottime() - began).Seconds(), failed)
	if len(path) > 0 {
		text += ", the address went to " + strings.Join(path, ", ")
	}
	return strings.ReplaceAll(text, checker.Outside, "a stranger")
}
