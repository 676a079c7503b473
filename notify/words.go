package notify

import (
	"fmt"
	"strings"
	"time"

	"github.com/buoy-lb/buoy/fsm"
	"github.com/buoy-lb/buoy/program"
)

// message is an alert in words, and as data for programs.
type message struct {
	Title   string    `json:"title"`
	Text    string    `json:"message"`
	Cluster string    `json:"cluster"`
	Node    string    `json:"node"`
	Kind    string    `json:"kind"`
	Subject string    `json:"subject,omitempty"`
	From    string    `json:"from,omitempty"`
	Over    bool      `json:"over"`
	Reason  string    `json:"reason"`
	State   string    `json:"state,omitempty"` // of the node, if the alert is about that
	Term    uint64    `json:"term"`
	Leader  string    `json:"leader"`
	Since   time.Time `json:"since"`
	At      time.Time `json:"at"`
	Times   int       `json:"times"`
}

// message puts a into words.
func (id Identity) message(a alert) message {
	e := a.event
	m := message{
		Cluster: id.Cluster, Node: id.Node, Kind: string(e.Kind), Subject: e.Subject, From: e.From, Over: a.over,
		Reason: program.Summary(e.Reason), Term: e.Term, Leader: e.Leader,
		Since: a.since.UTC(), At: e.At.UTC(), Times: a.times,
	}
	if e.Kind == fsm.EventRole {
		m.State = string(e.State)
	}
	what := id.happened(a)
	m.Title = fmt.Sprintf("buoy %s: %s", id.Cluster, what)
	var b strings.Builder
	fmt.Fprintf(&b, "%s.\n", what)
	if !a.over {
		fmt.Fprintf(&b, "Why: %s.\n", m.Reason)
	}
	const stamp = "2006-01-02 15:04:05 MST"
	fmt.Fprintf(&b, "Since: %s.\n", m.Since.Format(stamp))
	if a.over {
		fmt.Fprintf(&b, "Until: %s, %v later.\n", a.until.UTC().Format(stamp), a.until.Sub(a.since).Round(time.Second))
	}
	if a.times > 1 {
		fmt.Fprintf(&b, "It has happened %d times since it was last told.\n", a.times)
	}
	leader := e.Leader
	if leader == "" {
		leader = "unknown"
	}
	fmt.Fprintf(&b, "\nTold by %s of cluster %s; term %d, leader %s.\n", id.Node, id.Cluster, e.Term, leader)
	m.Text = b.String()
	return m
}

// happened is a in one clause.
func (id Identity) happened(a alert) string {
	e := a.event
	switch e.Kind {
	case fsm.EventRole:
		if a.over {
			return fmt.Sprintf("%s is out of FAULT", id.Node)
		}
		return fmt.Sprintf("%s is in FAULT", id.Node)
	case fsm.EventMoved:
		switch e.From {
		case "":
			return fmt.Sprintf("%s has taken %s, which nobody held", id.Node, e.Subject)
		case id.Node:
			return fmt.Sprintf("%s has taken %s back", id.Node, e.Subject)
		}
		return fmt.Sprintf("%s has taken %s from %s", id.Node, e.Subject, e.From)
	case fsm.EventUnconfirmed:
		if a.over {
			return fmt.Sprintf("%s is confirmed again", e.Subject)
		}
		return fmt.Sprintf("%s cannot be confirmed", e.Subject)
	case fsm.EventContested:
		if a.over {
			return fmt.Sprintf("nobody moves %s away any more", e.Subject)
		}
		return fmt.Sprintf("somebody else keeps moving %s away", e.Subject)
	case fsm.EventNobody:
		if a.over {
			return "a member can hold the address again"
		}
		return "no member can hold the address"
	case fsm.EventUnreachable:
		if a.over {
			return fmt.Sprintf("%s answers again", e.Subject)
		}
		return fmt.Sprintf("%s does not answer", e.Subject)
	}
	if a.over {
		return fmt.Sprintf("%s is over: %s", e.Kind, e.Subject)
	}
	return fmt.Sprintf("%s: %s", e.Kind, e.Subject)
}
