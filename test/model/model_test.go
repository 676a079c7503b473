package model

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

var (
	ranks  = [nodes]int{150, 100, 50}
	equals = [nodes]int{100, 100, 100}
)

// number is an integer from the environment.
func number(t *testing.T, variable string, usual int) int {
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 100 {
		t.Fatalf("%s=%s: want 0..100", variable, text)
	}
	return n
}

// search explores c, and then has every state that it has found settle.
func search(c *cluster, depth int, from ...state) (*graph[state, event], *violation) {
	c.decided = map[sight]verdict{}
	g, v := explore(from, depth, c.next, c.invariant)
	if v == nil {
		v = g.settles(c.atRest, handsOver, 2)
	}
	return g, v
}

// TestRules holds the rules against everything that can happen; see the package comment.
func TestRules(t *testing.T) {
	depth, faults := number(t, "BUOY_MODEL_DEPTH", 5), uint8(number(t, "BUOY_MODEL_FAULTS", 2))
	total := 0
	for _, c := range []struct {
		name string
		cluster
	}{
		{"150, 100, 50", cluster{priority: ranks}},
		{"all 100", cluster{priority: equals}},
		{"150 without preempt, 100, 50", cluster{priority: ranks, noPreempt: true}},
		{"150, 100, a witness", cluster{priority: ranks, witness: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, v := search(&c.cluster, depth, start(faults), armed(faults), cold(max(faults, 1)-1))
			total += len(g.states)
			t.Logf("%d states, %d steps; %d views decided on", len(g.states), g.edges, len(c.decided))
			if v != nil {
				t.Error(v)
			}
		})
	}
	if total < 100_000 && depth >= 5 && faults >= 2 {
		t.Errorf("%d states in all: most of the model is out of reach", total)
	}
}

// TestSeededBugs shows that each rule can be broken, and what the shortest way is.
func TestSeededBugs(t *testing.T) {
	for _, c := range []struct {
		name, rule string
		from       state
		depth      int
		cluster
	}{
		{"foreign tickets are not waited for", "I1", armed(1), 6, cluster{priority: ranks, mutant: noWait}},
		{"a ticket is released before its use ends", "I1", armed(1), 8, cluster{priority: ranks, mutant: earlyRelease}},
		{"a restart forgets when tickets were stored", "I1", severed(1), 8, cluster{priority: ranks, mutant: restartForgets}},
		{"the ticket is checked when the request is built", "I2", armed(0), 3, cluster{priority: ranks, mutant: checkWhenBuilt}},
		{"Decide takes its own node for healthy", "I3", start(1), 2, cluster{priority: ranks, mutant: sickClaims}},
		{"an equal preempts", "I4", start(0), 1, cluster{priority: equals, mutant: equalPreempts}},
		{"Decide takes every target for fit", "I5", start(1), 4, cluster{priority: ranks, mutant: blindTransfer}},
		{"no leader learns that another is degraded", "I6: it never", start(1), 1, cluster{priority: ranks, mutant: oldReports}},
		{"a fast campaign has no term guard", "I8", start(1), 4, cluster{priority: ranks, mutant: noTermGuard}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, v := search(&c.cluster, c.depth, c.from)
			if v == nil || !strings.HasPrefix(v.rule, c.rule) {
				t.Fatalf("want %s broken, got %v", c.rule, v)
			}
			t.Log(v)
			c.mutant = faithful
			if _, v := search(&c.cluster, c.depth, c.from); v != nil {
				t.Errorf("without the bug as well: %v", v)
			}
		})
	}
}

// TestLimit is a known limit of the protocol, see DESIGN.md of package cluster: an unfit
// leader hands over to nobody whom it does not reach itself. If this finds nothing any
// more the limit is gone, and so can be cluster.strict.
func TestLimit(t *testing.T) {
	_, v := search(&cluster{priority: ranks, witness: true, strict: true}, 3, start(2))
	if v == nil || !strings.HasPrefix(v.rule, "I6: lb2 is fit and in a majority") {
		t.Fatalf("want a fit majority without the address, got %v", v)
	}
	t.Log(v)
}

// number line: a world of one integer, for the explorer alone.
type (
	place int
	hop   string
)

func (p place) String() string { return strconv.Itoa(int(p)) }
func (h hop) String() string   { return string(h) }
func (h hop) ofTheWorld() bool { return h == "push" }
func fine(place) string        { return "" }
func every(place, place) bool  { return true }
func notAt(bad place) func(place) string {
	return func(p place) string {
		if p == bad {
			return "bad"
		}
		return ""
	}
}

func TestExplorer(t *testing.T) {
	walk := func(goal func(place) place) steps[place, hop] {
		return func(p place, visit visit[place, hop]) {
			visit("go", goal(p), "")
			if p < 10 {
				visit("push", p+3, "")
				visit("push", p+1, "")
			}
		}
	}
	home := walk(func(p place) place { return max(p-1, 0) })
	round := walk(func(p place) place { return (p + 1) % 3 })

	_, v := explore([]place{0}, 100, home, notAt(7))
	if v == nil || strings.Join(v.trace, ", ") != "at first: 0, push, push, push" {
		t.Errorf("the shortest way to 7: got %v", v)
	}
	g, v := explore([]place{0}, 2, home, fine)
	if v != nil || len(g.states) != 7 {
		t.Errorf("2 steps: got %v, %v", g.states, v)
	}
	if v := g.settles(fine, every, 6); v != nil {
		t.Errorf("6 is 6 steps from home: got %v", v)
	}
	if v := g.settles(fine, every, 5); v == nil || !strings.Contains(v.rule, "after 6") {
		t.Errorf("6 steps where 5 may be: got %v", v)
	}
	if v := g.settles(notAt(0), every, 6); v == nil || v.rule != "bad" {
		t.Errorf("a bad place to rest at: got %v", v)
	}
	g, _ = explore([]place{0}, 2, round, fine)
	if v := g.settles(fine, every, 100); v == nil || !strings.Contains(v.rule, "never comes to rest") {
		t.Errorf("round and round: got %v", v)
	}
}
