package api

import (
	"math"
	"time"
)

// Status is the cluster at a glance: the JSON of `buoy status --json` and of GET
// /status on every listener. Every key is always present; what is unknown is null or
// empty. Times are RFC 3339 in UTC.
type Status struct {
	Cluster string    `json:"cluster"`
	Time    time.Time `json:"time"`
	Version string    `json:"version"`
	// Self is the name of the node that was asked. Everything but Self, Version and
	// Raft is the leader's view when the leader answers, and the node's own otherwise
	// (Warnings then says so).
	Self           string       `json:"self"`
	Raft           Raft         `json:"raft"`
	Members        []Member     `json:"members"`
	FloatingIPs    []FloatingIP `json:"floating_ips"`
	LastTransition *Transition  `json:"last_transition"`
	// Paused is null unless an operator has forbidden to move the addresses.
	Paused   *Pause   `json:"paused"`
	Warnings []string `json:"warnings"`
}

// Raft is where the asked node stands in the consensus.
type Raft struct {
	// State is Follower, Candidate, Leader or Shutdown.
	State string `json:"state"`
	Term  uint64 `json:"term"`
	// Leader is the leader's name; empty when none is known.
	Leader string `json:"leader"`
	// Quorum is how many of the Voters must agree; Tolerates is how many more of
	// them may be lost, counted from those that answer now.
	Quorum    int `json:"quorum"`
	Voters    int `json:"voters"`
	Tolerates int `json:"tolerates"`
	// LastContactMS is how long ago a follower heard from its leader; 0 on a leader,
	// null when it never did.
	LastContactMS *int64 `json:"last_contact_ms"`
}

// MemberState is what a member is doing, in VRRP's words where there are any.
type MemberState string

// The states of a member.
const (
	// StateMaster leads, and the cloud has confirmed every floating IP as its own.
	StateMaster MemberState = "MASTER"
	// StateClaiming leads, and the cloud has not yet confirmed.
	StateClaiming MemberState = "CLAIMING"
	// StateBackup stands by.
	StateBackup MemberState = "BACKUP"
	// StateFault has a failing check that bars it from the address, leader or not.
	StateFault MemberState = "FAULT"
	// StateDrained is out of service by an operator's word, leader or not.
	StateDrained MemberState = "DRAINED"
	// StateWitness votes and never holds the address.
	StateWitness MemberState = "WITNESS"
	// StateUnreachable does not answer.
	StateUnreachable MemberState = "UNREACHABLE"
)

// Member is one node of the cluster.
type Member struct {
	// ID is the name in the configuration, such as lb1.
	ID      string      `json:"id"`
	Address string      `json:"address"`
	Role    string      `json:"role"`
	Voter   bool        `json:"voter"`
	State   MemberState `json:"state"`
	// Priority is configured, EffectivePriority what the checks leave of it, 1..255.
	Priority          int  `json:"priority"`
	EffectivePriority int  `json:"effective_priority"`
	Eligible          bool `json:"eligible"`
	// Reason says why it is not eligible; empty when it is.
	Reason string `json:"reason"`
	// Drain is null while the member is in service.
	Drain        *Drain  `json:"drain"`
	Instance     string  `json:"instance"`
	Version      string  `json:"version"`
	ConfigDigest string  `json:"config_digest"`
	Checks       []Check `json:"checks"`
}

// Drain is an operator's mark on a member under maintenance.
type Drain struct {
	Since time.Time `json:"since"`
	// Until is when it ends by itself; null: when somebody undrains the member.
	Until *time.Time `json:"until"`
}

// Pause is an operator's order to leave the floating IPs where they are.
type Pause struct {
	Since time.Time `json:"since"`
	// By is the member that the operator asked.
	By string `json:"by"`
}

// Check is the last verdict of one health check.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Weight is what the check adds to the priority at present, -253..253.
	Weight int       `json:"weight"`
	Output string    `json:"output"`
	Since  time.Time `json:"since"`
}

// IPState is where a floating IP stands.
type IPState string

// The states of a floating IP.
const (
	// IPClaimed: the cloud has confirmed the holder.
	IPClaimed IPState = "claimed"
	// IPClaiming: the leader is asking the cloud for it.
	IPClaiming IPState = "claiming"
	// IPLost: the cloud says that another machine, or none, has it.
	IPLost IPState = "lost"
	// IPUnverified: the last look at the cloud is missing, too old or failed.
	IPUnverified IPState = "unverified"
	// IPPaused: an operator has forbidden to move it; the holder is who has it.
	IPPaused IPState = "paused"
)

// FloatingIP is one address and its holder.
type FloatingIP struct {
	IP string `json:"ip"`
	// Holder is the member of record; empty when there is none. Instance is the
	// provider's name for it.
	Holder   string  `json:"holder"`
	Instance string  `json:"instance"`
	State    IPState `json:"state"`
	// VerifiedAt is when the cloud last confirmed the holder; null when it never did.
	VerifiedAt *time.Time `json:"verified_at"`
	// Term and Since say under which leadership and when the holder got it.
	Term  uint64     `json:"term"`
	Since *time.Time `json:"since"`
}

// Transition is the last move of a floating IP.
type Transition struct {
	At       time.Time `json:"at"`
	From     string    `json:"from"`
	To       string    `json:"to"`
	Reason   string    `json:"reason"`
	StagesMS Stages    `json:"stages_ms"`
}

// Stages says how long each part of a move took, in milliseconds.
type Stages struct {
	Detect  float64 `json:"detect"`
	Elect   float64 `json:"elect"`
	Claim   float64 `json:"claim"`
	Confirm float64 `json:"confirm"`
	Total   float64 `json:"total"`
}

// Millis is d in milliseconds, rounded to a tenth.
func Millis(d time.Duration) float64 {
	return math.Round(float64(d)/float64(100*time.Microsecond)) / 10
}

// Leader is who leads, as the asked node sees it.
type Leader struct {
	ID      string `json:"id"`
	Address string `json:"address"`
	// Self is set when it is the asked node itself.
	Self bool `json:"self"`
}

// Member returns the entry of the member with this name.
func (s Status) Member(id string) (Member, bool) {
	for _, m := range s.Members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// Leader returns who leads; false when nobody is known to.
func (s Status) Leader() (Leader, bool) {
	if s.Raft.Leader == "" {
		return Leader{}, false
	}
	m, _ := s.Member(s.Raft.Leader)
	return Leader{ID: s.Raft.Leader, Address: m.Address, Self: s.Raft.Leader == s.Self}, true
}

// Master says whether the asked node is the confirmed holder of every floating IP.
func (s Status) Master() bool {
	m, ok := s.Member(s.Self)
	return ok && m.State == StateMaster
}
