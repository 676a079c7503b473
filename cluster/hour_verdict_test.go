package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

// TestJudge gives the judge of TestHour one story for each rule: told as it may be, and as
// it must not be.
func TestJudge(t *testing.T) {
	sec := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	member := func(name string, priority int) fsm.Member {
		return fsm.Member{Name: name, Priority: priority, Preempt: true, Role: fsm.RoleBalancer}
	}
	is := func(at float64, node string, change func(*condition)) condition {
		c := condition{at: sec(at), node: node, boots: 1}
		if change != nil {
			change(&c)
		}
		return c
	}
	gone, fault := func(c *condition) { c.gone = true }, func(c *condition) { c.fault = true }
	degraded := func(c *condition) { c.lost = 60 }
	to := func(at float64, node string) write { return write{node: node, at: sec(at)} }

	for name, tc := range map[string]struct {
		priorities []int // of lb1, lb2, lb3; 150, 100, 50 if nil
		settings   func(ms []fsm.Member)
		story      chronicle
		wrong      string // what the judge says; "" if all is in order
	}{
		"a fault and the return": {
			story: chronicle{
				states: []condition{is(10, "lb1", fault), is(20, "lb1", nil)},
				writes: []write{to(1, "lb1"), to(10.1, "lb2"), to(20.1, "lb1")},
			},
		},
		"a move without cause":   {story: chronicle{writes: []write{to(1, "lb1"), to(60, "lb2")}}, wrong: "not outranked"},
		"an equal takes over":    {priorities: []int{100, 100, 50}, story: chronicle{writes: []write{to(1, "lb1"), to(60, "lb2")}}, wrong: "not outranked"},
		"a second write":         {story: chronicle{writes: []write{to(1, "lb1"), to(2, "lb1")}}, wrong: "nothing had moved it away"},
		"a drift":                {story: chronicle{drifts: []time.Duration{sec(5)}, writes: []write{to(1, "lb1"), to(6, "lb1")}}},
		"a drift repaired twice": {story: chronicle{drifts: []time.Duration{sec(5)}, writes: []write{to(1, "lb1"), to(6, "lb1"), to(7, "lb1")}}, wrong: "nothing had moved it away"},
		"an unfit node writes":   {story: chronicle{states: []condition{is(10, "lb1", fault), is(20, "lb2", gone)}, writes: []write{to(1, "lb1"), to(22, "lb2")}}, wrong: "was unfit"},
		"a fault that is long past": {
			story: chronicle{states: []condition{is(10, "lb1", fault), is(11, "lb1", nil)}, writes: []write{to(1, "lb1"), to(30, "lb2")}},
			wrong: "not outranked",
		},
		"ping-pong": {
			story: chronicle{
				states: []condition{is(10, "lb1", fault)},
				writes: []write{to(1, "lb1"), to(10.1, "lb3"), to(10.2, "lb2"), to(10.3, "lb3")},
			},
			wrong: "not outranked",
		},
		"two moves for one fault": {
			story: chronicle{states: []condition{is(10, "lb1", fault)}, writes: []write{to(1, "lb1"), to(10.1, "lb3"), to(60, "lb2")}},
			wrong: "nothing had changed since the last move",
		},
		"a return before damping allows": {
			story: chronicle{
				states: []condition{is(10, "lb1", fault), is(20, "lb1", nil), is(30, "lb1", fault), is(40, "lb1", nil)},
				writes: []write{to(1, "lb1"), to(10.1, "lb2"), to(20.1, "lb1"), to(30.1, "lb2"), to(41, "lb1")},
			},
			wrong: "after 2 falls it owed 5s",
		},
		"and in time": {
			story: chronicle{
				states: []condition{is(10, "lb1", fault), is(20, "lb1", nil), is(30, "lb1", fault), is(40, "lb1", nil)},
				writes: []write{to(1, "lb1"), to(10.1, "lb2"), to(20.1, "lb1"), to(30.1, "lb2"), to(45.1, "lb1")},
			},
		},
		"degraded falls count": {
			story: chronicle{
				states: []condition{is(10, "lb1", degraded), is(20, "lb1", nil), is(30, "lb1", degraded), is(40, "lb1", nil)},
				writes: []write{to(1, "lb1"), to(10.1, "lb2"), to(20.1, "lb1"), to(30.1, "lb2"), to(41, "lb1")},
			},
			wrong: "after 2 falls it owed 5s",
		},
		"against preempt: false": {
			settings: func(ms []fsm.Member) { ms[0].Preempt = false },
			story: chronicle{
				states: []condition{is(10, "lb1", fault), is(20, "lb1", nil)},
				writes: []write{to(1, "lb1"), to(10.1, "lb2"), to(20.1, "lb1")},
			},
			wrong: "against preempt: false",
		},
		"before its preempt_delay": {
			settings: func(ms []fsm.Member) { ms[0].PreemptDelay = sec(20) },
			story: chronicle{
				states: []condition{is(10, "lb1", fault), is(20, "lb1", nil)},
				writes: []write{to(1, "lb1"), to(10.1, "lb2"), to(39, "lb1")},
			},
			wrong: "before its preempt_delay",
		},
		"an operator": {
			story: chronicle{asks: []ask{{sec(10), "lb3", true}}, writes: []write{to(1, "lb1"), to(10.1, "lb3")}, rests: []rest{{sec(99), "lb3"}}},
		},
		"against an operator": {
			story: chronicle{asks: []ask{{sec(10), "lb3", true}}, writes: []write{to(1, "lb1"), to(10.1, "lb3"), to(30, "lb1")}},
			wrong: "where an operator had put it",
		},
		"it rests at the worse": {
			story: chronicle{
				states: []condition{is(10, "lb1", fault), is(20, "lb1", nil)},
				writes: []write{to(1, "lb1"), to(10.1, "lb2")}, rests: []rest{{sec(200), "lb2"}},
			},
			wrong: "lb1 is better",
		},
		"it rests nowhere": {
			story: chronicle{writes: []write{to(1, "lb1")}, rests: []rest{{sec(200), "nobody"}}},
			wrong: "rests at",
		},
	} {
		t.Run(name, func(t *testing.T) {
			priorities := tc.priorities
			if priorities == nil {
				priorities = []int{150, 100, 50}
			}
			c := tc.story
			var first []condition
			for i, p := range priorities {
				m := member([]string{"lb1", "lb2", "lb3"}[i], p)
				c.members, first = append(c.members, m), append(first, is(0, m.Name, nil))
			}
			c.states = append(first, c.states...)
			if tc.settings != nil {
				tc.settings(c.members)
			}
			wrong := strings.Join(verdict(c).wrong, "\n")
			if tc.wrong == "" && wrong != "" || !strings.Contains(wrong, tc.wrong) {
				t.Errorf("the judge says %q, want %q", wrong, tc.wrong)
			}
		})
	}
}
