package cluster

import (
	"time"

	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/fsm"
)

const (
	// reachableFor is how long an answer to a probe counts: two may be lost.
	reachableFor = 2500 * time.Millisecond
	// maxLag is how many entries a candidate may miss; a transfer asks for none.
	maxLag = 64
)

// view is what Decide gets to see.
func (l *loop) view(now time.Time) fsm.View {
	v := fsm.View{Self: l.cfg.Member.ID, Busy: l.busy()}
	t := l.tenure
	if t == nil {
		if id, _ := l.leader(); id != "" && id != l.cfg.Member.ID {
			v.LeaderName = l.name(id)
		}
		return v
	}
	state := l.fsm.State()
	v.Leader, v.Term, v.LeaderSince = t.ready(), t.term, t.since
	v.Preferred = state.Preferred
	v.Vacant = t.byChance()
	v.Incumbent = l.incumbent(state)
	// Nobody is refused as a target because he has not been asked yet.
	if l.request != nil && !l.probing() {
		v.Request = &l.request.Request
	}
	for _, s := range l.servers() {
		c := l.candidate(s, state, now)
		_, c.Drained = state.Drains[c.Member.ID]
		if ok, _ := fsm.Eligible(c); !ok {
			delete(t.eligible, c.Member.ID)
		} else if t.eligible[c.Member.ID].IsZero() {
			t.eligible[c.Member.ID] = now
		}
		c.EligibleSince = t.eligible[c.Member.ID]
		v.Candidates = append(v.Candidates, c)
	}
	if v.Paused = state.Paused != nil; v.Paused {
		t.pause()
	}
	for ip, a := range t.ips {
		v.IPs = append(v.IPs, fsm.IPView{IP: ip, Busy: a.busy, Due: a.next(), OwnFaults: a.ownFaults, Looked: a.looked, ClaimAfter: a.duel.claimAfter(now, a.held)})
	}
	return v
}

// incumbent is the ID of the holder of record or, if this tenure has found the address
// elsewhere, of the member that it points to; "" if there is none. All addresses move
// together: the first one's holder is the holder.
func (l *loop) incumbent(state fsm.State) string {
	if len(l.cfg.FloatingIPs) == 0 {
		return ""
	}
	ip := l.cfg.FloatingIPs[0]
	record, a := state.Claims[ip], l.tenure.ips[ip]
	if a == nil || a.instance == record.Instance || a.instance == "" && a.verifiedAt.IsZero() {
		return record.Holder
	}
	for id, m := range state.Members {
		if m.Instance == a.instance && m.Instance != "" {
			return id
		}
	}
	return ""
}

// candidate joins what the log says of a member with what it said itself when asked.
func (l *loop) candidate(s raft.Server, state fsm.State, now time.Time) fsm.Candidate {
	id := string(s.ID)
	c := fsm.Candidate{Voter: s.Suffrage == raft.Voter}
	if id == l.cfg.Member.ID {
		r, _ := l.self.get()
		c.Member, c.Report, c.Reachable, c.CaughtUp = l.cfg.Member, &r, true, true
		return c
	}
	p := l.tenure.peers[id]
	if p == nil || p.at.IsZero() {
		c.Member = state.Members[id]
		c.Member.ID = id
		if r, ok := state.Reports[id]; ok {
			c.Report = &r
		}
		return c
	}
	r := p.contact.Report
	c.Member, c.Report = p.contact.Member, &r
	c.Reachable = now.Sub(p.at) < reachableFor
	c.CaughtUp = p.contact.LastIndex+maxLag >= l.raft.LastIndex()
	c.BackoffUntil = l.bars[id].until(now, p.contact.LastIndex)
	c.UnprovenUntil = l.unproven[id]
	return c
}
