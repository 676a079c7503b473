package checker

import (
	"slices"
	"time"
)

// Tally is what became of the client's requests in the planned moves of a History.
type Tally struct {
	Moves    int // of the address
	Requests int // begun and ended in the meantime
	// Cut are those that failed as they were under way just when the network turned from
	// the old holder to the new: a TCP connection does not follow an address.
	Cut int
	// Failed are all others that failed.
	Failed int
}

// Planned counts over all the times in which a planned move was all that happened.
func Planned(h History) (sum Tally) {
	c := newCourt(h)
	for _, s := range c.planned() {
		t, _ := c.tally(s)
		sum.Moves += t.Moves
		sum.Requests += t.Requests
		sum.Cut += t.Cut
		sum.Failed += t.Failed
	}
	return sum
}

// losses is P8. Where the address did not move in the end, no move has cost anything.
func (c *court) losses() {
	for _, s := range c.planned() {
		if t, first := c.tally(s); t.Moves > 0 && t.Failed > 0 {
			c.complain("P8", first.Begun, "%d of %d requests fail in a planned move, the first with %q, none of them under way when the address moved",
				t.Failed, t.Requests, first.Error)
		}
	}
}

// planned are the spells that begin with a planned move and in which nothing else is
// wrong that a client could suffer from.
func (c *court) planned() []spell {
	var out []spell
	for _, s := range c.spells {
		// What was under way when the network was healed may still fail a little later.
		disturbed := c.ever(s.At-unserved, s.until, func(s spell) bool { return s.Rough || len(s.Cut) > 0 })
		if s.Planned && !disturbed && c.holderServes(s) && !c.losing(s) {
			out = append(out, s)
		}
	}
	return out
}

// holderServes reports whether s begins with the address at a balancer that serves.
func (c *court) holderServes(s spell) bool {
	holder := Nobody
	for _, m := range c.moves {
		if m.At > s.At {
			break
		}
		holder = m.To
	}
	return s.Nodes[holder].Serving
}

// losing reports whether a balancer has stopped serving so short a time before s that its
// peers need not know.
func (c *court) losing(s spell) bool {
	for name, n := range s.Nodes {
		served := func(before spell) bool { return before.Nodes[name].Serving }
		if !n.Serving && c.ever(s.At-c.Setup.Detect-c.Setup.Assign, s.At, served) {
			return true
		}
	}
	return false
}

// tally counts in s. first is the first request that failed for no reason of the network's.
func (c *court) tally(s spell) (t Tally, first Request) {
	var turns []move
	for _, m := range c.moves {
		if m.At >= s.At && m.At < s.until {
			turns = append(turns, m)
		}
	}
	t.Moves = len(turns)
	for _, r := range c.Requests {
		if r.Begun < s.At || r.Ended >= s.until {
			continue // what is under way at the end suffers what comes next
		}
		t.Requests++
		switch {
		case r.OK:
		case slices.ContainsFunc(turns, r.underWay):
			t.Cut++
		default:
			if t.Failed++; t.Failed == 1 {
				first = r
			}
		}
	}
	return t, first
}

// turning is how far the clocks of the client's request and of the network's turn may lie
// apart: each is read just before or after what it tells.
const turning = time.Millisecond

// underWay reports whether r was, while the network turned.
func (r Request) underWay(m move) bool {
	return r.Begun <= max(m.At, m.Routed)+turning && r.Ended >= m.At-turning
}
