package fsm

import (
	"cmp"
	"net/netip"
	"strings"
	"time"
)

// Health is the sum of a member's checks.
type Health string

// The states of health, from unknown to worst.
const (
	// HealthUnknown is a node whose checks have not answered yet since it started.
	HealthUnknown Health = "unknown"
	// HealthOK is a node whose checks all pass.
	HealthOK Health = "ok"
	// HealthDegraded is a node with a failing weighted check: eligible at a lower
	// priority, and no longer protected by a rival's preempt: false.
	HealthDegraded Health = "degraded"
	// HealthFault is a node with a failing check of weight 0: not eligible.
	HealthFault Health = "fault"
)

// Check is the result of one check as its node reports it.
type Check struct {
	Name string `json:"name"`
	// Known is false until the first result after the node's start.
	Known bool `json:"known"`
	OK    bool `json:"ok"`
	// Fault is set when the failing check makes the node ineligible.
	Fault bool `json:"fault,omitempty"`
	// Warn is set when something is wrong that people should know, though the check may
	// pass; Output says what. It decides nothing.
	Warn bool `json:"warn,omitempty"`
	// Weight is what the check adds to the priority at present, -253..253.
	Weight int       `json:"weight"`
	Output string    `json:"output,omitempty"`
	Since  time.Time `json:"since"`
}

// Report is what a node last said of its own health. It enters the log when Health,
// Priority, ClaimFault or Damped change, not with every check.
type Report struct {
	// Member is the ID of the node that reports.
	Member string `json:"member"`
	// Boot is a random name of that node's process; Seq counts its reports.
	Boot string `json:"boot"`
	Seq  uint64 `json:"seq"`
	// Health and Priority are what Assess makes of Checks.
	Health   Health  `json:"health"`
	Priority int     `json:"priority"`
	Checks   []Check `json:"checks,omitempty"`
	// ClaimFault says why this node cannot claim the address for reasons of its own
	// (its token, its route to the API); empty when it can. Not eligible while set.
	ClaimFault string `json:"claim_fault,omitempty"`
	// Damped says that the node has lost the lead through its health, and not for the first
	// time lately: it does not lead while an eligible node that is not damped may. It says
	// so itself, and takes it back (Damping). Falls is how many times it was; 0 unless Damped.
	Damped bool `json:"damped,omitempty"`
	Falls  int  `json:"falls,omitempty"`
}

// Contact is a member's answer to a probe: who it is, which process, and where it
// stands. It is the only source of a peer's reachability and lag.
type Contact struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Cluster   string `json:"cluster"`
	ClusterID string `json:"cluster_id,omitempty"`
	Version   string `json:"version"`
	// Boot is a random name of the answering process.
	Boot string `json:"boot"`
	// RaftState is Follower, Candidate, Leader or Shutdown.
	RaftState    string `json:"raft_state"`
	Term         uint64 `json:"term"`
	LastIndex    uint64 `json:"last_index"`
	AppliedIndex uint64 `json:"applied_index"`
	// Voter is set when the node's own raft configuration names it as a voter.
	Voter bool `json:"voter"`
	// LeaderID and LeaderAddress name the leader that it follows, if it knows one.
	LeaderID      string `json:"leader_id,omitempty"`
	LeaderAddress string `json:"leader_address,omitempty"`
	// Member and Report are what the node says of itself now: what the log should say.
	Member Member `json:"member"`
	Report Report `json:"report"`
	// Hint is what its machine seems to hold; nil if it cannot tell at present.
	Hint *Hint `json:"hint,omitempty"`
}

// Hint is which floating IPs a machine seems to hold, by a look at itself. It may lag
// behind a move, or be wrong: it is a reason to ask the cloud, and proves nothing.
type Hint struct {
	Held []netip.Addr `json:"held"`
}

// faults names the checks that put the node in FAULT.
func (r Report) faults() string {
	var names []string
	for _, c := range r.Checks {
		if c.Known && !c.OK && c.Fault {
			names = append(names, c.Name)
		}
	}
	return cmp.Or(strings.Join(names, ", "), "no check named")
}
