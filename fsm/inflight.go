package fsm

import (
	"slices"
	"time"
)

// inFlight: one action at a time, but for claims of different addresses, which do not wait
// for one another. A claim is broken off when its node may no longer make it or an
// operator's transfer would follow; a better rival lets it finish, and no other begins. A
// look is broken off for a hand-over, or when its node may claim what it looks at.
func (r *round) inFlight() (Decision, bool) {
	switch r.v.Busy {
	case ActionNone:
		return Decision{}, false
	case ActionLook:
		d := r.idle()
		if d.Kind == Transfer || d.Kind == Claim && !r.looksAtHeldBack() {
			return Decision{Kind: Abort, Reason: Reason{Code: ReasonBusy, Detail: string(r.v.Busy)}}, true
		}
	case ActionClaim:
		return r.claiming(), true
	case ActionTransfer:
	}
	return r.busy(), true
}

// claiming: a claim is in flight.
func (r *round) claiming() Decision {
	switch {
	case r.v.Paused:
		return Decision{Kind: Abort, Reason: Reason{Code: ReasonPaused}}
	case !r.fit:
		return Decision{Kind: Abort, Reason: r.unfits}
	}
	if d, ok := r.requested(); ok && d.Kind == Transfer {
		return Decision{Kind: Abort, Reason: d.Reason}
	}
	// One that is of no address of this View is of a former term's: it is waited for.
	if slices.ContainsFunc(r.ips, func(ip IPView) bool { return ip.Busy }) {
		if d := r.idle(); d.Kind == Claim {
			d.Next = time.Time{}
			return d
		}
	}
	return r.busy()
}

func (r *round) busy() Decision {
	return Decision{Kind: Wait, Reason: Reason{Code: ReasonBusy, Detail: string(r.v.Busy)}}
}

// looksAtHeldBack says that the look in flight is at an address that may not be claimed.
func (r *round) looksAtHeldBack() bool {
	return slices.ContainsFunc(r.ips, func(ip IPView) bool {
		_, held := r.heldBack(ip)
		return ip.Busy && held
	})
}

// due: the first address that wants to be claimed or looked at, and is not being claimed.
// If none may be claimed, the first that may only be looked at.
func (r *round) due() (Decision, bool) {
	var look Decision
	for _, ip := range r.ips {
		due := !ip.Due.After(r.now)
		why, held := r.heldBack(ip)
		switch {
		case ip.Busy && r.v.Busy == ActionClaim:
		case !held && (due || ip.Looked):
			return Decision{Kind: Claim, IP: ip.IP, Reason: Reason{Code: ReasonDue, IP: ip.IP}, Next: r.next()}, true
		case held && due && look.Kind == "":
			look = Decision{Kind: Look, IP: ip.IP, Reason: why, Next: r.next()}
		}
	}
	return look, look.Kind != ""
}

// heldBack says why ip may be looked at and not claimed, if that is so.
func (r *round) heldBack(ip IPView) (Reason, bool) {
	if r.v.Paused {
		return Reason{Code: ReasonPaused}, true
	}
	if ip.ClaimAfter.After(r.now) {
		return Reason{Code: ReasonContested, IP: ip.IP}, true
	}
	return Reason{}, false
}
