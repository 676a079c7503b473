package main

import (
	"fmt"
	"time"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/fsm"
)

// viewOf is the node's own view in the words of the API.
func viewOf(s cluster.Status, now time.Time) api.Status {
	view := api.Status{
		Cluster: s.Cluster, Time: now.UTC(), Version: s.Self.Version, Self: s.Self.Name,
		Raft:           raftView(s, now),
		Members:        make([]api.Member, 0, len(s.Members)),
		FloatingIPs:    make([]api.FloatingIP, 0, len(s.Addresses)),
		LastTransition: transitionView(s.Last, s.Members),
		Paused:         pauseView(s.Paused),
		Warnings:       warnings(s),
	}
	for _, m := range s.Members {
		member := memberView(m)
		if s.LeaderID == "" && m.State == cluster.StateUnreachable {
			member.Reason = "without a leader nobody knows"
		}
		view.Members = append(view.Members, member)
	}
	for _, a := range s.Addresses {
		view.FloatingIPs = append(view.FloatingIPs, api.FloatingIP{
			IP: a.IP.String(), Holder: a.Holder, Instance: a.Instance, State: api.IPState(a.State),
			VerifiedAt: unlessZero(a.VerifiedAt), Term: a.Term, Since: unlessZero(a.Since),
		})
	}
	return view
}

func raftView(s cluster.Status, now time.Time) api.Raft {
	r := api.Raft{State: s.RaftState, Term: s.Term, Leader: nameOf(s.LeaderID, s.Members), Voters: s.Voters}
	if s.Voters > 0 {
		r.Quorum = s.Voters/2 + 1
	}
	reachable := s.Reachable
	if !s.Leads() && s.LeaderID != "" {
		reachable = s.Voters // only the leader knows better
	}
	r.Tolerates = max(reachable-r.Quorum, 0)
	if contact := int64(0); s.Leads() {
		r.LastContactMS = &contact
	} else if !s.LastContact.IsZero() {
		contact = now.Sub(s.LastContact).Milliseconds()
		r.LastContactMS = &contact
	}
	return r
}

func memberView(m cluster.MemberStatus) api.Member {
	view := api.Member{
		ID: m.Member.Name, Address: m.Member.Address, Role: string(m.Member.Role), Voter: m.Voter,
		State: api.MemberState(m.State), Priority: m.Member.Priority, EffectivePriority: m.Report.Priority,
		Eligible: m.Eligible, Reason: m.Reason, Drain: drainView(m.Drain), Instance: m.Member.Instance,
		Version: m.Member.Version, ConfigDigest: m.Member.ConfigDigest,
		Checks: make([]api.Check, 0, len(m.Report.Checks)),
	}
	if m.Report.Member == "" { // it has not reported yet
		view.EffectivePriority = m.Member.Priority
	}
	for _, c := range m.Report.Checks {
		view.Checks = append(view.Checks, api.Check{Name: c.Name, OK: c.OK, Weight: c.Weight, Output: c.Output, Since: c.Since.UTC()})
	}
	return view
}

func drainView(d fsm.Drain) *api.Drain {
	if d.Member == "" {
		return nil
	}
	return &api.Drain{Since: d.Since.UTC(), Until: unlessZero(d.Until)}
}

func pauseView(p *fsm.Pause) *api.Pause {
	if p == nil {
		return nil
	}
	return &api.Pause{Since: p.Since.UTC(), By: p.By}
}

func transitionView(t *fsm.Transition, members []cluster.MemberStatus) *api.Transition {
	if t == nil {
		return nil
	}
	return &api.Transition{
		At: t.At.UTC(), From: nameOf(t.From, members), To: nameOf(t.To, members), Reason: t.Reason,
		StagesMS: api.Stages{
			Detect: api.Millis(t.Stages.Detect), Elect: api.Millis(t.Stages.Elect), Claim: api.Millis(t.Stages.Claim),
			Confirm: api.Millis(t.Stages.Confirm), Total: api.Millis(t.Stages.Total()),
		},
	}
}

// warnings are what an operator should know although the cluster may be healthy.
func warnings(s cluster.Status) []string {
	found := make([]string, 0)
	if s.LeaderID == "" && len(s.Members) > 0 {
		found = append(found, fmt.Sprintf("no leader: of the address, and of all members but %s, this is what the log last said", s.Self.Name),
			fmt.Sprintf("without a leader nobody moves the address; %d of %d voters must be in contact to elect one", s.Voters/2+1, s.Voters))
	}
	if p := pauseView(s.Paused); p != nil {
		found = append(found, fmt.Sprintf("paused %s: buoy leaves the address where it is, even with a node that dies, until \"buoy resume\"", pausedSince(*p)))
	}
	found = append(found, sizeWarnings(s)...)
	for _, m := range s.Members {
		switch {
		case m.State != cluster.StateUnreachable:
			found = append(found, memberWarnings(m)...)
		case s.LeaderID != "": // else only guessed; what its checks once said is over
			found = append(found, m.Member.Name+" does not answer") // Reason may name another bar
		}
		if m.Member.Role == s.Self.Role && m.Member.ConfigDigest != s.Self.ConfigDigest {
			found = append(found, fmt.Sprintf("%s and %s differ in settings that must agree: cluster, timing, floating_ips, provider, verify_interval",
				m.Member.Name, s.Self.Name))
		}
	}
	for _, a := range s.Addresses {
		if a.Error != "" {
			found = append(found, fmt.Sprintf("%s: %s", a.IP, a.Error))
		}
		if a.Contested > 0 {
			found = append(found, contested(a))
		}
	}
	return found
}

// contested says that somebody else moves the address away again and again.
func contested(a cluster.AddressStatus) string {
	warning := fmt.Sprintf("somebody else keeps moving %s away: a person, or a second cluster? It was claimed back %d times, and is now left for longer each time", a.IP, a.Contested)
	if !a.ClaimAfter.IsZero() {
		warning += ", this time until " + a.ClaimAfter.Local().Format(time.TimeOnly)
	}
	return warning
}

// memberWarnings are what bars a member that answers, and what its checks complain of. Of
// one in FAULT they say it better.
func memberWarnings(m cluster.MemberStatus) []string {
	var found []string
	if m.Reason != "" && m.State != cluster.StateWitness && m.Report.Health != fsm.HealthFault {
		found = append(found, m.Reason)
	}
	if r := m.Report; r.Damped {
		found = append(found, fmt.Sprintf("%s has failed %d times: damped until it has been well for %v", m.Member.Name, r.Falls, fsm.DampingDelay(r.Falls)))
	}
	for _, c := range m.Report.Checks {
		switch {
		case c.Known && !c.OK:
			found = append(found, fmt.Sprintf("%s: check %s fails: %s", m.Member.Name, c.Name, c.Output))
		case c.OK && c.Warn:
			found = append(found, fmt.Sprintf("%s: check %s passes, but: %s", m.Member.Name, c.Name, c.Output))
		}
	}
	return found
}

// nameOf is the name of the member with this ID; what is no ID stays as it is.
func nameOf(id string, members []cluster.MemberStatus) string {
	for _, m := range members {
		if m.Member.ID == id {
			return m.Member.Name
		}
	}
	return id
}

func unlessZero(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
