package model

import (
	"fmt"
	"slices"
)

// move names a step for people. Those of the world are no part of the fair schedule.
type move interface {
	fmt.Stringer
	ofTheWorld() bool
}

// stated is a state that can be compared, and told in words.
type stated interface {
	comparable
	fmt.Stringer
}

// visit takes one step that is possible in a state, where it leads, and what it breaks.
type visit[S stated, M move] func(m M, to S, broken string)

// steps calls visit for each step out of a state, in the order of the fair schedule.
type steps[S stated, M move] func(from S, visit visit[S, M])

// graph is what a search has found: states in the order in which they were found, so
// that the way back by parents is a shortest one.
type graph[S stated, M move] struct {
	next   steps[S, M]
	states []S
	parent []int32
	// fair is where each state goes when the world leaves it alone; itself at rest.
	fair []int32
	// edges counts the steps that change something.
	edges int
}

// violation is a broken rule, and the shortest way to it in words.
type violation struct {
	rule  string
	trace []string
}

func (v *violation) String() string {
	out := v.rule
	for i, line := range v.trace {
		out += fmt.Sprintf("\n%5d  %s", i, line)
	}
	return out
}

// explore visits every state that can be reached in depth steps, breadth first, until a
// rule is broken: by a step, or by a state that check objects to. From the last states it
// goes on by the fair schedule alone, to where that ends.
func explore[S stated, M move](
	from []S, depth int, next steps[S, M], check func(S) string,
) (*graph[S, M], *violation) {
	g := &graph[S, M]{next: next}
	index := map[S]int32{}
	var level []int // steps from the start
	add := func(s S, parent int32, steps int) int32 {
		at, ok := index[s]
		if !ok {
			at = int32(len(g.states))
			index[s] = at
			g.states, g.parent, g.fair = append(g.states, s), append(g.parent, parent), append(g.fair, at)
			level = append(level, steps)
		}
		return at
	}
	for _, s := range from {
		add(s, -1, 0)
	}
	var found *violation
	for at := int32(0); int(at) < len(g.states) && found == nil; at++ {
		s := g.states[at]
		if rule := check(s); rule != "" {
			return g, &violation{rule, g.trace(at)}
		}
		next(s, func(m M, to S, broken string) {
			if broken != "" && found == nil {
				found = &violation{broken, append(g.trace(at), m.String())}
			}
			fair := g.fair[at] == at && !m.ofTheWorld()
			if to == s || level[at] >= depth && !fair {
				return
			}
			g.edges++
			if id := add(to, at, level[at]+1); fair {
				g.fair[at] = id
			}
		})
	}
	return g, found
}

// trace is the shortest way to a state, from the start that it came from.
func (g *graph[S, M]) trace(at int32) []string {
	var out []string
	for ; g.parent[at] >= 0; at = g.parent[at] {
		out = append(out, g.name(g.parent[at], at))
	}
	slices.Reverse(out)
	return append([]string{"at first: " + g.states[at].String()}, out...)
}

// name is that of a step from one state to the next.
func (g *graph[S, M]) name(from, to int32) string {
	var name string
	g.next(g.states[from], func(m M, s S, _ string) {
		if name == "" && s == g.states[to] {
			name = m.String()
		}
	})
	return name
}

// settles follows the fair schedule from every state: it must come to rest, where atRest
// has no objection, after at most limit of the steps that counts picks.
func (g *graph[S, M]) settles(atRest func(S) string, counts func(from, to S) bool, limit int) *violation {
	const open, onWay = -1, -2
	cost := make([]int, len(g.states)) // from here to rest
	for at := range cost {
		cost[at] = open
	}
	for from := range g.states {
		var way []int32
		at := int32(from)
		for ; cost[at] == open && g.fair[at] != at; at = g.fair[at] {
			cost[at] = onWay
			way = append(way, at)
		}
		if cost[at] == onWay {
			return g.fairTrace("I6: it never comes to rest", int32(from))
		}
		if cost[at] == open {
			if rule := atRest(g.states[at]); rule != "" {
				return g.fairTrace(rule, int32(from))
			}
			cost[at] = 0
		}
		total := cost[at]
		for _, at := range slices.Backward(way) {
			if counts(g.states[at], g.states[g.fair[at]]) {
				total++
			}
			if cost[at] = total; total > limit {
				return g.fairTrace(fmt.Sprintf("I6: it comes to rest only after %d hand-overs", total), at)
			}
		}
	}
	return nil
}

// fairTrace is the way to a state, and how it goes on when the world leaves it alone.
func (g *graph[S, M]) fairTrace(rule string, at int32) *violation {
	v := &violation{rule, append(g.trace(at), "the world stands still")}
	been := map[int32]bool{}
	for ; g.fair[at] != at && !been[at]; at = g.fair[at] {
		been[at] = true
		v.trace = append(v.trace, g.name(at, g.fair[at]))
	}
	v.trace = append(v.trace, "in the end: "+g.states[at].String())
	return v
}
