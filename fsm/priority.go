package fsm

import (
	"cmp"
	"net/netip"
)

// The bounds of a priority (RFC 9568 section 5.2.4). 0 exists only on VRRP's wire,
// where it means "I resign".
const (
	// MinPriority is the lowest priority, configured or effective.
	MinPriority = 1
	// MaxPriority is the highest that anyone but the owner reaches.
	MaxPriority = 254
	// OwnerPriority is the owner's: immune to weights, and it preempts always.
	OwnerPriority = 255
)

// Assess sums up a node's checks: its health, and its effective priority, which is
// base plus the weights of all checks with a result, within 1..254. A base of 255, the
// owner, is immune to weights but not to Fault (keepalived v2.4.3 vrrp_track.c:584,
// vrrp.c:4386).
//
// A failing check with Fault set outweighs everything; else one without a result makes
// the health unknown; else any failing check makes it degraded, also one that takes
// nothing away because its weight is positive. Without checks a node is healthy.
func Assess(base int, checks []Check) (Health, int) {
	health, sum := HealthOK, base
	for _, c := range checks {
		if !c.Known {
			health = worse(health, HealthUnknown)
			continue
		}
		sum += c.Weight
		switch {
		case c.OK:
		case c.Fault:
			health = worse(health, HealthFault)
		default:
			health = worse(health, HealthDegraded)
		}
	}
	if base >= OwnerPriority {
		return health, OwnerPriority
	}
	return health, min(max(sum, MinPriority), MaxPriority)
}

// worse returns the health that prevails when checks disagree.
func worse(a, b Health) Health {
	weight := func(h Health) int {
		switch h {
		case HealthOK:
			return 0
		case HealthDegraded:
			return 1
		case HealthUnknown:
			return 2
		case HealthFault:
			return 3
		}
		return 2
	}
	if weight(b) > weight(a) {
		return b
	}
	return a
}

// Eligible says whether c may hold the address, and if not, the first reason against
// it. BackoffUntil is no such reason: it only bars c as the target of a transfer.
func Eligible(c Candidate) (bool, Reason) {
	why := Reason{Member: c.label()}
	switch {
	case c.Member.Role != RoleBalancer:
		why.Code = ReasonWitness
	case c.Drained:
		why.Code = ReasonDrained
	case !c.Voter:
		why.Code = ReasonNotVoter
	case !c.Reachable:
		why.Code = ReasonUnreachable
	case !c.CaughtUp:
		why.Code = ReasonLagging
	case c.Report == nil:
		why.Code = ReasonNoReport
	case c.Report.Health == HealthFault:
		why.Code, why.Detail = ReasonFault, c.Report.faults()
	case c.Report.Health != HealthOK && c.Report.Health != HealthDegraded:
		why.Code = ReasonHealthUnknown
	case c.Report.ClaimFault != "":
		why.Code, why.Detail = ReasonClaimFault, c.Report.ClaimFault
	default:
		why.Code = ReasonEligible
	}
	return why.Code == ReasonEligible, why
}

// Outranks says whether a comes before b: by effective priority (none without a
// report), then by the higher address (host, then port, compared as numbers like the
// addresses of RFC 9568 section 6.4.3; IPv6 above IPv4), then by the higher ID. Over
// candidates with distinct IDs this is a strict total order.
func Outranks(a, b Candidate) bool { return compare(a, b) > 0 }

func compare(a, b Candidate) int {
	return cmp.Or(
		cmp.Compare(a.priority(), b.priority()),
		a.address().Compare(b.address()),
		cmp.Compare(a.Member.ID, b.Member.ID),
	)
}

// priority is the effective priority; 0 without a report.
func (c Candidate) priority() int {
	if c.Report == nil {
		return 0
	}
	return c.Report.Priority
}

// damped says that c is to stay out of the lead while anybody else may have it.
func (c Candidate) damped() bool { return c.Report != nil && c.Report.Damped }

// penalty is what c's checks cost it of its priority; negative if they raise it.
func (c Candidate) penalty() int { return c.Member.Priority - c.priority() }

// address is where the member is reached; one that does not parse ranks lowest.
func (c Candidate) address() netip.AddrPort {
	a, err := netip.ParseAddrPort(c.Member.Address)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// label is what people see: the name or, without one, the ID.
func (c Candidate) label() string { return cmp.Or(c.Member.Name, c.Member.ID) }
