package checker_test

import (
	"slices"
	"time"

	"github.com/buoy-lb/buoy/test/lab/checker"
)

const (
	ms = time.Millisecond
	s  = time.Second
)

// history is a History with words to make one.
type history struct{ checker.History }

// good is the record of a correct run: lb1 holds the address, loses its HAProxy at 20 s
// to lb2, takes over again at 40 s, and has the address moved away at 70 s.
func good() *history {
	h := &history{checker.History{
		Setup: checker.Setup{
			System: "buoy", Seed: 7, Nodes: []string{"lb1", "lb2", "lb3"}, Assign: s,
			Settle: 3 * s, Detect: s, Repair: 5 * s, Cause: 10 * s, Minority: 3 * s,
		},
		End: 100 * s,
	}}
	h.truth(0, "all well", checker.Truth{MayMove: true})
	h.claim(1*s, "lb1", 2, 1)
	for _, n := range h.Setup.Nodes {
		h.Acks = append(h.Acks, checker.Ack{At: s, Member: n})
	}
	h.truth(20*s, "kill HAProxy on lb1", checker.Truth{MayMove: true}).serving("lb1", false)
	h.claim(20500*ms, "lb2", 3, 1)
	h.truth(40*s, "start HAProxy on lb1", checker.Truth{MayMove: true}).serving("lb1", true)
	h.claim(40500*ms, "lb1", 4, 1)
	h.truth(70*s, "move the address away", checker.Truth{Drift: true})
	h.Holders = append(h.Holders, checker.Holder{At: 70*s + 100*ms, To: checker.Outside, Foreign: true})
	h.claim(73*s, "lb1", 4, 2)
	for at := 5 * s; at < h.End; at += 5 * s {
		leader, term := "lb1", uint64(2)
		switch {
		case at > 40*s:
			term = 4
		case at > 20*s:
			leader, term = "lb2", 3
		}
		h.Samples = append(h.Samples, checker.Sample{
			At: at, Node: leader, Leader: leader, Leads: true, Term: term,
			Voters: 3, Members: slices.Clone(h.Setup.Nodes), Moved: int64(term) * 1e9,
		})
	}
	h.Requests = []checker.Request{{Begun: 3 * s, Ended: 3*s + ms, OK: true, By: "lb1"}, {Begun: 20 * s, Ended: 21 * s, Error: "refused"}}
	return h
}

// truth adds an entry that differs from the last by what is set in t.
func (h *history) truth(at time.Duration, fault string, t checker.Truth) *history {
	t.At, t.Fault, t.Nodes = at, fault, map[string]checker.Condition{}
	for _, n := range h.Setup.Nodes {
		t.Nodes[n] = checker.Condition{Serving: true, Daemon: true, Voter: true, API: true}
	}
	if len(h.Truth) > 0 {
		for n, c := range h.Truth[len(h.Truth)-1].Nodes {
			t.Nodes[n] = c
		}
	}
	h.Truth = append(h.Truth, t)
	return h
}

// change alters the condition of node from the newest Truth on.
func (h *history) change(node string, how func(*checker.Condition)) *history {
	nodes := h.Truth[len(h.Truth)-1].Nodes
	c := nodes[node]
	how(&c)
	nodes[node] = c
	return h
}

func (h *history) serving(node string, yes bool) *history {
	return h.change(node, func(c *checker.Condition) { c.Serving = yes })
}

func (h *history) daemon(node string, yes bool) *history {
	return h.change(node, func(c *checker.Condition) { c.Daemon = yes })
}

// ticket adds one with a write begun 6 ms after t0.
func (h *history) ticket(node string, epoch, seq uint64, t0 time.Duration) {
	h.Tickets = append(h.Tickets, ticket(node, epoch, seq, t0))
}

func ticket(node string, epoch, seq uint64, t0 time.Duration) checker.Ticket {
	return checker.Ticket{Node: node, Epoch: epoch, Seq: seq, T0: t0, Until: t0 + 750*ms, Granted: t0 + 5*ms, Begun: t0 + 6*ms}
}

// write adds one that is accepted at once.
func (h *history) write(node string, epoch uint64, at time.Duration) *checker.Write {
	h.Writes = append(h.Writes, checker.Write{
		Arrived: at, Accepted: at, Node: node, Epoch: epoch, Token: node, Target: node, Outcome: "accepted",
	})
	return &h.Writes[len(h.Writes)-1]
}

// claim is a whole one: ticket, write, effect and role.
func (h *history) claim(t0 time.Duration, node string, epoch, seq uint64) {
	h.ticket(node, epoch, seq, t0)
	h.write(node, epoch, t0+10*ms)
	h.Holders = append(h.Holders, checker.Holder{At: t0 + 10*ms + h.Setup.Assign, To: node})
	h.Roles = append(h.Roles, checker.Role{At: t0 + h.Setup.Assign + 20*ms, Node: node, State: "MASTER", Term: epoch})
}

// cut separates each of the hosts from lb1, both ways, from the newest Truth on.
func (h *history) cut(from string, to ...string) *history {
	t := &h.Truth[len(h.Truth)-1]
	for _, host := range to {
		t.Cut = append(t.Cut, [2]string{from, host}, [2]string{host, from})
	}
	return h
}
