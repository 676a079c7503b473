package checker

import (
	"slices"
	"strings"
	"time"
)

// move is a change of the holder.
type move struct {
	Holder
	// delay is how long the cloud, told so by the lab, kept the write from taking
	// effect, beside Assign. 0 if the move is foreign.
	delay time.Duration
}

// movesOf finds the moves and the writes that caused them.
func movesOf(h History) []move {
	var out []move
	holder := Nobody
	for _, x := range h.Holders {
		if x.To == holder {
			continue
		}
		holder = x.To
		m := move{Holder: x}
		if !x.Foreign {
			m.delay = delayOf(h.Writes, x)
		}
		out = append(out, m)
	}
	return out
}

// delayOf looks at the last write accepted before x that asked for it.
func delayOf(writes []Write, x Holder) time.Duration {
	var last Write
	for _, w := range writes {
		if w.Accepted != 0 && w.Accepted <= x.At && w.Target == x.To && w.Accepted > last.Accepted {
			last = w
		}
	}
	return max(0, last.Accepted-last.Arrived+last.Held)
}

// meant is when the move would have taken effect without the lab's delay.
func (m move) meant() time.Duration { return m.At - m.delay }

// deviates reports that no balancer has just wanted the move: it comes from outside, or
// of a write that the lab kept back.
func (m move) deviates() bool { return m.Foreign || m.delay > transit }

// deviations are the times at which the address was moved away, as the cloud or as the
// lab tells it.
func (c *court) deviations() []time.Duration {
	var out []time.Duration
	for _, m := range c.moves {
		if m.deviates() {
			out = append(out, m.At)
		}
	}
	for _, t := range c.Truth {
		if t.Drift {
			out = append(out, t.At)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// targets is P3: no balancer gets the address that has been without its HAProxy for
// longer than Detect + Assign, while another was fit all that time.
func (c *court) targets() {
	for _, m := range c.moves {
		if m.Foreign || m.To == Outside || m.To == Nobody {
			continue
		}
		spells := c.during(m.meant()-c.Setup.Detect-c.Setup.Assign, m.meant())
		better := betterThan(m.To, spells)
		if len(better) > 0 {
			c.complain("P3", m.At, "the address moves to %s, which has not served since %v; %s could have had it",
				m.To, round(spells[0].At), strings.Join(better, ", "))
		}
	}
}

// betterThan lists who was fit in all spells, in none of which node served.
func betterThan(node string, spells []spell) []string {
	var better []string
	for i, s := range spells {
		if n, known := s.Nodes[node]; s.Rough || !known || n.Serving {
			return nil
		}
		fit := s.fit()
		if i == 0 {
			better = fit
		}
		better = slices.DeleteFunc(better, func(name string) bool { return !slices.Contains(fit, name) })
	}
	return better
}

// causes is P5: a balancer moves the address only from when the lab gave a reason until
// Cause + Assign later, or until the lab has seen everything at rest. Reasons are Truth entries with MayMove or Drift, and moves that
// no balancer wanted. An entry counts from its At, however long its condition lasts; only
// if it is Rough besides is it a reason anew until that ends. What was before the first
// Truth is not judged.
func (c *court) causes() {
	for _, m := range c.moves {
		if !m.Foreign && len(c.Truth) > 0 && m.At > c.Truth[0].At && !c.caused(m.meant()) {
			c.complain("P5", m.At, "the address moves to %s without a cause", m.To)
		}
	}
}

func (c *court) caused(at time.Duration) bool {
	within := func(from, to time.Duration) bool { return from <= at && at <= to+c.Setup.Cause+c.Setup.Assign }
	rest := c.lastRest(at)
	for i, s := range c.spells {
		if s.At < rest {
			continue
		}
		last := s.At
		if s.MayMove {
			for _, next := range c.spells[i:] {
				if !next.Rough {
					break
				}
				last = next.until
			}
		}
		if (s.MayMove || s.Drift) && within(s.At, last) {
			return true
		}
	}
	return slices.ContainsFunc(c.moves, func(m move) bool { return m.deviates() && m.At >= rest && within(m.At, m.At) })
}

// lastRest is when the lab last saw everything at rest, before at.
func (c *court) lastRest(at time.Duration) (last time.Duration) {
	for _, s := range c.spells {
		if s.Rest && s.At <= at {
			last = s.At
		}
	}
	return last
}
