package fsm

import (
	"net/netip"
	"time"
)

// Candidate is one member as the leader sees it now.
type Candidate struct {
	Member Member
	// Report is the newest report of this boot; nil when there is none yet.
	Report *Report
	// Voter is false for a node that is still joining.
	Voter bool
	// Reachable says that the member answered lately; true for the leader itself.
	Reachable bool
	// CaughtUp says that its log is close enough for it to lead.
	CaughtUp bool
	// Drained says that an operator has taken it out of service: State.Drains.
	Drained bool
	// EligibleSince is when this leader first saw it eligible without a break; zero
	// when it is not. Only the caller can know it: see Eligible.
	EligibleSince time.Time
	// BackoffUntil bars it as a target after a failed transfer.
	BackoffUntil time.Time
	// UnprovenUntil bars it, after a self-test that it has failed, as the target of a leader
	// that goes because it cannot claim: it cannot either. For any other reason it may.
	UnprovenUntil time.Time
}

// Action is what the leader is busy with.
type Action string

// The actions.
const (
	ActionNone     Action = ""
	ActionClaim    Action = "claim"
	ActionTransfer Action = "transfer"
	ActionLook     Action = "look"
)

// IPView is where one floating IP stands in the leader's eyes.
type IPView struct {
	IP netip.Addr
	// Due is when it wants to be claimed or looked at next; zero means now.
	Due time.Time
	// OwnFaults counts the looks or claims in a row that failed for reasons of this
	// node's own (its token, its route); peers may do better.
	OwnFaults int
	// Busy says that the action in flight, or one of the claims in flight, is about it.
	Busy bool
	// Looked says that this leader, which might not claim, has only looked, the last time:
	// once it may, it claims, however fresh that look is.
	Looked bool
	// ClaimAfter bars claims until then: somebody else keeps moving the address away. What
	// is due is only looked at. Zero: nobody does.
	ClaimAfter time.Time
}

// View is everything Decide looks at. Slices may be in any order.
type View struct {
	Self string
	// Leader says that this node leads Term and that an entry of Term has committed.
	Leader bool
	// LeaderName is whom a follower follows, for the reason in words; may be empty.
	LeaderName  string
	Term        uint64
	LeaderSince time.Time
	Candidates  []Candidate
	// Busy is what is in flight: one look, one transfer, or claims of different addresses
	// (IPView.Busy).
	Busy Action
	// Request is an operator's wish to move leadership; nil when there is none.
	Request *Request
	// Preferred is State.Preferred.
	Preferred string
	// Vacant says that this node leads by an election, not by a hand-over to it, and has
	// claimed nothing in this term yet: by leading alone it is nobody's incumbent.
	Vacant bool
	// Incumbent is the ID of the holder of record, who may be gone; empty if nobody is.
	Incumbent string
	// Paused is State.Paused: nothing may be claimed, and what is due is looked at.
	Paused bool
	IPs    []IPView
}

// Request is an operator's wish for a planned switch.
type Request struct {
	// Target is a member's ID; empty asks for the best other eligible node.
	Target string
}

// Policy holds the constants that Decide applies.
type Policy struct {
	// Settle bounds how long a new leader waits for a reachable member of higher
	// rank whose first checks are still running; otherwise a cluster that starts
	// would move the address twice.
	Settle time.Duration
	// OwnFaults is how many failures in a row make the leader look for a successor.
	OwnFaults int
	// Recheck is how soon a leader that waits for others looks again.
	Recheck time.Duration
}

// DefaultPolicy is what the daemon uses.
var DefaultPolicy = Policy{Settle: time.Second, OwnFaults: 2, Recheck: time.Second}

// Kind is what to do.
type Kind string

// The kinds of Decision.
const (
	// Wait: nothing to do until Next or new input.
	Wait Kind = "wait"
	// Abort: cancel the action in flight, then decide again.
	Abort Kind = "abort"
	// Transfer: hand leadership to Target.
	Transfer Kind = "transfer"
	// Claim: make IP point here, or look whether it still does.
	Claim Kind = "claim"
	// Look: ask the cloud who holds IP, and write nothing: this node may not.
	Look Kind = "look"
	// Refuse: answer the operator's request with Reason; nothing moves.
	Refuse Kind = "refuse"
)

// Decision is what the leader should do now, and why.
type Decision struct {
	Kind Kind
	// Target is the member ID of a Transfer.
	Target string
	// IP is the address of a Claim or a Look.
	IP     netip.Addr
	Reason Reason
	// Next is when to decide again without new input; zero only for a follower and
	// while an action is in flight. One that begins beside another has none either.
	Next time.Time
}
