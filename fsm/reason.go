package fsm

import (
	"fmt"
	"net/netip"
	"time"
)

// Code names a reason in one word, for metrics, JSON and tests.
type Code string

// Why a member may hold the address, or may not: the answers of Eligible.
const (
	ReasonEligible      Code = "eligible"
	ReasonWitness       Code = "witness"
	ReasonNotVoter      Code = "not_voter"
	ReasonUnreachable   Code = "unreachable"
	ReasonLagging       Code = "lagging"
	ReasonNoReport      Code = "no_report"
	ReasonHealthUnknown Code = "health_unknown"
	ReasonFault         Code = "fault"
	ReasonClaimFault    Code = "claim_fault"
)

// Why Decide decided as it did; Abort and Refuse also carry the codes above.
const (
	// ReasonNoLeader and ReasonFollowing: this node does not lead.
	ReasonNoLeader  Code = "no_leader"
	ReasonFollowing Code = "following"
	// ReasonConfused: the View contradicts itself; Detail says how.
	ReasonConfused Code = "confused"
	// ReasonBusy: the action in Detail is in flight.
	ReasonBusy Code = "busy"
	// ReasonSelfIneligible: the leader may not hold the address (Cause, Detail), so
	// Member takes over.
	ReasonSelfIneligible Code = "self_ineligible"
	// ReasonNobody: neither the leader (Cause, Detail) nor anyone else may hold it.
	ReasonNobody Code = "nobody_eligible"
	// ReasonOnlyBarred: as ReasonNobody, but for Member, which is in back-off.
	ReasonOnlyBarred Code = "only_barred"
	// ReasonRequested: an operator asked for Member, or for the best and that is Member.
	ReasonRequested Code = "requested"
	// ReasonAlreadyLeads: the operator asked for the leader itself.
	ReasonAlreadyLeads Code = "already_leads"
	// ReasonUnknownMember: the operator asked for a member (Detail) that does not exist.
	ReasonUnknownMember Code = "unknown_member"
	// ReasonNoOther: the operator asked for somebody else, and nobody else is eligible.
	ReasonNoOther Code = "no_other"
	// ReasonBarred: Member is in back-off after a failed transfer or self-test.
	ReasonBarred Code = "barred"
	// ReasonSettling: Member, of higher rank, is about to finish its first checks.
	ReasonSettling Code = "settling"
	// ReasonOutranked: Member outranks the leader and preempts it.
	ReasonOutranked Code = "outranked"
	// ReasonDegraded: as ReasonOutranked, and the leader is degraded, so that neither
	// preempt: false nor preempt_delay holds Member back.
	ReasonDegraded Code = "degraded"
	// ReasonOwner: as ReasonOutranked; Member has the priority 255.
	ReasonOwner Code = "owner"
	// ReasonDelayed: Member outranks the leader and waits for its preempt_delay.
	ReasonDelayed Code = "preempt_delay"
	// ReasonNoPreempt: Member outranks the leader and has preempt: false.
	ReasonNoPreempt Code = "no_preempt"
	// ReasonPreferred: Member outranks the leader, whom an operator put there.
	ReasonPreferred Code = "preferred"
	// ReasonOwnFault: the leader cannot look after IP by its own fault; Member may.
	ReasonOwnFault Code = "own_fault"
	// ReasonDue: IP wants to be claimed or looked at.
	ReasonDue Code = "due"
	// ReasonHolding: nothing to do before the next look.
	ReasonHolding Code = "holding"
)

// Reason says why, for log, status and tests alike. Reasons compare with ==, and one
// stays equal while nothing but the time changes: log it when it differs from the last.
type Reason struct {
	Code Code
	// Cause, for a leader that may not hold the address, is the code of Eligible.
	Cause Code
	// Member is the name of the member that the reason is about.
	Member string
	// Rank is Member's effective priority, Over the leader's; 0 where rank is not the point.
	Rank, Over int
	// IP is the floating IP that the reason is about, if it is about one.
	IP netip.Addr
	// Delay is Member's preempt_delay.
	Delay time.Duration
	// Detail is what the code alone does not say, in words.
	Detail string
}

// String is the reason as people read it: one clause without a full stop.
func (r Reason) String() string {
	outranks := fmt.Sprintf("%s outranks %d>%d", r.Member, r.Rank, r.Over)
	switch r.Code {
	case ReasonEligible:
		return r.Member + " is eligible"
	case ReasonWitness:
		return r.Member + " is a witness"
	case ReasonNotVoter:
		return r.Member + " does not vote yet"
	case ReasonUnreachable:
		return r.Member + " does not answer"
	case ReasonLagging:
		return r.Member + " has not caught up with the log"
	case ReasonNoReport:
		return r.Member + " has not reported its health yet"
	case ReasonHealthUnknown:
		return "the first checks of " + r.Member + " are still running"
	case ReasonFault:
		return r.Member + " is in FAULT: " + r.Detail
	case ReasonClaimFault:
		return r.Member + " cannot claim: " + r.Detail
	case ReasonNoLeader:
		return "no leader"
	case ReasonFollowing:
		return "following " + r.Member
	case ReasonConfused:
		return "the view contradicts itself: " + r.Detail
	case ReasonBusy:
		return r.Detail + " in flight"
	case ReasonSelfIneligible:
		return r.Detail + "; " + r.Member + " takes over"
	case ReasonNobody:
		return r.Detail + "; nobody is eligible: the address stays where it is"
	case ReasonOnlyBarred:
		return r.Detail + "; " + r.Member + " is barred after a failed hand-over: the address stays where it is"
	case ReasonRequested:
		return "operator asked for " + r.Member
	case ReasonAlreadyLeads:
		return r.Member + " already leads"
	case ReasonUnknownMember:
		return fmt.Sprintf("no member %q", r.Detail)
	case ReasonNoOther:
		return "nobody else is eligible"
	case ReasonBarred:
		return r.Member + " is barred after a failed hand-over"
	case ReasonSettling:
		return fmt.Sprintf("the first checks of %s are still running (%d>%d)", r.Member, r.Rank, r.Over)
	case ReasonOutranked:
		return outranks
	case ReasonDegraded:
		return outranks + "; the leader is degraded"
	case ReasonOwner:
		return outranks + "; it is the owner"
	case ReasonDelayed:
		return fmt.Sprintf("%s; preempt_delay %s", outranks, r.Delay)
	case ReasonNoPreempt:
		return outranks + "; it does not preempt a healthy leader"
	case ReasonPreferred:
		return outranks + "; an operator moved the address here"
	case ReasonOwnFault:
		return fmt.Sprintf("%s fails by this node's own fault; %s takes over", r.IP, r.Member)
	case ReasonDue:
		return fmt.Sprintf("%s is due", r.IP)
	case ReasonHolding:
		return "holding; re-check due"
	}
	return string(r.Code)
}
