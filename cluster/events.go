package cluster

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/fsm"
)

// leaderlessGrace is how long a node may know no leader before it counts as FAULT. An
// election takes less; VRRP at its default interval waits as long for a silent master.
const leaderlessGrace = 3 * time.Second

// told is what the loop has last told of.
type told struct {
	state      fsm.VRRP
	leaderless time.Time // since when; zero while a leader is known
	problems   map[problem]string
}

// problem is what makes two problems the same.
type problem struct {
	kind    fsm.EventKind
	subject string
}

// tell emits what has changed since the last call. A node that is stopping says no more:
// what becomes of it is known, and its end is its process's.
func (l *loop) tell(s Status) {
	if l.cfg.Notify == nil || l.leaving {
		return
	}
	if state, reason := l.outward(s, time.Now()); state != l.told.state {
		was := l.told.state
		l.told.state = state
		l.emit(fsm.Event{Kind: fsm.EventRole, Was: was, Reason: reason})
	}
	l.tellProblems(s)
}

// emit completes e and passes it on.
func (l *loop) emit(e fsm.Event) {
	if l.cfg.Notify == nil {
		return
	}
	r, _ := l.self.get()
	e.At, e.State, e.Term, e.Priority = time.Now(), l.told.state, l.raft.CurrentTerm(), r.Priority
	if id, _ := l.leader(); id != "" {
		e.Leader = l.name(id)
	}
	l.cfg.Notify(e)
}

// outward is fsm.Event.State, and why.
func (l *loop) outward(s Status, now time.Time) (fsm.VRRP, string) {
	i := slices.IndexFunc(s.Members, func(m MemberStatus) bool { return m.Member.ID == l.cfg.Member.ID })
	if i < 0 {
		return l.told.state, "" // in no cluster
	}
	m, was := s.Members[i], l.told.state
	switch {
	case s.LeaderID != "":
		l.told.leaderless = time.Time{}
	case l.told.leaderless.IsZero():
		l.told.leaderless = now
	}
	leads := l.tenure != nil && s.Leads()
	switch {
	case m.State == StateFault && was == "" && unjudged(m.Report):
		return was, ""
	case m.State == StateFault:
		return fsm.VRRPFault, m.Reason
	case s.LeaderID == "" && now.Sub(l.told.leaderless) >= leaderlessGrace:
		return fsm.VRRPFault, "no leader is known: the majority of the members does not answer"
	case s.LeaderID == "" && was == fsm.VRRPMaster:
		return fsm.VRRPBackup, cmp.Or(m.Reason, "it leads no more")
	case s.LeaderID == "":
		return was, ""
	case leads && m.State == StateMaster && was == fsm.VRRPFault:
		return fsm.VRRPMaster, "it is well again"
	case leads && m.State == StateMaster:
		return fsm.VRRPMaster, l.tenure.origin.reason
	case leads && was == fsm.VRRPMaster:
		return was, "" // an address that was moved away is fetched back, a drain may leave it here
	case leads:
		return fsm.VRRPBackup, cmp.Or(m.Reason, "it leads, and does not hold the address yet")
	}
	return fsm.VRRPBackup, cmp.Or(m.Reason, l.name(s.LeaderID)+" leads")
}

// unjudged says that the first checks of a node are still running.
func unjudged(r fsm.Report) bool { return r.Health != fsm.HealthFault && r.ClaimFault == "" }

func (l *loop) tellProblems(s Status) {
	now, ended := map[problem]string{}, fsm.PhaseLapsed
	if l.tenure != nil && s.RaftState == raft.Leader.String() {
		if ended = fsm.PhaseOver; l.tenure.ready() {
			now = problems(s)
		}
	}
	was := l.told.problems
	l.told.problems = now
	for _, p := range sorted(was) {
		if _, still := now[p]; !still {
			l.emit(fsm.Event{Kind: p.kind, Subject: p.subject, Phase: ended, Reason: was[p]})
		}
	}
	for _, p := range sorted(now) {
		if _, known := was[p]; !known {
			l.emit(fsm.Event{Kind: p.kind, Subject: p.subject, Phase: fsm.PhaseBegan, Reason: now[p]})
		}
	}
}

// problems are those that the leader sees in s, each with its reason.
func problems(s Status) map[problem]string {
	found := map[problem]string{}
	for _, a := range s.Addresses {
		if a.Error != "" {
			found[problem{fsm.EventUnconfirmed, a.IP.String()}] = a.Error
		}
		if a.Contested > 0 {
			found[problem{fsm.EventContested, a.IP.String()}] = "a person, or a second cluster: claims are held back, longer each time"
		}
	}
	eligible := false
	for _, m := range s.Members {
		eligible = eligible || m.Eligible
		if m.State == StateUnreachable && m.Voter {
			found[problem{fsm.EventUnreachable, m.Member.Name}] = m.Member.Name + " does not answer"
		}
	}
	if !eligible {
		found[problem{fsm.EventNobody, ""}] = s.Decision.Reason.String()
	}
	return found
}

func sorted(p map[problem]string) []problem {
	return slices.SortedFunc(maps.Keys(p), func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.subject, b.subject))
	})
}
