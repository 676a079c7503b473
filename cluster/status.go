package cluster

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/fsm"
)

// MemberState is what a member is, in VRRP's words where it has any.
type MemberState string

// The states of a member.
const (
	StateMaster      MemberState = "MASTER"   // leads, and holds every address
	StateClaiming    MemberState = "CLAIMING" // leads, and does not hold them all yet
	StateBackup      MemberState = "BACKUP"
	StateFault       MemberState = "FAULT"
	StateDrained     MemberState = "DRAINED" // out of service by an operator, leader or not
	StateWitness     MemberState = "WITNESS"
	StateUnreachable MemberState = "UNREACHABLE"
)

// Status is the cluster as this node sees it. Only the leader knows who is reachable
// and what the cloud last said.
type Status struct {
	Cluster, ClusterID string
	Self               fsm.Member
	RaftState          string
	Term               uint64
	// LeaderID is empty when no leader is known; LeaderAddress is where it can be asked.
	LeaderID, LeaderAddress string
	// Voters is how many votes there are, Reachable how many of them answer (at the
	// leader; elsewhere 0).
	Voters, Reachable int
	// LastContact is when a follower last heard from the leader.
	LastContact time.Time
	Members     []MemberStatus // by name
	Addresses   []AddressStatus
	Decision    fsm.Decision
	// Paused is the pause in force, nil if there is none.
	Paused *fsm.Pause
	// Last is the newest move of an address; nil before the first.
	Last *fsm.Transition
}

// Leads reports whether this is the leader's own view.
func (s Status) Leads() bool { return s.LeaderID == s.Self.ID && s.RaftState == raft.Leader.String() }

// MemberStatus is one member.
type MemberStatus struct {
	Member fsm.Member
	Voter  bool
	State  MemberState
	Report fsm.Report
	// Drain is its mark; zero if it is not drained.
	Drain fsm.Drain
	// Eligible says whether it may hold the address; Reason says why not.
	Eligible bool
	Reason   string
}

// AddressStatus is one floating IP.
type AddressStatus struct {
	IP       netip.Addr
	State    AddressState
	Holder   string // the member's name, "" if unknown or not a member
	Instance string
	// Held says that the leader has claimed it in this term and has not seen it
	// elsewhere since, even if it cannot be verified at present; at a follower, that
	// the leader is the holder of record.
	Held bool
	// VerifiedAt is when the cloud last confirmed the holder; zero at a follower.
	VerifiedAt time.Time
	Term       uint64
	Since      time.Time
	// Error is why it could not be confirmed, if it could not.
	Error string
	// Contested is how often this leader has claimed it back lately, if somebody else moves
	// it away so often that claims wait; else 0. ClaimAfter is when the next is due.
	Contested  int
	ClaimAfter time.Time // in a pause, and zero while it is here
}

// snapshot is what the loop publishes after each step; it is never changed again.
type snapshot struct {
	tenure     bool
	candidates []fsm.Candidate
	// addresses is what this leader knows, or knew when it last led.
	addresses map[netip.Addr]address
	decision  fsm.Decision
}

func (l *loop) publish(v fsm.View, d fsm.Decision) {
	s := &snapshot{decision: d, candidates: v.Candidates, tenure: l.tenure != nil, addresses: l.past}
	if l.tenure != nil {
		s.addresses = l.tenure.snapshot()
	}
	l.seenBy.Store(s)
	now := l.Status()
	l.logRole(now)
	l.logDrains(now)
	l.logPause(now.Paused)
	l.tell(now)
}

// snapshot copies what the tenure knows of the addresses.
func (t *tenure) snapshot() map[netip.Addr]address {
	out := make(map[netip.Addr]address, len(t.ips))
	for ip, a := range t.ips {
		out[ip] = *a
	}
	return out
}

// Status may be called at any time, also before Run and after it.
func (n *Node) Status() Status {
	snap, state := n.seenBy.Load(), n.fsm.State()
	s := Status{
		Cluster: n.cfg.Cluster, ClusterID: state.ClusterID, Self: n.cfg.Member,
		RaftState: n.raft.State().String(), Term: n.raft.CurrentTerm(),
		LastContact: n.raft.LastContact(), Decision: snap.decision, Paused: state.Paused,
	}
	s.LeaderID, s.LeaderAddress = n.leader()
	if len(state.Transitions) > 0 {
		last := state.Transitions[len(state.Transitions)-1]
		s.Last = &last
	}
	s.Addresses = n.addressStatus(snap, state)
	s.Members = n.memberStatus(snap, state, s)
	for _, m := range s.Members {
		if m.Voter {
			s.Voters++
			if snap.tenure && m.State != StateUnreachable {
				s.Reachable++
			}
		}
	}
	return s
}

