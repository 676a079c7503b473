package cluster

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

// stopping is the ClaimFault of a node that is about to leave.
const stopping = "it is shutting down"

// selfReport is what this node says of itself; written by the health checks and the
// loop, read by the loop and by whoever probes us.
type selfReport struct {
	mu     sync.Mutex
	member fsm.Member
	report fsm.Report
	detect time.Duration
}

func (s *selfReport) start(m fsm.Member, boot string) {
	s.member = m
	s.report = fsm.Report{Member: m.ID, Boot: boot, Seq: 1, Health: fsm.HealthUnknown, Priority: m.Priority}
	if m.Role == fsm.RoleWitness {
		s.report.Health = fsm.HealthOK
	}
}

func (s *selfReport) get() (fsm.Report, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.report
	r.Checks = slices.Clone(r.Checks)
	return r, s.detect
}

// setChecks replaces the checks and reports whether health or priority changed.
func (s *selfReport) setChecks(checks []fsm.Check, detect time.Duration) (fsm.Report, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.report
	s.report.Health, s.report.Priority = fsm.Assess(s.member.Priority, checks)
	s.report.Checks = slices.Clone(checks)
	changed := old.Health != s.report.Health || old.Priority != s.report.Priority
	if changed {
		s.report.Seq++
		s.detect = detect
	}
	return s.report, changed
}

// setClaimFault says why this node cannot claim, "" if it can; true on a change.
func (s *selfReport) setClaimFault(fault string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.report.ClaimFault == fault || s.report.ClaimFault == stopping {
		return false
	}
	s.report.ClaimFault = fault
	s.report.Seq++
	s.detect = 0
	return true
}

// setDamped says whether this node stays out of the lead because of its falls; true on a
// change.
func (s *selfReport) setDamped(damped bool, falls int) bool {
	if !damped {
		falls = 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.report.Damped == damped && s.report.Falls == falls {
		return false
	}
	s.report.Damped, s.report.Falls = damped, falls
	s.report.Seq++
	return true
}

// SetHealth takes the newest results of the local checks. detect is how long the
// change took to notice, for the record of a move that follows.
func (n *Node) SetHealth(checks []fsm.Check, detect time.Duration) {
	r, changed := n.self.setChecks(checks, detect)
	if !changed {
		return
	}
	n.log.Info("verdict", "health", r.Health, "priority", r.Priority, "base", n.cfg.Member.Priority,
		"detect", detect, "boottime_ns", int64(n.cfg.Boottime()))
	n.wakeUp()
}

// SelfTest has the Claimer prove that it could claim.
func (n *Node) SelfTest(ctx context.Context) error {
	if n.cfg.Claimer == nil {
		return fsm.Refusef("%s is a witness: it never holds the address", n.cfg.Member.Name)
	}
	return n.cfg.Claimer.SelfTest(ctx)
}

// fit says whether this node, as it knows itself, may hold the address, and if not, why.
func (n *Node) fit() (bool, string) {
	r, _ := n.self.get()
	_, drained := n.fsm.State().Drains[n.cfg.Member.ID]
	ok, why := fsm.Eligible(fsm.Candidate{Member: n.cfg.Member, Report: &r, Voter: true, Reachable: true, CaughtUp: true, Drained: drained})
	return ok, why.String()
}

// Contact is this node's answer to a probe.
func (n *Node) Contact() fsm.Contact {
	r, _ := n.self.get()
	c := fsm.Contact{
		ID: n.cfg.Member.ID, Name: n.cfg.Member.Name,
		Cluster: n.cfg.Cluster, ClusterID: n.fsm.State().ClusterID,
		Version: n.cfg.Member.Version, Boot: n.boot,
		RaftState: n.raft.State().String(), Term: n.raft.CurrentTerm(),
		LastIndex: n.raft.LastIndex(), AppliedIndex: n.raft.AppliedIndex(),
		Voter:  n.voter(n.cfg.Member.ID),
		Member: n.cfg.Member, Report: r, Hint: n.hint.Load(),
	}
	c.LeaderID, c.LeaderAddress = n.leader()
	return c
}

// leader is the ID and the members' address of the leader, as far as raft knows.
func (n *Node) leader() (id, address string) {
	_, leader := n.raft.LeaderWithID()
	for _, s := range n.servers() {
		if s.ID == leader {
			return string(leader), string(s.Address)
		}
	}
	return string(leader), ""
}

// notLeader says who leads instead.
func (n *Node) notLeader() error {
	id, address := n.leader()
	if id == n.cfg.Member.ID {
		return &fsm.NotLeaderError{}
	}
	return &fsm.NotLeaderError{ID: id, Name: n.name(id), Address: address}
}

// name is what people call the member id.
func (n *Node) name(id string) string {
	if m, ok := n.fsm.State().Members[id]; ok {
		return m.Name
	}
	if i := strings.LastIndexByte(id, '-'); i > 0 { // not entered yet: ID is Name-suffix
		return id[:i]
	}
	return id
}
