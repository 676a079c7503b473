package assigner

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// attempt is one run of Ensure.
type attempt struct {
	*Claimer
	Request

	begun time.Time
	last  track // what the previous attempt of this epoch left
	next  track // what this one leaves
	drift bool  // it was here in this epoch, and was found elsewhere
	out   Outcome
}

func (a *attempt) run(ctx context.Context) error {
	self, err := a.p.Self(ctx)
	if err != nil {
		return fmt.Errorf("find out who this node is: %w", err)
	}
	a.out.Instance, a.out.From = self, a.Believed

	trusted := a.Believed != "" && a.Believed != self && !a.last.failed && !a.last.atHome
	if !trusted {
		if done, err := a.look(ctx); done || err != nil {
			return err
		}
	}
	action, err := a.claim(ctx)
	if err != nil {
		return a.afterRefusal(ctx, err)
	}
	if a.drift {
		a.blame(ctx, action)
	}
	if action != "" {
		if err := a.follow(ctx, action); err != nil {
			return err
		}
	}
	return a.verify(ctx)
}

// look is the first look. It is done if the address is here and at rest, or if nobody can tell and
// it was claimed in this epoch already.
func (a *attempt) look(ctx context.Context) (done bool, err error) {
	if a.routine() {
		ctx = WithRoutine(ctx)
	}
	h, err := a.settled(ctx)
	if err != nil {
		return false, err
	}
	switch {
	case h.Unknown:
		a.out.From = ""
		a.out.Unverified = a.last.atHome && a.Epoch != 0
		return a.out.Unverified, nil
	case h.Instance == a.out.Instance:
		a.out.From = h.Instance
		a.confirm()
		return true, nil
	case a.last.atHome:
		a.drift = true
		a.log.Info("drift found", "ip", a.IP, "holder", h.Instance, "instance", a.out.Instance, "epoch", a.Epoch)
	}
	a.next.atHome, a.next.since = false, time.Time{}
	a.out.From = h.Instance
	return false, nil
}

// routine reports whether this is a look at an address that has been here, undisputed, for a while.
func (a *attempt) routine() bool {
	return !a.Suspect && a.last.atHome && time.Since(a.last.since) >= guardWindow
}

// settled looks the holder up and waits while a change is under way.
func (a *attempt) settled(ctx context.Context) (Holding, error) {
	deadline := time.Now().Add(lockWait)
	for n := 0; ; n++ {
		h, err := a.p.Holder(ctx, a.IP)
		if err != nil {
			return Holding{}, fmt.Errorf("look up the holder: %w", err)
		}
		if h.Unknown || !h.Locked {
			return h, nil
		}
		if time.Now().After(deadline) {
			return Holding{}, Errorf(Pending, "an action has been pending on the address for %v (last seen at %s)",
				lockWait, name(h.Instance))
		}
		if err := sleep(ctx, pollDelay(n)); err != nil {
			return Holding{}, fmt.Errorf("wait for a pending action: %w", err)
		}
	}
}

