package checker

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// holding is P2, and P4 as far as it is about time: in calm, once the bounds have
// passed, the address is at a fit balancer, without any exception.
func (c *court) holding() {
	for _, q := range c.calms() {
		for _, asked := range c.asked(q) {
			c.hold(asked)
			c.serve(asked)
		}
	}
}

// asked is q without the times that a system is given: Settle + Assign from its start,
// and Repair + Assign from each deviation.
func (c *court) asked(q calm) []calm {
	var out []calm
	from := q.from + c.Setup.Settle + c.Setup.Assign
	for _, d := range c.deviations() {
		if d >= q.until {
			break
		}
		if d > from {
			out = append(out, calm{from, d, q.fit})
		}
		from = max(from, d+c.Setup.Repair+c.Setup.Assign+c.hesitation(d))
	}
	if from < q.until {
		out = append(out, calm{from, q.until, q.fit})
	}
	return out
}

// hesitation is how much longer a system may take to repair a deviation when the address
// has been moved away several times lately: it must not fight somebody for ever. It gets 2 s
// for the fourth in 5 minutes, and twice as much for each further one, a minute at most.
func (c *court) hesitation(deviation time.Duration) time.Duration {
	const free, lately, first, most = 3, 5 * time.Minute, 2 * time.Second, time.Minute
	n := -free - 1
	for _, m := range c.moves {
		if m.deviates() && m.At <= deviation && m.At > deviation-lately {
			n++
		}
	}
	if n < 0 {
		return 0
	}
	return min(first<<min(n, 10), most)
}

// hold complains of every stretch in q in which the holder was not fit. Where a
// deviation has brought the address, P4 is what was violated.
func (c *court) hold(q calm) {
	last := move{} // Nobody
	check := func(from, until time.Duration) {
		if from >= until || slices.Contains(q.fit, last.To) {
			return
		}
		property, how := "P2", "the address is at %s until %v, while %s: fit"
		if last.deviates() {
			property, how = "P4", "the address is still at %s, where it was moved from outside, until %v, while %s: fit"
		}
		c.complain(property, from, how, nameOf(last.To), round(until), strings.Join(q.fit, ", "))
	}
	from := q.from
	for _, m := range c.moves {
		if m.At >= q.until {
			break
		}
		if m.At > from {
			check(from, m.At)
			from = m.At
		}
		last = m
	}
	check(from, q.until)
}

// unserved is how long a client may fail in a row while nothing is wrong: far more than a
// connection that was cut by a move, or a busy machine, can cost.
const unserved = time.Second

// serve complains of every stretch in q in which the client was not served, wherever the
// cloud says that the address is.
func (c *court) serve(q calm) {
	var first, last time.Duration // of the failures in a row; 0: none
	var why string
	end := func() {
		if last-first > unserved {
			c.complain("P2", first, "the client is not served until %v (%s), while %s: fit", round(last), why, strings.Join(q.fit, ", "))
		}
		first, last = 0, 0
	}
	start, _ := slices.BinarySearchFunc(c.Requests, q.from, func(r Request, from time.Duration) int { return cmp.Compare(r.Begun, from) })
	for _, r := range c.Requests[start:] {
		if r.Begun >= q.until {
			break
		}
		if r.OK {
			end()
			continue
		}
		if first == 0 {
			first, why = r.Begun, r.Error
		}
		last = r.Ended
	}
	end()
}

func nameOf(holder string) string {
	if holder == Nobody {
		return "nobody"
	}
	return holder
}

// repeats is P4, too: who has been told that the cloud moves the address to it does not
// ask again while that is under way, unless its leadership or the cloud is in trouble.
func (c *court) repeats() {
	for i, w := range c.Writes {
		done := c.takesEffect(w)
		for j, again := range c.Writes[i+1:] {
			if again.Arrived >= done {
				break
			}
			proved := c.proof[i] != nil && c.proof[i+1+j] != nil // else it is P1
			rough := c.ever(w.Arrived, again.Arrived, func(s spell) bool { return s.Rough })
			if again.Node == w.Node && again.Epoch == w.Epoch && proved && !rough {
				c.complain("P4", again.Arrived, "%s asks again in epoch %d for what is under way since %v",
					w.Node, w.Epoch, round(w.Accepted))
				break
			}
		}
	}
}

// takesEffect is when the address moves for w; 0 if it never does. A move is that of the
// last write before it that was accepted: the ones before have come to nothing.
func (c *court) takesEffect(w Write) time.Duration {
	for _, m := range c.moves {
		if w.Accepted == 0 || m.At < w.Accepted || m.To != w.Target {
			continue
		}
		later := slices.ContainsFunc(c.Writes, func(x Write) bool { return x.Accepted > w.Accepted && x.Accepted <= m.At })
		if later || m.At > w.Accepted+c.Setup.Assign+transit {
			return 0
		}
		return m.At
	}
	return 0
}

// repairs is P4 as far as it is about writes: in calm, at most one accepted write for
// each deviation. Deviations that follow one another closely are taken together, since a
// write for one may be accepted after the next.
func (c *court) repairs() {
	near := c.Setup.Repair + c.Setup.Assign
	for _, q := range c.calms() {
		var group []move
		for _, m := range c.moves {
			if !m.deviates() || m.At < q.from+c.Setup.Settle+c.Setup.Assign || m.At >= q.until {
				continue
			}
			if len(group) > 0 && m.At > group[len(group)-1].At+near {
				c.countRepairs(group, q.until)
				group = nil
			}
			group = append(group, m)
		}
		c.countRepairs(group, q.until)
	}
}

func (c *court) countRepairs(group []move, until time.Duration) {
	if len(group) == 0 {
		return
	}
	first, last := group[0].At, group[len(group)-1].At
	until = min(until, last+c.Setup.Repair+c.Setup.Assign)
	// What else may move the address may also take a write, but of another leader.
	apart := slices.ContainsFunc(c.Truth, func(t Truth) bool {
		return t.MayMove && !t.Drift && t.At >= first-c.Setup.Cause-c.Setup.Assign && t.At <= until
	})
	writes := map[string]int{}
	for _, w := range c.Writes {
		if w.Accepted <= first || w.Accepted > until {
			continue
		}
		leader := "the balancers"
		if apart {
			leader = fmt.Sprintf("%s in epoch %d", w.Node, w.Epoch)
		}
		if writes[leader]++; writes[leader] == len(group)+1 {
			c.complain("P4", w.Accepted, "%d writes by %s, the last by %s, for %d deviations since %v",
				writes[leader], leader, w.Node, len(group), round(first))
		}
	}
}
