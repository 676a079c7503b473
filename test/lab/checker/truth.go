package checker

import (
	"maps"
	"slices"
	"time"
)

// spell is a Truth and when it ended.
type spell struct {
	Truth
	until time.Duration
}

func spellsOf(h History) []spell {
	spells := make([]spell, len(h.Truth))
	for i, t := range h.Truth {
		spells[i] = spell{t, h.End}
		if i+1 < len(h.Truth) {
			spells[i].until = h.Truth[i+1].At
		}
	}
	return spells
}

// during returns the spells that touch [from, to]; none if the record does not reach
// back as far as from. Their ends belong to them: what was ever true at the edge counts.
func (c *court) during(from, to time.Duration) []spell {
	if len(c.spells) == 0 || c.spells[0].At >= from {
		return nil
	}
	var out []spell
	for _, s := range c.spells {
		if s.At <= to && s.until >= from {
			out = append(out, s)
		}
	}
	return out
}

// ever reports whether what holds of a spell held at some time in [from, to].
func (c *court) ever(from, to time.Duration, what func(spell) bool) bool {
	return slices.ContainsFunc(c.spells, func(s spell) bool { return s.At <= to && s.until >= from && what(s) })
}

// linked reports whether frames pass between a and b both ways.
func (t Truth) linked(a, b string) bool {
	return !slices.Contains(t.Cut, [2]string{a, b}) && !slices.Contains(t.Cut, [2]string{b, a})
}

// majority is how many votes decide.
func (t Truth) majority() int {
	voters := 0
	for _, n := range t.Nodes {
		if n.Voter {
			voters++
		}
	}
	return voters/2 + 1
}

// down reports that the daemon of node is known to be stopped or hung.
func (t Truth) down(node string) bool {
	n, known := t.Nodes[node]
	return known && !n.Daemon
}

// peers are the voters, other than node, whose daemons can talk with that of node.
func (t Truth) peers(node string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(t.Nodes)) {
		if n := t.Nodes[name]; name != node && n.Voter && n.Daemon && t.linked(node, name) {
			out = append(out, name)
		}
	}
	return out
}

// powerless reports that node surely reaches no majority, itself included. It may lead
// voters that do not reach one another, so it is asked who reaches node, no more.
func (t Truth) powerless(node string) bool {
	n, known := t.Nodes[node]
	if !known {
		return false
	}
	if !n.Daemon {
		return true
	}
	majority, reached := t.majority(), 1
	if t.Rough {
		// Membership may be in motion: one voter more or less than the lab knows of.
		majority = max(1, majority-1)
	}
	for name, other := range t.Nodes {
		if name != node && other.Daemon && (other.Voter || t.Rough) && t.linked(node, name) {
			reached++
		}
	}
	return reached < majority
}

// fit lists who should hold the address: balancers that serve, reach the cloud with a
// token that works, and belong to a majority whose members all reach one another.
func (t Truth) fit() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(t.Nodes)) {
		n := t.Nodes[name]
		able := n.Serving && n.API && n.Voter && n.Daemon && t.linked(name, Cloud)
		if able && t.clique([]string{name}, t.peers(name), t.majority()) {
			out = append(out, name)
		}
	}
	return out
}

// clique reports whether members, who all reach one another, can be joined by some of
// others so that they are size.
func (t Truth) clique(members, others []string, size int) bool {
	if len(members) >= size {
		return true
	}
	for i, other := range others {
		stranger := func(m string) bool { return !t.linked(m, other) }
		if !slices.ContainsFunc(members, stranger) && t.clique(append(members, other), others[i+1:], size) {
			return true
		}
	}
	return false
}

// calm is a time in which conditions did not change and somebody was fit.
type calm struct {
	from, until time.Duration
	fit         []string
}

func (c *court) calms() []calm {
	var out []calm
	for i := 0; i < len(c.spells); {
		first := c.spells[i]
		until := first.until
		for i++; i < len(c.spells) && sameConditions(first.Truth, c.spells[i].Truth); i++ {
			until = c.spells[i].until
		}
		if fit := first.fit(); !first.Rough && len(fit) > 0 {
			out = append(out, calm{first.At, until, fit})
		}
	}
	return out
}

func sameConditions(a, b Truth) bool {
	cuts := func(t Truth) [][2]string {
		s := slices.SortedFunc(slices.Values(t.Cut), func(x, y [2]string) int { return slices.Compare(x[:], y[:]) })
		return slices.Compact(s)
	}
	return a.Rough == b.Rough && maps.Equal(a.Nodes, b.Nodes) && slices.Equal(cuts(a), cuts(b))
}
