package model

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

// penalty is what a failing weighted check costs.
const penalty = 60

var (
	now     = time.Unix(1_800_000_000, 0)
	address = netip.MustParseAddr("203.0.113.10")
)

// sight is all that a leader's view is made of.
type sight struct {
	self, holder, preferred uint8
	health                  health
	barred                  [nodes]uint8
	tenure                  tenure
}

// verdict is a decision, and what rule it breaks.
type verdict struct {
	fsm.Decision
	target uint8
	broken string
}

// decide asks fsm.Decide, or a mutant of it, and judges the answer by what the leader knew.
func (c *cluster) decide(s *state, i uint8) verdict {
	n := s.node[i]
	n.age, n.to = 0, 0
	key := sight{i, n.log.holder, n.log.preferred, n.health, n.barred, n.tenure}
	v, ok := c.decided[key]
	if !ok {
		view := c.view(key)
		v = verdict{Decision: fsm.Decide(fsm.DefaultPolicy, c.distort(view), now), target: none}
		c.overrule(view, &v.Decision)
		if v.Target != "" {
			v.target = v.Target[2] - '1'
		}
		v.broken = judge(view, v.Decision)
		c.decided[key] = v
	}
	return v
}

// view is what Decide gets to see: view.go of package cluster, from the model's state.
func (c *cluster) view(k sight) fsm.View {
	t := k.tenure
	v := fsm.View{
		Self: name(k.self), Leader: true, LeaderName: name(k.self), Busy: t.action(),
		LeaderSince: now.Add(-time.Hour), Vacant: !t.appointed && !t.claimed,
		IPs: []fsm.IPView{{IP: address, Busy: t.action() == fsm.ActionClaim}}, // a look is due at any time
	}
	if t.fresh {
		v.LeaderSince = now
	}
	if k.holder != none {
		v.Incumbent = name(k.holder)
	}
	if k.preferred != none {
		v.Preferred = name(k.preferred)
	}
	if t.request != none {
		v.Request = &fsm.Request{Target: name(t.request)}
	}
	t.known[k.self] = k.health
	for i := range uint8(nodes) {
		v.Candidates = append(v.Candidates, c.candidate(i, t.known[i], k.barred[i]))
	}
	return v
}

func (t *tenure) action() fsm.Action {
	switch t.doing {
	case idle:
		return fsm.ActionNone
	case handing:
		return fsm.ActionTransfer
	default:
		return fsm.ActionClaim
	}
}

func (c *cluster) candidate(i uint8, h health, barred uint8) fsm.Candidate {
	m := fsm.Member{
		ID: name(i), Role: fsm.RoleBalancer, Address: "192.0.2." + strconv.Itoa(int(i)+1) + ":7400",
		Priority: c.priority[i], Preempt: i != 0 || !c.noPreempt,
	}
	if c.witness && i == 2 {
		m.Role = fsm.RoleWitness
	}
	out := fsm.Candidate{Member: m, Voter: true, Reachable: h != silent, CaughtUp: true}
	if barred > 0 {
		out.BackoffUntil = now.Add(time.Minute)
	}
	if h != silent {
		out.Report = &fsm.Report{Member: m.ID, Health: h.report(), Priority: c.effective(i, h)}
	}
	return out
}

func (h health) report() fsm.Health {
	return [...]fsm.Health{fsm.HealthUnknown, fsm.HealthUnknown, fsm.HealthOK, fsm.HealthDegraded, fsm.HealthFault}[h]
}

// effective is the priority of i when its health is h.
func (c *cluster) effective(i uint8, h health) int {
	if h == degraded {
		return max(c.priority[i]-penalty, fsm.MinPriority)
	}
	return c.priority[i]
}

// distort is how the mutants of Decide see the world.
func (c *cluster) distort(v fsm.View) fsm.View {
	candidates := make([]fsm.Candidate, 0, nodes)
	for _, x := range v.Candidates {
		switch {
		case c.mutant == sickClaims && x.Member.ID == v.Self:
			x.Report = &fsm.Report{Health: fsm.HealthOK, Priority: x.Report.Priority}
		case c.mutant == blindTransfer && x.Member.ID != v.Self:
			x.Reachable, x.Report = true, &fsm.Report{Health: fsm.HealthOK, Priority: x.Member.Priority}
		}
		candidates = append(candidates, x)
	}
	v.Candidates = candidates
	return v
}

// overrule is what the mutants of Decide say instead.
func (c *cluster) overrule(v fsm.View, d *fsm.Decision) {
	if c.mutant != equalPreempts || d.Kind != fsm.Claim {
		return
	}
	self := find(v, v.Self)
	for _, x := range v.Candidates {
		if x.Member.ID > v.Self && able(x) && x.Report.Priority == self.Report.Priority {
			*d = fsm.Decision{Kind: fsm.Transfer, Target: x.Member.ID, Reason: fsm.Reason{Code: fsm.ReasonOutranked}}
		}
	}
}