// claim makes the one write of this attempt.
func (a *attempt) claim(ctx context.Context) (action string, err error) {
	if p, ok := a.p.(Preparer); ok {
		if err := p.Prepare(ctx, a.IP); err != nil {
			return "", fmt.Errorf("wait for the time to claim again: %w", err)
		}
	}
	select {
	case a.write <- struct{}{}:
		defer func() { <-a.write }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	check, done, err := a.Fence(ctx)
	if err != nil {
		return "", &Error{Class: NoRight, Op: "obtain the right to write", Err: err}
	}
	// By the provider's contract nothing more can be written once Claim has returned: the right may
	// go.
	defer done()
	action, err = a.p.Claim(ctx, a.IP, check)
	var e *Error
	if !errors.As(err, &e) || e.Class != NoRight {
		a.out.Writes++
	}
	if err != nil {
		return "", err
	}
	a.out.Accepted = time.Now()
	a.next.action = action
	a.log.Info("claim accepted", "ip", a.IP, "from", a.out.From, "instance", a.out.Instance,
		"epoch", a.Epoch, "action", action, "took", time.Since(a.begun))
	return action, nil
}

// blame logs the action that moved the address away: the newest that is none of ours. It is asked for
// when our claim is on its way already, and without it the claim is as good.
func (a *attempt) blame(ctx context.Context, ours string) {
	r, ok := a.p.(Recorder)
	if !ok {
		return
	}
	actions, err := r.Actions(ctx, a.IP)
	if err != nil {
		a.log.Info("cannot tell what moved the address away", "ip", a.IP, "error", err)
		return
	}
	for _, act := range actions {
		switch act.ID {
		case ours:
			continue
		case a.last.action: // nothing since our own: its holder's machine is gone, perhaps
		default:
			a.log.Warn("the address had been moved away; its latest action is not this node's", "ip", a.IP, "action", act.ID,
				"kind", act.Kind, "at", act.At.UTC().Format(time.RFC3339), "holder", name(a.out.From))
		}
		return
	}
}

// afterRefusal looks whether a claim that was answered with an error, or not at all, took effect
// nevertheless, so that it is not repeated.
func (a *attempt) afterRefusal(ctx context.Context, refusal error) error {
	e := classify(ctx, "", refusal)
	if e.Class == Own || e.Class == NoRight || e.RetryAfter > 0 {
		// Nothing was written, or the cloud asked to be left alone; then the next attempt begins
		// with the look.
		return refusal
	}
	h, err := a.settled(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("%w; then %w", refusal, err)
	case !h.Unknown && h.Instance == a.out.Instance:
		// A lost reply is our doing. A refusal is not: it was here before (Believed was out of
		// date), or came by an earlier attempt.
		a.out.Moved = e.Class != Pending
		a.confirm()
		return nil
	case e.Class == Pending:
		return a.diagnosed(ctx, refusal)
	}
	return refusal
}

// diagnosed has the provider find out what the refusal of an address at rest means.
func (a *attempt) diagnosed(ctx context.Context, refusal error) error {
	d, ok := a.p.(Diagnoser)
	if !ok {
		return a.refused(refusal)
	}
	err := d.Diagnose(ctx, a.IP)
	if err == nil {
		return a.refused(refusal)
	}
	cause := classify(ctx, "", err)
	err = fmt.Errorf("%w (%w)", err, refusal)
	if cause.Class == Pending {
		return a.refused(err)
	}
	return &Error{Class: cause.Class, RetryAfter: cause.RetryAfter, Err: err}
}

// follow waits until the cloud has finished with the action, or no longer says that it is at work.
// Only a fault of our own ends it early: the write is accepted, and what the others lose is only
// sight of it.
func (a *attempt) follow(ctx context.Context, action string) error {
	deadline := a.out.Accepted.Add(followWait)
	var pause time.Duration
	var last error
	for n := 0; ; n++ {
		if err := sleep(ctx, max(pollDelay(n), pause)); err != nil {
			return fmt.Errorf("follow action %s: %w", action, err)
		}
		pending, err := a.p.Pending(ctx, a.IP, action)
		pause, last = 0, err
		if err != nil {
			e := classify(ctx, "", err)
			if e.Class == Own || e.Class == NoRight {
				return fmt.Errorf("follow action %s: %w", action, err)
			}
			pause = e.RetryAfter
		} else if !pending {
			return nil
		}
		if time.Now().After(deadline) {
			err := fmt.Errorf("action %s is still under way after %v", action, followWait)
			if last != nil {
				err = fmt.Errorf("%w (%w)", err, last)
			}
			return &Error{Class: Pending, Err: err}
		}
	}
}

// verify is the last look, the only one that counts.
func (a *attempt) verify(ctx context.Context) error {
	h, err := a.settled(ctx)
	switch {
	case err != nil:
		return err
	case h.Unknown:
		a.out.Moved, a.out.Unverified = true, true
		a.next.atHome = true
		return nil
	case h.Instance != a.out.Instance:
		return a.refused(fmt.Errorf("the claim was accepted, but the address is at %s", name(h.Instance)))
	}
	a.out.Moved = true
	a.confirm()
	return nil
}

// confirm notes that a look has just shown the address here and at rest.
func (a *attempt) confirm() {
	a.out.Confirmed = time.Now()
	if !a.last.atHome || a.out.Moved {
		a.log.Info("claim confirmed", "ip", a.IP, "holder", a.out.Instance, "instance", a.out.Instance,
			"from", a.out.From, "moved", a.out.Moved, "epoch", a.Epoch, "took", a.out.Confirmed.Sub(a.begun))
	}
	if a.next.atHome = true; a.next.since.IsZero() || a.out.Moved {
		a.next.since = a.out.Confirmed
	}
}

// refused classes a claim that did not take while the address was free to move: for a while "wait",
// then this node's own fault.
func (a *attempt) refused(err error) error {
	a.next.refusedSince = a.last.refusedSince
	if a.next.refusedSince.IsZero() {
		a.next.refusedSince = time.Now()
	}
	if since := time.Since(a.next.refusedSince); since >= busyGrace {
		return Errorf(Own, "refused for %v while the address is at rest: is an action running on instance %s? %w",
			since.Round(time.Second), a.out.Instance, err)
	}
	return &Error{Class: Pending, Err: err}
}

// pollDelay is the n-th wait while the cloud works: a few quick looks for fast clouds, then each
// 0.5 s for 5 s, each second for 10 s, each 2 s.
func pollDelay(n int) time.Duration {
	switch {
	case n < 3:
		return time.Duration(n+1) * 50 * time.Millisecond
	case n < 13:
		return 500 * time.Millisecond
	case n < 23:
		return time.Second
	}
	return 2 * time.Second
}

// sleep waits for d or until ctx ends, whose cause it then returns.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func name(instance string) string {
	if instance == "" {
		return "nobody"
	}
	return instance
}
