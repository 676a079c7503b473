package fsm

import (
	"net/netip"
	"time"
)

// MaxTransitions is how many past moves State keeps.
const MaxTransitions = 100

// State is everything the members replicate. Values returned by FSM.State are deep
// copies and belong to the caller.
type State struct {
	// ClusterID is made by init; a node with another one belongs to another cluster.
	ClusterID string                 `json:"cluster_id"`
	Members   map[string]Member      `json:"members"`
	Reports   map[string]Report      `json:"reports"`
	Claims    map[netip.Addr]Holding `json:"claims"`
	Ticket    Ticket                 `json:"ticket"`
	// Preferred is the member to which an operator moved leadership; while it holds the
	// address in good health nobody preempts it. Empty: none.
	Preferred string `json:"preferred,omitempty"`
	// Drains are the marks in force, by the member's ID.
	Drains map[string]Drain `json:"drains,omitempty"`
	// Paused, unless nil, forbids every leader to write to the cloud.
	Paused *Pause `json:"paused,omitempty"`
	// Handover is the last planned change of leader, for the successor's record.
	Handover    Handover     `json:"handover"`
	Transitions []Transition `json:"transitions"`
}

// Drain is an operator's mark on a member under maintenance: it votes, and may not hold
// the address. The mark is in force until it is taken away, even past Until: the leader
// takes it away then.
type Drain struct {
	// Member is the member's ID.
	Member string `json:"member"`
	// Since is when it was set, by the clock of the leader of that time.
	Since time.Time `json:"since"`
	// Until is when it ends by itself; zero: when somebody undrains the member.
	Until time.Time `json:"until,omitzero"`
}

// Pause is an operator's order that buoy leaves the floating IPs where they are.
type Pause struct {
	// Since is when it was given, by the clock of the leader of that time.
	Since time.Time `json:"since"`
	// By is the name of the member that the operator asked.
	By string `json:"by"`
}

// Holding is the holder of record of one floating IP. It is written when it changes.
type Holding struct {
	IP netip.Addr `json:"ip"`
	// Holder is the member's ID, Instance the provider's name for it.
	Holder   string    `json:"holder"`
	Instance string    `json:"instance"`
	Term     uint64    `json:"term"`
	Since    time.Time `json:"since"`
}

// Ticket is the newest right to write to the cloud that was ever committed. A ticket
// is void, and not stored, when Epoch is not the Term of its own log entry: it was
// queued across a change of leader.
type Ticket struct {
	// Epoch is the raft term in which the ticket was taken.
	Epoch uint64 `json:"epoch"`
	// Node is the member's ID.
	Node string `json:"node"`
	// Seq counts the tickets of an epoch.
	Seq uint64 `json:"seq"`
	// Life is how long the ticket is valid, counted from before it was proposed.
	Life time.Duration `json:"life"`
	// Released says that its node has stopped using it.
	Released bool `json:"released,omitempty"`
}

// Handover announces a planned change of leader, before it happens.
type Handover struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Reason is Decision.Reason in words.
	Reason string `json:"reason"`
	// Requested marks an operator's transfer, or the return to whom it chose: To becomes
	// State.Preferred.
	Requested bool `json:"requested,omitempty"`
	// Chosen, of a hand-over that is withdrawn, is the operator's choice before it.
	Chosen string `json:"chosen,omitempty"`
	Term   uint64 `json:"term"`
	// Detect is the time from the fault to the leader's verdict; 0 if there was no fault.
	Detect time.Duration `json:"detect,omitempty"`
	// Elect is how long From itself led without claiming, if it only passes the lead on.
	Elect time.Duration `json:"elect,omitempty"`
}

// Transition is one past move of a floating IP, complete with reason and stage times.
type Transition struct {
	At     time.Time  `json:"at"`
	IP     netip.Addr `json:"ip"`
	From   string     `json:"from"` // member name or, if unknown, instance; empty: nobody
	To     string     `json:"to"`
	Reason string     `json:"reason"`
	Term   uint64     `json:"term"`
	Stages Stages     `json:"stages"`
}

// Stages says how long each part of a move took.
type Stages struct {
	// Detect: from the fault to its verdict (or from the last sign of the old leader
	// to the candidacy that replaced it).
	Detect time.Duration `json:"detect"`
	// Elect: from there to the new leader's first committed entry.
	Elect time.Duration `json:"elect"`
	// Claim: from there to the cloud's acceptance of the write.
	Claim time.Duration `json:"claim"`
	// Confirm: from there to the cloud's answer that the address is here.
	Confirm time.Duration `json:"confirm"`
}

// Total is the sum of all stages.
func (s Stages) Total() time.Duration { return s.Detect + s.Elect + s.Claim + s.Confirm }
