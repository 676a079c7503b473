package fsm

import "time"

// Role says what a member may do.
type Role string

// The roles of a member.
const (
	// RoleBalancer votes and may hold the address.
	RoleBalancer Role = "balancer"
	// RoleWitness votes and never holds the address.
	RoleWitness Role = "witness"
)

// Member is what a node says of itself when it joins and at each start. It changes
// with the node's configuration, not with its health.
type Member struct {
	// ID is the raft.ServerID: Name plus a random suffix made with the data
	// directory, so that a wiped disk is a new member.
	ID string `json:"id"`
	// Name is what people see; unique in the cluster.
	Name string `json:"name"`
	// Address is the advertised host:port of the members' port.
	Address string `json:"address"`
	// Instance is the provider's name for this machine, such as a droplet ID.
	Instance string `json:"instance,omitempty"`
	Role     Role   `json:"role"`
	// Priority is the configured VRRP priority, 1..255; 255 is the owner
	// (RFC 9568 section 5.2.4).
	Priority int `json:"priority"`
	// Preempt says whether this node takes over from a healthy leader of lower rank.
	Preempt bool `json:"preempt"`
	// PreemptDelay is how long it must have been eligible before it does.
	PreemptDelay time.Duration `json:"preempt_delay,omitempty"`
	Version      string        `json:"version"`
	// ConfigDigest is equal on all members whose shared settings agree.
	ConfigDigest string `json:"config_digest,omitempty"`
	// Timing is the raft timing in words; it must agree on all members, because
	// unequal timeouts are an accidental priority.
	Timing string `json:"timing,omitempty"`
}
