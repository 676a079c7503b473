package cluster

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

const (
	// hintTimeout bounds one look of a machine at itself; one is due at each tick.
	hintTimeout = time.Second
	// hintPatience is how long hints may contradict what the leader knows before it asks
	// the cloud: they lag behind a move.
	hintPatience = 3 * time.Second
	// hintAgain is how soon it asks again while they still do.
	hintAgain = 10 * time.Second
)

// hints is how the reading of this node's own hint goes.
type hints struct {
	reading, failing bool
	none             bool // this machine has no means of telling
}

// readHint has this machine say which addresses it seems to hold.
func (l *loop) readHint() {
	if l.cfg.Claimer == nil || l.hints.reading || l.hints.none {
		return
	}
	l.hints.reading = true
	l.wg.Go(func() {
		ctx, cancel := context.WithTimeout(l.ctx, hintTimeout)
		defer cancel()
		held, err := l.cfg.Claimer.Hint(ctx)
		l.post(func(l *loop) { l.hinted(held, err) })
	})
}

// hinted takes the answer: for the leader, who gets it with the next probe, and for this
// node if that is itself.
func (l *loop) hinted(held []netip.Addr, err error) {
	h := &l.hints
	h.reading = false
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		h.none = true
		return
	case err != nil:
		l.hint.Store(nil)
		if !h.failing {
			l.log.Warn("this machine cannot tell which addresses it holds; the looks at the cloud go on", "error", err)
		}
	default:
		hint := &fsm.Hint{Held: make([]netip.Addr, len(held))} // the Claimer may keep its own
		for i, ip := range held {
			hint.Held[i] = ip.Unmap()
		}
		l.hint.Store(hint)
		if h.failing {
			l.log.Info("this machine can tell again which addresses it holds")
		}
	}
	h.failing = err != nil
	l.doubt(time.Now())
}

// doubt notes which addresses are no longer here if the hints are right. When they have
// said so for hintPatience, by this node's clock, it is time to look.
func (l *loop) doubt(now time.Time) {
	t := l.tenure
	if t == nil {
		return
	}
	for ip, a := range t.ips {
		switch {
		case !a.held || !l.contradicted(ip, now):
			a.doubted, a.recheck = time.Time{}, time.Time{}
		case a.doubted.IsZero():
			a.doubted, a.recheck = now, now.Add(hintPatience)
		}
	}
}

// contradicted says that a hint has ip elsewhere than here.
func (l *loop) contradicted(ip netip.Addr, now time.Time) bool {
	if own := l.hint.Load(); own != nil && !slices.Contains(own.Held, ip) {
		return true
	}
	for _, p := range l.tenure.peers {
		h := p.contact.Hint
		if h != nil && now.Sub(p.at) < reachableFor && slices.Contains(h.Held, ip) {
			return true
		}
	}
	return false
}

// ask notes that the cloud is about to be asked for the address.
func (a *address) ask(now time.Time, paused bool) {
	a.asked = drift{found: now, since: a.verifiedAt, paused: paused}
	if !a.recheck.IsZero() && !a.recheck.After(now) {
		a.asked.since, a.asked.hint = a.doubted, true
		a.recheck = now.Add(hintAgain)
	}
}

// next is when the address wants to be looked at next.
func (a *address) next() time.Time {
	if !a.recheck.IsZero() && a.recheck.Before(a.due) {
		return a.recheck
	}
	return a.due
}
