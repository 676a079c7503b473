package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

// AddressState is where a floating IP stands in the eyes of the leader.
type AddressState string

// The states of a floating IP.
const (
	// AddressClaimed: the cloud has confirmed, in this term, that it is here.
	AddressClaimed AddressState = "claimed"
	// AddressClaiming: it is elsewhere, or was, and is being moved here.
	AddressClaiming AddressState = "claiming"
	// AddressLost: it was here in this term and was found elsewhere.
	AddressLost AddressState = "lost"
	// AddressUnverified: nobody has looked in this term, or looking fails.
	AddressUnverified AddressState = "unverified"
	// AddressPaused: an operator has forbidden to move it; who holds it is looked at.
	AddressPaused AddressState = "paused"
)

// address is the leader's bookkeeping of one floating IP.
type address struct {
	busy       bool // being claimed or looked at
	state      AddressState
	held       bool // claimed in this term, and not seen elsewhere since
	due        time.Time
	verifiedAt time.Time
	since      time.Time // of the present hold
	instance   string    // who holds it, as the cloud last said
	guards     int       // looks since the last move
	doubted    time.Time // since when hints contradict; zero: they do not
	recheck    time.Time // when to look because of that
	asked      drift     // what it is if the question that is under way finds it elsewhere
	drift      drift     // found, and not repaired yet
	duel       duel
	looked     bool // only looked at, the last time
	failures   int
	failingFor time.Time
	ownFaults  int
	lastError  string
}

// drift is an address that was here in this term and has been found elsewhere.
type drift struct {
	found time.Time // when the look began that found it
	// since is when it was last known to be here or, if a hint led to that look, when the
	// first hint had it elsewhere.
	since time.Time
	hint  bool
	// paused says that there was a pause when it was found.
	paused bool
}

// drifted is the drift that the last question has found.
func (a *address) drifted() drift {
	if !a.drift.found.IsZero() {
		return a.drift
	}
	return a.asked
}

// strayed notes that the address, which was here, has been found elsewhere.
func (l *loop) strayed(a *address, ip netip.Addr, now time.Time) {
	a.drift, a.state, a.held = a.drifted(), AddressLost, false
	pause := a.duel.lost(now)
	if pause > 0 {
		l.log.Warn("somebody else keeps moving the address away: a person, or a second cluster", "ip", ip,
			"holder", l.memberOf(a.instance), "instance", a.instance, "claimed_back", a.duel.times, "claim_in", pause, "boottime_ns", int64(l.cfg.Boottime()))
	}
}

// nextLook is when to look at the address again, which has just been seen at rest.
func (l *loop) nextLook(a *address, now time.Time) time.Time {
	interval := time.Duration(float64(l.cfg.VerifyInterval) * (0.8 + 0.4*rand.Float64()))
	if a.held && a.guards < len(guards) {
		interval = min(interval, guards[a.guards])
		a.guards++
	}
	return now.Add(interval)
}

// guards are the looks after a claim: a write of a former leader may still be on its
// way (+5 s exceeds every request's deadline) or in the cloud's queue (+40 s).
var guards = []time.Duration{2 * time.Second, 3 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second}

// startClaim has the Claimer look whether ip is here, and move it if it is not.
func (l *loop) startClaim(ip netip.Addr) {
	l.tenure.tried = true
	record := l.fsm.State().Claims[ip]
	a := l.tenure.ips[ip]
	a.busy, a.looked = true, false
	a.ask(time.Now(), false)
	order := Ensure{IP: ip, Epoch: l.tenure.term, Suspect: a.asked.hint}
	if record.Holder != l.cfg.Member.ID && !a.held && a.failures == 0 {
		order.Believed = record.Instance
	}
	if !a.held {
		a.state = AddressClaiming
	}
	l.proveAgain()
	l.start(fsm.ActionClaim, func(ctx context.Context, t *tenure) func() {
		fence, released := l.fence(t)
		out, err := l.cfg.Claimer.Ensure(ctx, order, fence)
		released()
		return func() {
			if a.busy = false; err != nil {
				l.claimFailed(t, ip, out, err)
				return
			}
			l.claimed(t, ip, out)
		}
	})
	l.wakeUp() // another address may be due
}

// startLook asks who holds ip, for a leader that may not claim: what is on record goes on
// being compared with the cloud as long as anybody leads.
func (l *loop) startLook(ip netip.Addr) {
	l.proveAgain()
	a := l.tenure.ips[ip]
	a.busy = true
	a.ask(time.Now(), l.fsm.State().Paused != nil)
	l.start(fsm.ActionLook, func(ctx context.Context, t *tenure) func() {
		ctx, cancel := context.WithTimeout(ctx, selfTestTimeout)
		defer cancel()
		instance, err := l.cfg.Claimer.Holder(ctx, ip)
		return func() {
			a.busy = false
			switch {
			case errors.Is(err, errors.ErrUnsupported): // there is nothing to be learnt
				a.due, a.looked = l.nextLook(a, time.Now()), true
			case err != nil:
				l.claimFailed(t, ip, Outcome{}, err)
			default:
				l.seenAt(a, ip, instance)
			}
		}
	})
}

