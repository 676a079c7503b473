package checker

import (
	"cmp"
	"slices"
	"time"
)

// transit is how long a request may be on its way from the socket to the cloud's journal
// on a busy machine. A ticket bounds when a write begins, not when it arrives.
const transit = 2 * time.Second

// rights is P1.
func (c *court) rights() {
	c.writers()
	c.overlaps()
	c.stale()
	c.masters()
}

// writers finds writes that were not a proved leader's, or came too late (P1a).
func (c *court) writers() {
	leaders := map[uint64]string{}
	var epoch uint64
	for i, w := range c.Writes {
		if w.Node == "" || w.Epoch == 0 || w.Token != w.Node {
			c.complain("P1", w.Arrived, "the write by %q in epoch %d with the token of %q names no leader", w.Node, w.Epoch, w.Token)
			continue
		}
		if other, ok := leaders[w.Epoch]; ok && other != w.Node {
			c.complain("P1", w.Arrived, "a write by %s: its epoch %d is also of %s", w.Node, w.Epoch, other)
		}
		leaders[w.Epoch] = w.Node
		tk := c.proof[i]
		switch {
		case tk == nil:
			c.complain("P1", w.Arrived, "the write by %s in epoch %d has no valid ticket", w.Node, w.Epoch)
		case w.Epoch < epoch && w.Held == 0 && !c.held(w.Node, tk.Granted, w.Arrived):
			c.complain("P1", w.Arrived, "a write by %s of epoch %d after one of epoch %d", w.Node, w.Epoch, epoch)
		}
		epoch = max(epoch, w.Epoch)
	}
}

// prove finds a ticket for each write. Of several that fit, the one that ends first is
// taken, so that none is missing because another write took it needlessly.
func (c *court) prove() []*Ticket {
	tickets := make([]*Ticket, len(c.Tickets))
	for i := range c.Tickets {
		tickets[i] = &c.Tickets[i]
	}
	slices.SortStableFunc(tickets, func(a, b *Ticket) int { return cmp.Compare(a.Until, b.Until) })
	proof := make([]*Ticket, len(c.Writes))
	for i, w := range c.Writes {
		for j, tk := range tickets {
			if tk != nil && c.proves(tk, w) {
				proof[i], tickets[j] = tk, nil
				break
			}
		}
	}
	return proof
}

// proves reports whether w can have been written under tk.
func (c *court) proves(tk *Ticket, w Write) bool {
	if tk.Node != w.Node || tk.Epoch != w.Epoch {
		return false
	}
	valid := tk.T0 < tk.Granted && tk.Granted <= tk.Begun && tk.Begun < tk.End()
	arrived := w.Arrived - w.Held
	return valid && tk.Begun <= arrived && (arrived < tk.Until+transit || c.slow(w.Node, tk.Begun, arrived))
}

// held reports whether the lab kept a request of node from being sent or from getting
// through at some time in [from, to]: it stopped the daemon or cut its way to the cloud.
// No ticket guards against that; P4 sees that the harm is undone.
func (c *court) held(node string, from, to time.Duration) bool {
	return c.ever(from, to, func(s spell) bool {
		return s.down(node) || slices.Contains(s.Cut, [2]string{node, Cloud})
	})
}

// slow reports whether a request may have taken longer than transit.
func (c *court) slow(node string, from, to time.Duration) bool {
	return c.held(node, from, to) || c.ever(from, to, func(s spell) bool { return s.Rough })
}

// overlaps finds tickets of two nodes that were valid at the same time. They count from
// T0: the successor reads its own only after it has waited out its predecessor's.
func (c *court) overlaps() {
	for i, a := range c.Tickets {
		for _, b := range c.Tickets[i+1:] {
			if b.T0 >= a.End() {
				break // they are in order of T0
			}
			if a.Node != b.Node && a.T0 < b.End() {
				c.complain("P1", b.T0, "tickets overlap: %s epoch %d seq %d until %v, and %s epoch %d seq %d from %v",
					a.Node, a.Epoch, a.Seq, round(a.End()), b.Node, b.Epoch, b.Seq, round(b.T0))
			}
		}
	}
}

// stale finds writes that were begun after their ticket's end and never arrived: those
// that did, writers has found.
func (c *court) stale() {
	for _, tk := range c.Tickets {
		arrived := slices.ContainsFunc(c.Writes, func(w Write) bool {
			return w.Node == tk.Node && w.Epoch == tk.Epoch && w.Arrived >= tk.Begun && w.Arrived < tk.Begun+transit
		})
		if tk.Begun != 0 && tk.Begun >= tk.End() && !arrived {
			c.complain("P1", tk.Begun, "%s begins a write under its ticket of epoch %d seq %d, which ended at %v",
				tk.Node, tk.Epoch, tk.Seq, round(tk.End()))
		}
	}
}

// masters finds terms with two masters.
func (c *court) masters() {
	masters := map[uint64]string{}
	for _, r := range c.Roles {
		if r.State != "MASTER" {
			continue
		}
		if other, ok := masters[r.Term]; ok && other != r.Node {
			c.complain("P1", r.At, "%s is MASTER of term %d, and so was %s", r.Node, r.Term, other)
		}
		masters[r.Term] = r.Node
	}
}

// minority is P6: who has not reached a majority of the voters for Minority, which is
// the rest of a ticket and the request's way, does not write.
func (c *court) minority() {
	for i, w := range c.Writes {
		sent := w.Arrived - w.Held
		if tk := c.proof[i]; tk != nil && c.slow(w.Node, tk.Begun, sent) {
			sent = tk.Begun // since when it was on its way, held up by the lab
		}
		spells := c.during(sent-c.Setup.Minority, sent)
		if len(spells) > 0 && !slices.ContainsFunc(spells, func(s spell) bool { return !s.powerless(w.Node) }) {
			c.complain("P6", w.Arrived, "a write by %s, which has not reached a majority since %v", w.Node, round(spells[0].At))
		}
	}
}
