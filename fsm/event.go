package fsm

import "time"

// VRRP is what a node is in the words of VRRP's notifications, which know no others.
type VRRP string

// The states that hooks are told of.
const (
	// VRRPMaster: it has claimed every address, and leads ever since.
	VRRPMaster VRRP = "MASTER"
	// VRRPBackup: anything else that is well, a drained node and a witness included.
	VRRPBackup VRRP = "BACKUP"
	// VRRPFault: it is unfit, or has known no leader for 3 s.
	VRRPFault VRRP = "FAULT"
	// VRRPStop: its daemon ends.
	VRRPStop VRRP = "STOP"
)

// EventKind says what an Event is about.
type EventKind string

// The kinds of events. All but the first two are problems.
const (
	// EventRole: State, which was Was, is new. Reason says why.
	EventRole EventKind = "role"
	// EventMoved: this node has taken the address Subject, which From held ("": nobody);
	// Reason says why.
	EventMoved EventKind = "moved"
	// EventUnconfirmed: the address Subject cannot be claimed, or its holder be asked.
	EventUnconfirmed EventKind = "unconfirmed"
	// EventContested: somebody else keeps moving the address Subject away.
	EventContested EventKind = "contested"
	// EventNobody: no member may hold the address.
	EventNobody EventKind = "nobody_eligible"
	// EventUnreachable: the member Subject does not answer.
	EventUnreachable EventKind = "unreachable"
)

// Phase is what became of a problem; empty in other events.
type Phase string

// The phases of a problem. Only the leader knows of problems: when it leads no more they
// lapse, and its successor tells of those that remain.
const (
	PhaseBegan  Phase = "began"
	PhaseOver   Phase = "over"
	PhaseLapsed Phase = "lapsed"
)

// Event is a change at one node that somebody outside may want to act on. Nothing of it is
// replicated.
type Event struct {
	Kind    EventKind
	Phase   Phase
	Subject string
	From    string
	Reason  string
	At      time.Time

	// State is what this node is; empty before the first EventRole. Was is the one before.
	State, Was VRRP
	Term       uint64
	// Leader is a name, empty if no leader is known.
	Leader string
	// Priority is this node's effective one, 1..255.
	Priority int
}
