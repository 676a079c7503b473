package checker

import (
	"slices"
	"time"
)

// lag is how much older than its time a sample's answer may be on a busy machine, and
// how long a daemon that comes to its senses may take itself for the leader. Samples
// that are no further apart are not compared.
const lag = time.Second

// memory is P7: what was acknowledged is never lost.
func (c *court) memory() {
	c.epochs()
	leads := c.leaders()
	c.members(leads)
	c.backwards("term", leads, func(s Sample) int64 { return int64(s.Term) })
	c.backwards("time of the last move", leads, func(s Sample) int64 { return s.Moved })
}

// epochs: tickets in order of T0 rise by epoch, then seq, and an epoch has one node.
func (c *court) epochs() {
	owners := map[uint64]string{}
	for i, b := range c.Tickets {
		if owner, ok := owners[b.Epoch]; ok && owner != b.Node {
			c.complain("P7", b.T0, "a ticket of %s in epoch %d, which is of %s", b.Node, b.Epoch, owner)
		}
		owners[b.Epoch] = b.Node
		if i == 0 {
			continue
		}
		a := c.Tickets[i-1]
		if b.Epoch < a.Epoch || b.Epoch == a.Epoch && b.Seq <= a.Seq {
			c.complain("P7", b.T0, "a ticket of %s of epoch %d seq %d after one of %s of epoch %d seq %d",
				b.Node, b.Epoch, b.Seq, a.Node, a.Epoch, a.Seq)
		}
	}
}

// leaders are the samples of leaders that had not just been hung or down.
func (c *court) leaders() []Sample {
	var out []Sample
	for _, s := range c.Samples {
		if s.Leads && !c.ever(s.At-lag, s.At, func(t spell) bool { return t.down(s.Node) }) {
			out = append(out, s)
		}
	}
	return out
}

// members: who has joined is listed and counted, until it is to leave.
func (c *court) members(leads []Sample) {
	for _, s := range leads {
		joined := map[string]bool{}
		for _, a := range c.Acks {
			switch {
			case a.Left && a.At <= s.At+lag:
				delete(joined, a.Member)
			case !a.Left && a.At <= s.At-lag:
				joined[a.Member] = true
			}
		}
		for _, a := range c.Acks {
			if joined[a.Member] && !slices.Contains(s.Members, a.Member) {
				c.complain("P7", s.At, "leader %s does not list %s, which joined at %v", s.Node, a.Member, round(a.At))
				delete(joined, a.Member) // once is enough
			}
		}
		if s.Voters < len(joined) {
			c.complain("P7", s.At, "leader %s counts %d voters, and %d members have joined", s.Node, s.Voters, len(joined))
		}
	}
}

// backwards complains where a value that can only grow has shrunk.
func (c *court) backwards(what string, leads []Sample, value func(Sample) int64) {
	var most Sample // of those before s by more than lag
	seen := 0
	for _, s := range leads {
		for ; seen < len(leads) && leads[seen].At < s.At-lag; seen++ {
			if value(leads[seen]) > value(most) {
				most = leads[seen]
			}
		}
		if value(s) < value(most) {
			c.complain("P7", s.At, "the %s goes back: %d at leader %s, after %d at %s at %v",
				what, value(s), s.Node, value(most), most.Node, round(most.At))
		}
	}
}
