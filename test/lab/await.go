package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
)

// AwaitRest waits until nothing is left to do, and has been so for a while: the address is
// where the priorities want it, every daemon knows that, and the client is served. It
// gives up when the address is stranded.
func (w *World) AwaitRest(ctx context.Context) error {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	// When there was last something to do, and when the address was last not stranded.
	moving, content := time.Now(), time.Now()
	err := sandbox.Poll(ctx, "the world to come to rest", func(ctx context.Context) error {
		if !w.system.Stranded(w) {
			content = time.Now()
		} else if time.Since(content) > strandedFor {
			giveUp(errStranded)
		}
		if err := w.atRest(ctx); err != nil {
			moving = time.Now()
			return errors.Join(err, w.undamp(ctx))
		}
		if time.Since(moving) < restFor {
			return errors.New("it has only just done so")
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := w.client.awaitCalm(ctx, w); err != nil {
		return err
	}
	w.Note("at rest", Cause{Rest: true})
	return nil
}

const (
	// restFor is longer than a daemon takes from a decision to its effect: who looks
	// content may have one up its sleeve.
	restFor = 300 * time.Millisecond
	// strandedFor is longer than a program that has been started to move the address takes.
	strandedFor = 2 * time.Second
)

var errStranded = errors.New("the address is stranded")

// atRest says what is left to do now.
func (w *World) atRest(ctx context.Context) error {
	holder := w.Holder()
	if holder == nil {
		return fmt.Errorf("the address is on %q", w.nameOf(w.Cloud.Holder(FloatingIP)))
	}
	if best := w.best(); best != nil && best != holder {
		return fmt.Errorf("the address is on %s, not on %s", holder.Name, best.Name)
	}
	return w.system.AtRest(ctx, w, holder)
}

// undamp restarts the daemon of a balancer that is back in order and kept out because it
// has failed several times: what a person does who has mended it and does not want to wait
// for up to a minute.
func (w *World) undamp(ctx context.Context) error {
	best, holder := w.best(), w.Holder()
	if best == nil || holder == nil || best == holder {
		return nil
	}
	s, err := holder.Status(ctx)
	if err != nil {
		return nil // it is not buoy, or busy
	}
	for _, warning := range s.Warnings {
		if strings.HasPrefix(warning, best.Name+" ") && strings.Contains(warning, ": damped") {
			return errors.Join(best.StopDaemon(ctx), best.StartDaemon(ctx))
		}
	}
	return nil
}

// best is the balancer that the priorities want the address on; nil if they do not say.
func (w *World) best() *Balancer {
	if w.opts.Equal || w.opts.NoPreempt {
		return nil
	}
	for _, b := range w.Balancers { // lb1 has the highest priority
		if b.cond.fit() {
			return b
		}
	}
	return nil
}

// outranks says whether b may take the address from a healthy holder.
func (w *World) outranks(b *Balancer) bool {
	holder := w.Holder()
	return holder == nil || !holder.cond.fit() || !w.opts.NoPreempt && b.Priority > holder.Priority
}

// awaitFit waits until the address is on a balancer that is fit for it.
func (w *World) awaitFit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, restBound)
	defer cancel()
	return sandbox.Poll(ctx, "the address to be on a fit balancer", func(context.Context) error {
		holder := w.Holder()
		if holder == nil || !holder.cond.fit() {
			return fmt.Errorf("it is on %q", w.nameOf(w.Cloud.Holder(FloatingIP)))
		}
		return nil
	})
}

// awaitWrites waits until the cloud has seen so many requests for change.
func (w *World) awaitWrites(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, restBound)
	defer cancel()
	return sandbox.Poll(ctx, "a request for change", func(context.Context) error {
		if got := len(w.Cloud.Writes(time.Time{})); got < n {
			return fmt.Errorf("%d of %d so far", got, n)
		}
		return nil
	})
}
