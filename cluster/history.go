package cluster

import (
	"net/netip"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

// handoverFresh is how lately a hand-over must have been announced to explain a term.
const handoverFresh = 10 * time.Second

// origin says how a node came to lead, for the record of the move that follows.
type origin struct {
	reason string
	// appointed: by a hand-over to this node, not by an election.
	appointed bool
	detect    time.Duration
	elect     time.Duration
}

// originOf explains a tenure that has just become ready: an announced hand-over to this
// node, or an election after the leader fell silent.
func (l *loop) originOf(t *tenure) origin {
	h := l.fsm.State().Handover
	announced := l.seen.handoverAt()
	if h.To == l.cfg.Member.ID && h.Term < t.term && t.readyAt.Sub(announced) < handoverFresh {
		return origin{reason: h.Reason, appointed: true, detect: h.Detect, elect: h.Elect + t.readyAt.Sub(announced)}
	}
	lost := l.lost
	if lost.name == "" || lost.candidateAt.IsZero() {
		return origin{reason: "first leader"}
	}
	if lost.name == l.cfg.Member.Name {
		return origin{reason: "lost the majority and found it again", elect: t.readyAt.Sub(lost.candidateAt)}
	}
	o := origin{reason: "leader " + lost.name + " fell silent", elect: t.readyAt.Sub(lost.candidateAt)}
	switch {
	case lost.suspicion.sign == byHangup:
		o.reason = "leader " + lost.name + " is gone"
		o.detect = max(0, lost.candidateAt.Sub(lost.suspicion.at))
	case !lost.contact.IsZero():
		o.detect = max(0, lost.candidateAt.Sub(lost.contact))
	}
	return o
}

// handover announces d. A leader that has claimed nothing in its term only passes the
// lead on: its successor's record tells of the fault that began it all.
func (l *loop) handover(d fsm.Decision) fsm.Handover {
	t := l.tenure
	asked := d.Reason.Code == fsm.ReasonRequested
	h := fsm.Handover{
		From: l.cfg.Member.ID, To: d.Target, Reason: d.Reason.String(), Term: t.term,
		// Whom an operator has put there before stays so when it gets the lead back.
		Requested: asked || d.Target == l.fsm.State().Preferred,
	}
	report, detect := l.self.get()
	switch {
	case !t.claimedAny() && !asked:
		h.Reason = t.origin.reason + ", then " + h.Reason
		h.Detect, h.Elect = t.origin.detect, t.origin.elect+time.Since(t.readyAt)
	case report.Health == fsm.HealthFault || report.Health == fsm.HealthDegraded:
		h.Detect = detect
	}
	return h
}

// announced says that h is this tenure's, of the node self.
func (t *tenure) announced(h fsm.Handover, self string) bool {
	return h.From == self && h.To != self && h.Term == t.term
}

// byChance says that this node leads by an election, and has claimed nothing since.
func (t *tenure) byChance() bool { return !t.origin.appointed && !t.claimedAny() }

// claimedAny says that this tenure has held an address.
func (t *tenure) claimedAny() bool {
	for _, a := range t.ips {
		if !a.since.IsZero() {
			return true
		}
	}
	return false
}

// transition is the record of a move that the cloud has just confirmed.
func (l *loop) transition(t *tenure, ip netip.Addr, a *address, out Outcome) fsm.Transition {
	tr := fsm.Transition{
		At: out.Confirmed, IP: ip, From: l.memberOf(out.From), To: l.cfg.Member.Name, Term: t.term,
	}
	if a.since.IsZero() { // not held yet in this term
		tr.Reason = t.origin.reason
		if t.paused {
			tr.Reason += "; claimed after a pause"
		}
		tr.Stages.Detect, tr.Stages.Elect = t.origin.detect, t.origin.elect
		tr.Stages.Claim = max(0, out.Accepted.Sub(t.readyAt))
	} else {
		// It may have happened at any time since the last look.
		d := a.drifted()
		tr.Reason = "the address had been moved away"
		switch {
		case d.paused:
			tr.Reason += " during a pause"
		case d.hint:
			tr.Reason += ", as a hint said"
		}
		if !d.since.IsZero() {
			tr.Stages.Detect = max(0, d.found.Sub(d.since))
		}
		tr.Stages.Claim = max(0, out.Accepted.Sub(d.found))
	}
	tr.Stages.Confirm = max(0, out.Confirmed.Sub(out.Accepted))
	if tr.From == "" {
		if c, ok := l.fsm.State().Claims[ip]; ok {
			tr.From = l.name(c.Holder)
		}
	}
	s := tr.Stages
	l.log.Info("moved", "ip", ip, "from", tr.From, "to", tr.To, "reason", tr.Reason,
		"detect", s.Detect, "elect", s.Elect, "claim", s.Claim, "confirm", s.Confirm, "total", s.Total(),
		"boottime_ns", int64(l.cfg.Boottime()))
	l.emit(fsm.Event{Kind: fsm.EventMoved, Subject: ip.String(), From: tr.From, Reason: tr.Reason})
	return tr
}

// memberOf names the member that is instance at the provider, or instance itself.
func (l *loop) memberOf(instance string) string {
	for _, m := range l.fsm.State().Members {
		if m.Instance == instance && instance != "" {
			return m.Name
		}
	}
	return instance
}