// seenAt notes where a look found the address. Moving it is not this leader's to do, yet.
func (l *loop) seenAt(a *address, ip netip.Addr, instance string) {
	now := time.Now()
	if instance != a.instance {
		l.log.Info("the address is held by", "ip", ip, "holder", l.memberOf(instance), "instance", instance, "boottime_ns", int64(l.cfg.Boottime()))
	}
	a.instance = instance
	if a.held && instance != l.cfg.Member.Instance {
		l.strayed(a, ip, now)
	}
	a.state, a.verifiedAt, a.due, a.looked = AddressClaimed, now, l.nextLook(a, now), true
	if l.memberOf(instance) == instance { // nobody, or no member
		a.state = AddressLost
	}
	a.failures, a.failingFor, a.ownFaults, a.lastError = 0, time.Time{}, 0, ""
}

func (l *loop) claimed(t *tenure, ip netip.Addr, out Outcome) {
	a, now := t.ips[ip], time.Now()
	record := l.fsm.State().Claims[ip]
	if out.Confirmed.IsZero() { // nobody can tell; this is what we know
		out.Confirmed = now
	}
	if out.Accepted.IsZero() { // the reply was lost, and the look has shown that it worked
		out.Accepted = out.Confirmed
	}
	// A claim of an earlier term may have gone through when that term was over already.
	late := !out.Moved && !out.Unverified && !a.held && record.Holder != "" && record.Holder != l.cfg.Member.ID
	if late {
		out.From, out.Accepted = record.Instance, out.Confirmed
	}
	if out.Moved && !a.since.IsZero() {
		a.duel.repair(now)
		l.log.Warn("drift repaired: the address had been moved away", "ip", ip, "from", l.memberOf(out.From), "hint", a.drifted().hint,
			"times", a.duel.times, "boottime_ns", int64(l.cfg.Boottime()))
	}
	if out.Moved || late {
		t.history = append(t.history, l.transition(t, ip, a, out))
	}
	if !a.held || out.Moved {
		a.since, a.guards = now, 0
		a.drift, a.doubted, a.recheck = drift{}, time.Time{}, time.Time{} // hints lag: they begin anew
		l.log.Info("holding the address", "ip", ip, "moved", out.Moved, "from", out.From, "instance", out.Instance,
			"verified", !out.Unverified, "term", t.term, "boottime_ns", int64(l.cfg.Boottime()))
	}
	a.state, a.held, a.instance = AddressUnverified, true, out.Instance
	a.due = l.nextLook(a, now)
	if !out.Unverified {
		a.state, a.verifiedAt = AddressClaimed, now
	}
	a.failures, a.failingFor, a.ownFaults, a.lastError = 0, time.Time{}, 0, ""
}

func (l *loop) claimFailed(t *tenure, ip netip.Addr, out Outcome, err error) {
	a, now := t.ips[ip], time.Now()
	if errors.Is(err, context.Canceled) {
		// We ended it ourselves. Should that ever be wrong, this is still no busy loop.
		a.due = now.Add(retryPause(0, 0, nil))
		return
	}
	if a.failures == 0 {
		a.failingFor = now
	}
	switch {
	case out.From != "" && out.From != out.Instance:
		if a.instance = out.From; a.held {
			l.strayed(a, ip, now)
		}
	case a.held:
		a.state = AddressUnverified
	}
	if ownFault(err) {
		a.ownFaults++
	} else {
		a.ownFaults = 0
	}
	pause := retryPause(a.failures, now.Sub(a.failingFor), err)
	a.failures++
	a.due = now.Add(pause)
	if text := oneLine(err); text != a.lastError {
		a.lastError = text
		l.log.Warn("cannot confirm the address", "ip", ip, "state", a.state, "error", err, "own_fault", ownFault(err), "retry_in", pause)
	}
}

// retryPause is how long to wait after a failed attempt: 0.25, 0.5, 1, 2 s, then every
// 2 s for a minute, then up to 15 s, with jitter; never less than the cloud asked for.
func retryPause(failures int, failing time.Duration, err error) time.Duration {
	pause := 250 * time.Millisecond << min(failures, 3)
	if failing > time.Minute {
		pause = min(2*time.Second+(failing-time.Minute)/8, 15*time.Second)
	}
	if failures > 3 {
		pause = time.Duration(float64(pause) * (0.9 + 0.2*rand.Float64()))
	}
	var asked interface{ RetryDelay() time.Duration }
	if errors.As(err, &asked) {
		pause = max(pause, asked.RetryDelay())
	}
	return pause
}

// ownFault reports whether err is this node's own trouble, which a peer may not have.
func ownFault(err error) bool {
	var own interface{ OwnFault() bool }
	return errors.As(err, &own) && own.OwnFault()
}

// partial reports whether err leaves addresses that can be claimed.
func partial(err error) bool {
	var some interface{ Partial() bool }
	return errors.As(err, &some) && some.Partial()
}

// oneLine is err fit for a status line.
func oneLine(err error) string {
	const limit = 200
	s := strings.Join(strings.Fields(err.Error()), " ")
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return s
}
