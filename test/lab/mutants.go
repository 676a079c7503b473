package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/buoy-lb/buoy/test/lab/checker"
	"github.com/buoy-lb/buoy/test/lab/variant"
)

// Mutants has every mutant, or those that are named, play its scene; each must be caught
// by the property that it breaks, and the true daemon in the same scene by none.
func (l *Lab) Mutants(ctx context.Context, names []string) error {
	for _, name := range names {
		if _, ok := plays[name]; !ok {
			return usagef("no mutant %q; allowed: %s", name, strings.Join(slices.Sorted(maps.Keys(plays)), ", "))
		}
	}
	var errs error
	for _, v := range variant.Mutants() {
		if len(names) > 0 && !slices.Contains(names, v.Name) {
			continue
		}
		p, ok := plays[v.Name]
		if !ok {
			return fmt.Errorf("no scene for the mutant %s", v.Name)
		}
		if err := l.mutant(ctx, v, p); err != nil {
			l.say("  FAILED: %v", err)
			errs = errors.Join(errs, fmt.Errorf("%s: %w", v.Name, err))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errs
}

func (l *Lab) mutant(ctx context.Context, v variant.Variant, p play) error {
	l.say("\n%s: %s", v.Name, v.Breaks)
	o := Options{Balancers: 3, Assign: 100 * time.Millisecond, Settle: playSettle, Seed: l.Seed, Self: l.Self}
	if p.options != nil {
		p.options(&o)
	}
	var err error
	if o.Binary, err = l.build(ctx, v); err != nil {
		return err
	}
	defer func() { _ = os.Remove(o.Binary) }()
	found, err := l.perform(ctx, o, p, v.Property)
	if err != nil {
		l.say("  the scene ended early: %v", err) // a broken daemon may well not come to rest
	}
	caught := violationOf(found, v.Property)
	if caught < 0 {
		return fmt.Errorf("not caught by %s; found %v", v.Property, found)
	}
	l.say("  caught: %v", found[caught])
	return l.control(ctx, o, p)
}

// control has the true daemon play the same scene.
func (l *Lab) control(ctx context.Context, o Options, p play) (err error) {
	o.Binary = l.Binary
	if o.Stepped {
		if o.Binary, err = l.build(ctx, variant.SteppedClock()); err != nil {
			return err
		}
		defer func() { _ = os.Remove(o.Binary) }()
	}
	found, err := l.perform(ctx, o, p, "")
	if err != nil {
		return fmt.Errorf("the true daemon in that scene: %w", err)
	}
	if len(found) > 0 {
		return fmt.Errorf("the true daemon in that scene: %v", found)
	}
	l.say("  the true daemon: no rule broken")
	return nil
}

func violationOf(found []checker.Violation, property string) int {
	return slices.IndexFunc(found, func(v checker.Violation) bool { return v.Property == property })
}

// perform plays the scene in a world of its own and judges. It keeps the record if what
// is expected to be broken ("" for nothing) is not what is.
func (l *Lab) perform(ctx context.Context, o Options, p play, expected string) ([]checker.Violation, error) {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	w, err := NewWorld(ctx, o, Buoy{})
	if err != nil {
		return nil, err
	}
	defer w.Close()
	starting, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err = w.Start(starting)
	if err == nil {
		w.Watch(ctx)
		var s *Scene
		if s, err = w.NewScene(); err == nil {
			err = p.do(ctx, s)
		}
	}
	h, complaints := w.History()
	if len(complaints) > 0 {
		err = errors.Join(err, errors.New(strings.Join(complaints, "; ")))
	}
	found := checker.Judge(h)
	if expected == "" && (len(found) > 0 || err != nil) || expected != "" && violationOf(found, expected) < 0 {
		err = errors.Join(err, l.keep(w, h))
	}
	return found, err
}
