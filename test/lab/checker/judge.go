package checker

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// buoy is the system that has tickets, and so rights to be judged (P1, P6, P7).
const buoy = "buoy"

// Violation is something that must never happen, and did.
type Violation struct {
	Property string // "P1" … "P8", see Judge
	At       time.Duration
	Text     string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s at %v: %s", v.Property, round(v.At), v.Text)
}

// Judge lists every violation in h, in order of time:
//
//	P1  who writes to the cloud has the right to, and one node at a time has it
//	P2  while conditions are calm, the address is at a fit balancer
//	P3  the address does not move to a balancer known to be unfit
//	P4  what moves the address away from outside is undone in time, by one write
//	P5  the address does not move without a cause
//	P6  who has no majority does not write
//	P7  nothing that was acknowledged is lost
//	P8  a planned move costs no request but what was under way when the network turned
//
// P1, P6 and P7 speak of tickets, terms and members, and are asked of buoy only.
func Judge(h History) []Violation {
	c := newCourt(h)
	if h.Setup.System == buoy {
		c.rights()
		c.minority()
		c.memory()
	}
	c.holding()
	c.repairs()
	c.repeats()
	c.targets()
	c.causes()
	c.losses()
	return c.verdict()
}

// Rights is P1 alone: it needs tickets, writes and, for masters, roles.
func Rights(h History) []Violation {
	c := newCourt(h)
	c.rights()
	return c.verdict()
}

// court is a history prepared for judgement: its lists sorted, and what follows from
// several of them.
type court struct {
	History
	spells []spell
	moves  []move
	// proof is the ticket of each write, nil if it has none.
	proof []*Ticket
	found []Violation
}

func newCourt(h History) *court {
	// A lab joins lists of several nodes; the caller's own are left as they are.
	h.Truth = inOrder(h.Truth, func(t Truth) time.Duration { return t.At })
	h.Writes = inOrder(h.Writes, func(w Write) time.Duration { return w.Arrived })
	h.Holders = inOrder(h.Holders, func(x Holder) time.Duration { return x.At })
	h.Tickets = inOrder(h.Tickets, func(t Ticket) time.Duration { return t.T0 })
	h.Roles = inOrder(h.Roles, func(r Role) time.Duration { return r.At })
	h.Requests = inOrder(h.Requests, func(r Request) time.Duration { return r.Begun })
	h.Samples = inOrder(h.Samples, func(s Sample) time.Duration { return s.At })
	h.Acks = inOrder(h.Acks, func(a Ack) time.Duration { return a.At })
	c := &court{History: h}
	c.spells = spellsOf(h)
	c.moves = movesOf(h)
	c.proof = c.prove()
	return c
}

func inOrder[T any](list []T, at func(T) time.Duration) []T {
	return slices.SortedStableFunc(slices.Values(list), func(a, b T) int { return cmp.Compare(at(a), at(b)) })
}

// complain adds what the lab had done last: that is what people look for first.
func (c *court) complain(property string, at time.Duration, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for _, s := range slices.Backward(c.spells) {
		if s.At <= at && s.Fault != "" {
			text += fmt.Sprintf(" (after %q at %v)", s.Fault, round(s.At))
			break
		}
	}
	c.found = append(c.found, Violation{property, at, text})
}

func (c *court) verdict() []Violation {
	slices.SortStableFunc(c.found, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Property, b.Property), cmp.Compare(a.Text, b.Text))
	})
	return c.found
}

// round makes a time readable.
func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
