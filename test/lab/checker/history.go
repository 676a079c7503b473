package checker

import "time"

// Outside stands in a History for a machine that is no balancer; Nobody for none.
const (
	Outside = "outside"
	Nobody  = ""
)

// Cloud is the name of the cloud's host in Truth.Cut.
const Cloud = "cloud"

// History is everything that happened in one run. All times count from the machine's
// boot (CLOCK_BOOTTIME), which its hosts and the lab share; lists are in order of time.
type History struct {
	Setup    Setup
	Truth    []Truth
	Writes   []Write
	Holders  []Holder
	Tickets  []Ticket
	Roles    []Role
	Requests []Request
	Samples  []Sample
	Acks     []Ack
	// End is when the record stops.
	End time.Duration
}

// Setup is what was run, and the bounds that follow from it.
type Setup struct {
	System string // "buoy", "keepalived (usual)", …
	Seed   uint64
	Nodes  []string // the balancers at the start
	// Assign is how long the cloud takes to move the address.
	Assign time.Duration
	// Settle (P2): how long after the last change of conditions the address may be
	// elsewhere than at a healthy balancer, and the client unserved. Assign comes on top.
	Settle time.Duration
	// Detect (P3): how long a balancer may have been unfit without its daemon knowing.
	Detect time.Duration
	// Repair (P4): how long drift may last. Assign comes on top.
	Repair time.Duration
	// Cause (P5): how long after a change of conditions a move may still be its effect,
	// if nobody sees earlier that all is at rest. It covers the return of a balancer that
	// outranks the holder.
	Cause time.Duration
	// Minority (P6): how long a leader that has just lost its majority may still write:
	// the rest of its ticket, and the request's way.
	Minority time.Duration
}

// Truth is how things really are, as the lab made them, from At until the next Truth.
type Truth struct {
	At time.Duration
	// Fault names what the lab has just done or undone, for people.
	Fault string
	Nodes map[string]Condition
	// Cut lists, as from-to pairs, which hosts' frames do not arrive. Cloud is a host.
	Cut [][2]string
	// MayMove: what has just been done is a reason for the address to move.
	MayMove bool
	// Planned: it was an operator's doing, or a balancer's return, for which no request
	// has to fail. It counts until the next Truth.
	Planned bool
	// Drift: the address has just been moved away from outside.
	Drift bool
	// Rest: the lab has just seen that everybody is content. No reason for a move from
	// before is left.
	Rest bool
	// Rough: frames get lost or late, both cores are busy, the cloud is broken for all,
	// or membership is in motion: safety holds, bounds of time do not.
	Rough bool
}

// Condition is the state of one balancer.
type Condition struct {
	Serving bool // its HAProxy answers
	Daemon  bool // its daemon runs and is neither stopped nor hung
	Voter   bool // it counts for the majority
	API     bool // its own token and droplet are good: it could claim
}

// Write is a request for change that reached the cloud.
type Write struct {
	Arrived  time.Duration
	Accepted time.Duration // 0: never
	Node     string        // as its User-Agent says
	Epoch    uint64
	Token    string        // whose token it carried
	Target   string        // a balancer's name, or Outside
	Held     time.Duration // how long the cloud held it back on purpose, before Arrived
	Outcome  string
}

// Holder is a change of the holder, as the cloud records it.
type Holder struct {
	At time.Duration
	To string // a balancer's name, Outside or Nobody
	// Foreign: done from outside, not by a write of a balancer.
	Foreign bool
	// Routed is when the network had followed; 0: at once.
	Routed time.Duration
}

// Ticket is one right to write, as the log of its node tells it.
type Ticket struct {
	Node       string
	Epoch, Seq uint64
	T0, Until  time.Duration
	Granted    time.Duration
	Begun      time.Duration // 0: no write
	// Ended is when the node said that it uses it no more (given back, expired); 0: never.
	Ended time.Duration
}

// End is when the ticket could no longer be used.
func (t Ticket) End() time.Duration {
	if t.Ended != 0 {
		return min(t.Ended, t.Until)
	}
	return t.Until
}

// Role is a line in which a daemon says what it has become.
type Role struct {
	At   time.Duration
	Node string
	// State is MASTER, CLAIMING, BACKUP, FAULT, …; or LEADING and FOLLOWING, raft's roles.
	State string
	Term  uint64
}

// Request is one request of the client.
type Request struct {
	Begun, Ended time.Duration
	OK           bool
	By           string // the balancer that answered
	Error        string
}

// Sample is what one daemon answered when it was asked for its status.
type Sample struct {
	At     time.Duration
	Node   string
	Leader string // whom it takes for the leader; "" nobody
	// Leads: the answer is the leader's own view.
	Leads   bool
	Term    uint64
	Voters  int
	Members []string
	// Moved is when the last move on record happened, on the wall clock of the daemon
	// that recorded it, in Unix nanoseconds; 0: none.
	Moved int64
}

// Ack is a change that a daemon acknowledged: from then on it must never be lost.
type Ack struct {
	At     time.Duration
	Member string // has joined
	// Left: it is about to be removed instead; from now on it may be missing.
	Left bool
}