func (n *Node) memberStatus(snap *snapshot, state fsm.State, s Status) []MemberStatus {
	candidates := snap.candidates
	if !snap.tenure {
		candidates = n.hearsay(state)
	}
	var out []MemberStatus
	for _, c := range candidates {
		m := MemberStatus{Member: c.Member, Voter: c.Voter}
		m.Drain, c.Drained = state.Drains[c.Member.ID]
		if m.Member.Name == "" {
			m.Member.Name = m.Member.ID
		}
		if c.Report != nil {
			m.Report = *c.Report
		}
		ok, why := fsm.Eligible(c)
		m.Eligible = ok
		if !ok {
			m.Reason = why.String()
		}
		m.State = stateOf(c, s)
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b MemberStatus) int { return cmp.Compare(a.Member.Name, b.Member.Name) })
	return out
}

// hearsay is what a follower knows of the members: the log, and itself. Without a leader
// it cannot even tell who is there.
func (n *Node) hearsay(state fsm.State) []fsm.Candidate {
	var out []fsm.Candidate
	leader, _ := n.leader()
	for _, s := range n.servers() {
		id := string(s.ID)
		m, entered := state.Members[id]
		c := fsm.Candidate{Member: m, Voter: s.Suffrage == raft.Voter, Reachable: entered && leader != "", CaughtUp: true}
		c.Member.ID = id
		if r, ok := state.Reports[id]; ok {
			c.Report = &r
		}
		if id == n.cfg.Member.ID {
			r, _ := n.self.get()
			c.Member, c.Report, c.Reachable = n.cfg.Member, &r, true
		}
		out = append(out, c)
	}
	return out
}

func stateOf(c fsm.Candidate, s Status) MemberState {
	leads := c.Member.ID == s.LeaderID
	switch {
	case !c.Reachable && !leads:
		return StateUnreachable
	case c.Member.Role == fsm.RoleWitness:
		return StateWitness
	case c.Drained:
		return StateDrained
	case c.Report == nil || c.Report.Health == fsm.HealthFault || c.Report.Health == fsm.HealthUnknown || c.Report.ClaimFault != "":
		return StateFault
	case !leads:
		return StateBackup
	}
	for _, a := range s.Addresses {
		if !a.Held {
			return StateClaiming
		}
	}
	return StateMaster
}

func (n *Node) addressStatus(snap *snapshot, state fsm.State) []AddressStatus {
	var out []AddressStatus
	leader, _ := n.leader()
	for _, ip := range n.cfg.FloatingIPs {
		record := state.Claims[ip]
		a := AddressStatus{
			IP: ip, State: AddressUnverified, Instance: record.Instance, Term: record.Term, Since: record.Since,
			Held: record.Holder != "" && record.Holder == leader,
		}
		if m, ok := state.Members[record.Holder]; ok {
			a.Holder = m.Name
		}
		if state.Paused != nil {
			a.State = AddressPaused
		}
		own, ok := snap.addresses[ip]
		switch {
		case ok && snap.tenure:
			a.State, a.Held, a.VerifiedAt, a.Error = own.state, own.held, own.verifiedAt, own.lastError
			if now := time.Now(); own.duel.on(now) {
				a.Contested = own.duel.times
				if !own.held {
					a.ClaimAfter = own.duel.until
				}
			}
			if state.Paused != nil {
				a.paused(own, n.cfg.Member.Instance)
			}
			if own.instance != "" && own.instance != record.Instance {
				a.Instance, a.Holder = own.instance, memberWith(state, own.instance)
			}
		case ok && record.Holder == n.cfg.Member.ID:
			a.VerifiedAt = own.verifiedAt // it led last, and nobody has taken over since
		}
		out = append(out, a)
	}
	return out
}

// memberWith names the member that is instance at the provider, "" if none is.
func memberWith(state fsm.State, instance string) string {
	for _, m := range state.Members {
		if m.Instance == instance && instance != "" {
			return m.Name
		}
	}
	return ""
}

// logRole writes one line when this node's own state changes.
func (l *loop) logRole(s Status) {
	for _, m := range s.Members {
		if m.Member.ID != l.cfg.Member.ID || string(m.State) == l.role {
			continue
		}
		l.log.Info("role", "state", m.State, "was", l.role, "term", s.Term, "reason", m.Reason, "boottime_ns", int64(l.cfg.Boottime()))
		l.role = string(m.State)
	}
}

// logDecision writes one line when what to do, or why, changes. The looks at an address
// that is where it should be are heartbeats, not changes.
func (l *loop) logDecision(d fsm.Decision) {
	l.decided = d
	if d.Kind == fsm.Look {
		d.Kind = fsm.Wait
	}
	heartbeat := d.Reason.Code == fsm.ReasonDue || d.Reason.Code == fsm.ReasonBusy
	if heartbeat || (d.Kind == l.logged.Kind && d.Reason == l.logged.Reason) {
		return
	}
	l.log.Info("decision", "kind", d.Kind, "target", l.name(d.Target), "reason", d.Reason.String(), "boottime_ns", int64(l.cfg.Boottime()))
	l.logged = d
}
