package fsm

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// Applied is what applying one log entry came to: the same on every member.
type Applied struct {
	// Warning says why the entry changed nothing although it should have; worth a line
	// in the log.
	Warning string
	// Void marks a ticket that gives no right to write: it was queued across a change of
	// leader, or is not newer than the one stored.
	Void bool
}

// fill makes the maps that are missing.
func (s *State) fill() {
	if s.Members == nil {
		s.Members = map[string]Member{}
	}
	if s.Reports == nil {
		s.Reports = map[string]Report{}
	}
	if s.Claims == nil {
		s.Claims = map[netip.Addr]Holding{}
	}
	if s.Drains == nil {
		s.Drains = map[string]Drain{}
	}
}

// clone returns a deep copy.
func (s State) clone() State {
	s.Members = maps.Clone(s.Members)
	s.Reports = maps.Clone(s.Reports)
	for id, r := range s.Reports {
		r.Checks = slices.Clone(r.Checks)
		s.Reports[id] = r
	}
	s.Claims = maps.Clone(s.Claims)
	s.Drains = maps.Clone(s.Drains)
	s.Transitions = slices.Clone(s.Transitions)
	if s.Paused != nil {
		paused := *s.Paused
		s.Paused = &paused
	}
	return s
}

// apply changes s by c, an entry of the raft term term. It depends on nothing else, so
// that every member arrives at the same State.
func (s *State) apply(c Command, term uint64) Applied {
	switch {
	case c.Found != nil:
		return s.found(*c.Found)
	case c.Member != nil:
		return s.putMember(*c.Member)
	case c.Report != nil:
		return s.putReport(*c.Report)
	case c.Ticket != nil:
		return s.takeTicket(*c.Ticket, term)
	case c.Release != nil:
		s.releaseTicket(*c.Release)
	case c.Claim != nil:
		return s.putClaim(*c.Claim)
	case c.Handover != nil:
		s.handOver(*c.Handover)
	case c.Transition != nil:
		s.record(*c.Transition)
	case c.Leads != nil:
		if s.Preferred != c.Leads.Member {
			s.Preferred = ""
		}
	case c.Drain != nil:
		return s.drain(*c.Drain)
	case c.Undrain != nil:
		s.undrain(*c.Undrain)
	case c.Pause != nil:
		s.pause(*c.Pause)
	case c.Resume != nil:
		s.Paused = nil
	}
	return Applied{}
}

func (s *State) found(f Found) Applied {
	switch {
	case f.ClusterID == "":
		return warn("a cluster without an ID")
	case s.ClusterID == "":
		s.ClusterID = f.ClusterID
	case s.ClusterID != f.ClusterID:
		return warn("this is cluster %s already, not %s", s.ClusterID, f.ClusterID)
	}
	return Applied{}
}

func (s *State) putMember(m Member) Applied {
	if m.ID == "" {
		return warn("a member without an ID (name %q)", m.Name)
	}
	s.Members[m.ID] = m
	return Applied{}
}

// putReport drops what is not newer: a report may arrive twice, or late.
func (s *State) putReport(r Report) Applied {
	if _, ok := s.Members[r.Member]; !ok {
		return warn("a report of %q, which is no member", r.Member)
	}
	if old, ok := s.Reports[r.Member]; ok && old.Boot == r.Boot && old.Seq >= r.Seq {
		return Applied{}
	}
	s.Reports[r.Member] = r
	return Applied{}
}

func (s *State) takeTicket(t Ticket, term uint64) Applied {
	newer := cmp.Or(cmp.Compare(t.Epoch, s.Ticket.Epoch), cmp.Compare(t.Seq, s.Ticket.Seq)) > 0
	if t.Epoch != term || !newer {
		return Applied{Void: true}
	}
	t.Released = false
	s.Ticket = t
	return Applied{}
}

// releaseTicket is idempotent; a ticket that has been succeeded needs no release.
func (s *State) releaseTicket(t Ticket) {
	if s.Ticket.Epoch == t.Epoch && s.Ticket.Node == t.Node && s.Ticket.Seq == t.Seq {
		s.Ticket.Released = true
	}
}

func (s *State) putClaim(h Holding) Applied {
	if !h.IP.IsValid() {
		return warn("a claim by %q without a floating IP", h.Holder)
	}
	s.Claims[h.IP] = h
	return Applied{}
}

// handOver ends an operator's earlier wish, whatever it was; a new one takes its place.
func (s *State) handOver(h Handover) {
	s.Handover, s.Preferred = h, h.Chosen
	if h.Requested {
		s.Preferred = h.To
	}
}

func (s *State) record(t Transition) {
	// A leader that got no answer proposes it again.
	if slices.ContainsFunc(s.Transitions, func(old Transition) bool {
		return old.IP == t.IP && old.Term == t.Term && old.At.Equal(t.At)
	}) {
		return
	}
	s.Transitions = append(s.Transitions, t)
	if extra := len(s.Transitions) - MaxTransitions; extra > 0 {
		s.Transitions = slices.Delete(s.Transitions, 0, extra)
	}
}

func (s *State) drain(d Drain) Applied {
	if _, ok := s.Members[d.Member]; !ok {
		return warn("a drain of %q, which is no member", d.Member)
	}
	s.Drains[d.Member] = d
	return Applied{}
}

func (s *State) undrain(u Undrain) {
	if u.Until.IsZero() || u.Until.Equal(s.Drains[u.Member].Until) {
		delete(s.Drains, u.Member)
	}
}

// pause keeps the order that is in force: who gives it again learns since when.
func (s *State) pause(p Pause) {
	if s.Paused == nil {
		s.Paused = &p
	}
}

func warn(format string, args ...any) Applied {
	return Applied{Warning: fmt.Sprintf(format, args...)}
}
