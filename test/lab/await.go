package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
)

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
