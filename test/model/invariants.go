package model

import (
	"strings"

	"github.com/buoy-lb/buoy/fsm"
)

// invariant is what holds in every state.
func (c *cluster) invariant(s state) string {
	for i := range uint8(nodes) {
		for j := range i {
			switch a, b := s.node[i], s.node[j]; {
			case a.leads && b.leads && a.term == b.term:
				return "I0: two leaders of one term"
			case s.entitled(i) && s.entitled(j):
				return "I1: two nodes have a valid ticket"
			}
		}
	}
	return ""
}

// deposed: a fast campaign is for a leader that has died.
func (c *cluster) deposed(s state, i uint8) string {
	for _, j := range peers(i) {
		if l := s.node[j]; s.linked(i, j) && l.leads && l.term >= s.node[i].term {
			return "I8: a fast campaign deposes a leader that is alive"
		}
	}
	return ""
}

// judge says which rule a decision breaks by what the leader itself knew.
func judge(v fsm.View, d fsm.Decision) string {
	moves := d.Kind == fsm.Transfer || d.Kind == fsm.Claim
	text := d.Reason.String()
	target := find(v, d.Target)
	switch {
	case d.Reason.Code == "" || text == "" || text == string(d.Reason.Code) || strings.ContainsAny(text, "{}"):
		return "I7: a decision without a reason"
	case d.Kind == fsm.Claim && !able(find(v, v.Self)):
		return "I3: an ineligible node begins a claim"
	case d.Kind == fsm.Transfer && (d.Target == v.Self || !able(target)):
		return "I5: a hand-over to one that may not lead"
	case moves && unseats(v, d):
		return "I4: the address leaves a healthy holder for one that does not outrank it"
	}
	return ""
}

// unseats says that d takes the address from a holder that may keep it: the leader, or,
// when that was elected by chance, the holder of record.
func unseats(v fsm.View, d fsm.Decision) bool {
	seat, heir := v.Self, d.Target
	if v.Vacant && v.Preferred != v.Self && v.Incumbent != "" {
		seat = v.Incumbent
	}
	if d.Kind == fsm.Claim {
		heir = v.Self
	}
	holder := find(v, seat)
	asked := d.Reason.Code == fsm.ReasonRequested
	return heir != seat && !asked && able(holder) && find(v, heir).Report.Priority <= holder.Report.Priority
}

func find(v fsm.View, id string) fsm.Candidate {
	for _, c := range v.Candidates {
		if c.Member.ID == id {
			return c
		}
	}
	return fsm.Candidate{}
}

// able is eligibility again, in other words than fsm.Eligible.
func able(c fsm.Candidate) bool {
	r := c.Report
	return r != nil && (r.Health == fsm.HealthOK || r.Health == fsm.HealthDegraded) && r.ClaimFault == "" &&
		c.Member.Role == fsm.RoleBalancer && c.Voter && c.Reachable && c.CaughtUp
}

// fit says that i may hold the address in truth.
func (c *cluster) fit(s *state, i uint8) bool {
	n := s.node[i]
	witness := c.witness && i == 2
	return n.up && (n.health == good || n.health == degraded) && !witness
}

// atRest says what is wrong with a state that nothing moves any more: the address is not
// with the best fit node of a majority.
func (c *cluster) atRest(s state) string {
	if h := s.cloud; h != none && c.fit(&s, h) && s.node[h].ready {
		for _, i := range peers(h) {
			if s.linked(h, i) && c.fit(&s, i) && c.better(&s, i, h) {
				return "I6: it rests at " + name(h) + ", and " + name(i) + " is better"
			}
		}
		return ""
	}
	for i := range uint8(nodes) {
		for _, j := range peers(i) {
			kept := c.strict || !c.beyondReach(&s, i)
			if s.linked(i, j) && c.fit(&s, i) && kept {
				return "I6: " + name(i) + " is fit and in a majority, and the address rests elsewhere"
			}
		}
	}
	return ""
}

// beyondReach says that a leader that has its majority does not reach i: where links are
// cut in pairs, it cannot give i the lead, and nobody else may take it.
func (c *cluster) beyondReach(s *state, i uint8) bool {
	for _, j := range peers(i) {
		if s.node[j].ready && s.linked(j, other(i, j)) && !s.linked(j, i) {
			return true
		}
	}
	return false
}

// better says that i takes over from h, which is fit and has claimed.
func (c *cluster) better(s *state, i, h uint8) bool {
	a, b := s.node[i].health, s.node[h].health
	if c.effective(i, a) <= c.effective(h, b) {
		return false
	}
	worse := b == degraded && a != degraded // h, which nothing protects then
	patient := i == 0 && c.noPreempt
	return worse || s.node[h].log.preferred != h && !patient
}

// handsOver says that a step begins a hand-over that no operator asked for: how many of
// them a cluster needs to settle is bounded.
func handsOver(from, to state) bool {
	for i := range from.node {
		n := to.node[i]
		if n.doing == handing && from.node[i].doing != handing && n.request != n.to {
			return true
		}
	}
	return false
}
