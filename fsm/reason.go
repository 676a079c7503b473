package fsm

import (
	"cmp"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Code names a reason in one word, for metrics, JSON and tests.
type Code string

// Why a member may hold the address, or may not: the answers of Eligible.
const (
	ReasonEligible      Code = "eligible"
	ReasonWitness       Code = "witness"
	ReasonDrained       Code = "drained"
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
	// ReasonIncumbent: the leader was elected by chance, and Member, the holder of record,
	// is in good health: the address stays there. ReasonIncumbentStarts: as soon as
	// Member's first checks have passed. ReasonIncumbentBarred: Member has the address, and
	// gets the lead back when its back-off is over.
	ReasonIncumbent       Code = "incumbent"
	ReasonIncumbentStarts Code = "incumbent_starts"
	ReasonIncumbentBarred Code = "incumbent_barred"
	// ReasonVacant: nobody eligible holds the address, so that Member, of the highest
	// rank, gets it whatever its preempt settings.
	ReasonVacant Code = "vacant"
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
	// ReasonDamped: Member outranks the leader, and has lost the lead through its health too
	// often (Falls): it waits until its health has been good for Delay.
	ReasonDamped Code = "damped"
	// ReasonSelfDamped: the leader, elected by chance, is damped after Falls, so Member takes
	// over.
	ReasonSelfDamped Code = "self_damped"
	// ReasonPreferred: Member outranks the leader, whom an operator put there.
	ReasonPreferred Code = "preferred"
	// ReasonOwnFault: the leader cannot look after IP by its own fault; Member may.
	ReasonOwnFault Code = "own_fault"
	// ReasonDue: IP wants to be claimed or looked at.
	ReasonDue Code = "due"
	// ReasonPaused: an operator has forbidden all claims.
	ReasonPaused Code = "paused"
	// ReasonContested: somebody else keeps moving IP away, so that the leader waits, and
	// looks, before it claims again.
	ReasonContested Code = "contested"
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
	// Delay is Member's preempt_delay, or what damps it; Falls is why it is damped.
	Delay time.Duration
	Falls int
	// Detail is what the code alone does not say, in words.
	Detail string
}

// sentences is how people read each code: one clause without a full stop.
var sentences = map[Code]string{
	ReasonEligible:        "{member} is eligible",
	ReasonWitness:         "{member} is a witness",
	ReasonDrained:         "{member} is drained",
	ReasonNotVoter:        "{member} does not vote yet",
	ReasonUnreachable:     "{member} does not answer",
	ReasonLagging:         "{member} has not caught up with the log",
	ReasonNoReport:        "{member} has not reported its health yet",
	ReasonHealthUnknown:   "the first checks of {member} are still running",
	ReasonFault:           "{member} is in FAULT: {detail}",
	ReasonClaimFault:      "{member} cannot claim: {detail}",
	ReasonNoLeader:        "no leader",
	ReasonFollowing:       "following {member}",
	ReasonConfused:        "the view contradicts itself: {detail}",
	ReasonBusy:            "{detail} in flight",
	ReasonSelfIneligible:  "{detail}; {member} takes over",
	ReasonNobody:          "{detail}; nobody is eligible: the address stays where it is",
	ReasonOnlyBarred:      "{detail}; {member} is barred after a failed hand-over: the address stays where it is",
	ReasonRequested:       "an operator asked for {member}",
	ReasonAlreadyLeads:    "{member} already leads",
	ReasonUnknownMember:   "there is no member {detail}",
	ReasonNoOther:         "nobody else is eligible",
	ReasonBarred:          "{member} is barred after a failed hand-over",
	ReasonSettling:        "the first checks of {member} are still running ({rank}>{over})",
	ReasonIncumbent:       "{member} holds the address in good health",
	ReasonIncumbentStarts: "the first checks of {member}, which holds the address, are still running",
	ReasonIncumbentBarred: "{member} holds the address in good health; it is barred from the lead after a failed hand-over",
	ReasonVacant:          "{member} outranks {rank}>{over}; the chair is empty",
	ReasonOutranked:       "{member} outranks {rank}>{over}",
	ReasonDegraded:        "{member} outranks {rank}>{over}; the leader is degraded",
	ReasonOwner:           "{member} outranks {rank}>{over}; it is the owner",
	ReasonDelayed:         "{member} outranks {rank}>{over}; preempt_delay {delay}",
	ReasonNoPreempt:       "{member} outranks {rank}>{over}; it does not preempt a healthy leader",
	ReasonDamped:          "{member} outranks {rank}>{over}; it has failed {falls} times: damped until it has been well for {delay}",
	ReasonSelfDamped:      "the leader has failed {falls} times lately; {member} takes over",
	ReasonPreferred:       "{member} outranks {rank}>{over}; an operator moved the address here",
	ReasonOwnFault:        "{ip} fails by the leader's own fault; {member} takes over",
	ReasonDue:             "{ip} is due",
	ReasonPaused:          "paused by an operator: the address stays where it is",
	ReasonContested:       "somebody else keeps moving {ip} away: looking, for now, and not claiming",
	ReasonHolding:         "holding; re-check due",
}

// String is the reason in words.
func (r Reason) String() string {
	return strings.NewReplacer(
		"{member}", r.Member,
		"{rank}", strconv.Itoa(r.Rank),
		"{over}", strconv.Itoa(r.Over),
		"{falls}", strconv.Itoa(r.Falls),
		"{ip}", r.IP.String(),
		"{delay}", r.Delay.String(),
		"{detail}", r.Detail,
	).Replace(cmp.Or(sentences[r.Code], string(r.Code)))
}
