package model

import (
	"slices"
	"strings"

	"github.com/buoy-lb/buoy/fsm"
)

// mutant is a seeded bug of the shell around fsm.Decide, or of Decide itself.
type mutant uint8

const (
	faithful mutant = iota
	noWait
	earlyRelease
	restartForgets
	checkWhenBuilt
	sickClaims
	equalPreempts
	blindTransfer
	oldReports
	noTermGuard
)

// cluster is what stays the same in one search: the configuration, and the seeded bug.
type cluster struct {
	priority  [nodes]int
	noPreempt bool // of lb1
	witness   bool // lb3
	mutant    mutant
	// strict has the promise of progress hold also where no leader can keep it.
	strict bool
	// decided remembers fsm.Decide, which is pure, by all that its view is made of.
	decided map[sight]verdict
}

// event is a step of the model: one that is read in a trace.
type event struct {
	text string // with {a} and {b}
	a, b uint8
	why  fsm.Code
	// world: not the cluster's doing. Faults are the world's, and counted.
	world bool
}

func (e event) ofTheWorld() bool { return e.world }

func (e event) String() string {
	text := strings.NewReplacer("{a}", name(e.a), "{b}", name(e.b)).Replace(e.text)
	if e.why != "" {
		text += " (" + string(e.why) + ")"
	}
	return text
}

func name(i uint8) string { return [...]string{"lb1", "lb2", "lb3", "nobody"}[i] }

type emit = visit[state, event]

// next is the transition function. The order is that of the fair schedule: what is under
// way is finished before a leader decides anew, and time passes when there is nothing left.
func (c *cluster) next(s state, visit emit) {
	out := func(e event, to state, broken string) { visit(e, to.canonical(), broken) }
	for _, kind := range []func(state, uint8, emit){
		c.firstCheck, c.stepDown, c.election, c.fastCampaign, c.replication, c.probe,
		c.cloud, c.transfer, c.claim, c.decision,
	} {
		for i := range uint8(nodes) {
			kind(s, i, out)
		}
	}
	out(event{text: "time passes"}, tick(s), "")
	for i := range uint8(nodes) {
		c.repair(s, i, out)
		if s.faults > 0 {
			t := s
			t.faults--
			c.fault(t, i, out)
		}
	}
}

// tick is the only clock: of tickets, waits and pauses.
func tick(s state) state {
	underWay := slices.ContainsFunc(s.node[:], func(n node) bool { return n.doing == handing })
	for i := range s.node {
		n := &s.node[i]
		n.fresh, n.seen = false, min(n.seen+1, life)
		if n.doing >= asking && n.doing <= writing {
			n.age = min(n.age+1, life)
		}
		if n.told > 0 && !underWay {
			n.told--
		}
		for j := range n.barred {
			n.barred[j] -= min(n.barred[j], 1)
		}
	}
	return s
}

// answer is that of j to a probe of i.
func (c *cluster) answer(s *state, i, j uint8) health {
	h := s.node[j].health
	switch {
	case !s.linked(i, j):
		return silent
	case c.mutant == oldReports && h == degraded:
		return good
	}
	return h
}

// probe: a leader learns late how a peer is.
func (c *cluster) probe(s state, i uint8, out emit) {
	for _, j := range peers(i) {
		t := s
		if n := &t.node[i]; n.ready && n.known[j] != c.answer(&s, i, j) {
			n.known[j] = c.answer(&s, i, j)
			out(event{text: "{a} learns how {b} is", a: i, b: j}, t, "")
		}
	}
}

// cloud accepts a write, however late.
func (c *cluster) cloud(s state, i uint8, out emit) {
	if s.flying[i] {
		s.flying[i], s.cloud = false, i
		out(event{text: "the cloud carries out {a}'s write", a: i}, s, "")
	}
}

// transfer goes on with a hand-over: TimeoutNow behind its guard, or failure.
func (c *cluster) transfer(s state, i uint8, out emit) {
	l := s.node[i]
	if l.doing != handing {
		return
	}
	to := s.node[l.to]
	if s.linked(i, l.to) {
		if to.log != l.log || to.term != l.term {
			return // replication comes first
		}
		for _, voter := range []uint8{i, other(i, l.to)} {
			if s.node[voter].term > l.term {
				continue
			}
			if t, ok := c.elect(s, l.to, voter, l.term+1); ok {
				out(event{text: "{a} takes over by the vote of {b}", a: l.to, b: voter}, t, "")
			}
		}
		return
	}
	out(event{text: "{a}'s hand-over to {b} fails", a: i, b: l.to}, failed(s, i), "")
}

// failed is what a leader makes of a hand-over that did not work.
func failed(s state, i uint8) state {
	n := &s.node[i]
	n.barred[n.to] = backoff
	if n.request == n.to {
		n.request = none
	}
	n.prefer(i, n.chosen)
	n.doing, n.to, n.chosen = idle, 0, false
	return s
}

// prefer is the entry of a hand-over, or of the withdrawal of one.
func (n *node) prefer(to uint8, wanted bool) {
	n.add(func(r *record) {
		r.preferred = none
		if wanted {
			r.preferred = to
		}
	})
}

// claim goes on with a claim: ticket, check and write, answer, release.
func (c *cluster) claim(s state, i uint8, out emit) {
	n := s.node[i]
	expired := n.age >= life
	switch {
	case n.doing == wanting && (c.mutant == noWait || s.mayTake(i)):
		s.take(i)
		out(event{text: "{a} proposes a ticket", a: i}, s, "")
	case n.doing == holding && (!expired || c.mutant == checkWhenBuilt):
		broken := ""
		if !s.entitled(i) {
			broken = "I2: a write left without a valid ticket"
		}
		if c.mutant == earlyRelease && !n.log.released {
			t := s
			t.node[i].add(func(r *record) { r.released = true })
			out(event{text: "{a} proposes the release of its ticket", a: i}, t, "")
		}
		s.node[i].doing, s.flying[i] = writing, true
		out(event{text: "{a}'s write leaves", a: i}, s, broken)
	case n.doing == writing && !s.flying[i]:
		out(event{text: "{a} sees the end of its write, and releases its ticket", a: i}, s.released(i, s.cloud == i), "")
	}
	if expired && (n.doing == asking || n.doing == holding) {
		out(event{text: "{a}'s ticket expires unused", a: i}, s.released(i, false), "")
	}
	if n.doing == writing && s.flying[i] {
		out(event{text: "{a} gives its write up, and releases its ticket", a: i}, s.released(i, false), "")
	}
}

// mayTake is the rule of foreign tickets.
func (s *state) mayTake(i uint8) bool {
	n := &s.node[i]
	return n.log.owner == none || n.log.owner == i || n.log.released || n.seen >= life
}

func (s *state) take(i uint8) {
	newest := max(s.node[0].log.ticket, s.node[1].log.ticket, s.node[2].log.ticket)
	n := &s.node[i]
	n.doing, n.age = asking, 0
	n.add(func(r *record) { r.ticket, r.owner, r.released = newest+1, i, false })
}

// released ends a claim: the ticket is not used any more, and then its release proposed,
// with the holder of record if the address has been seen here.
func (s state) released(i uint8, here bool) state {
	n := &s.node[i]
	after := n.log
	after.released = after.released || n.doing >= asking && n.age < life
	if here {
		after.holder = i
	}
	if after != n.log {
		n.add(func(r *record) { r.released, r.holder = after.released, after.holder })
	}
	n.doing, n.age, n.claimed = idle, 0, n.claimed || here
	if n.claimed {
		n.forget(i)
	}
	return s
}

// decision is a step of the loop: Decide, and the start of what it says.
func (c *cluster) decision(s state, i uint8, out emit) {
	n := &s.node[i]
	if !n.ready {
		return
	}
	v := c.decide(&s, i)
	e := event{a: i, b: v.target, why: v.Reason.Code}
	switch v.Kind {
	case fsm.Abort:
		e.text = "{a} breaks its action off"
		s = s.released(i, false)
	case fsm.Transfer:
		e.text = "{a} begins a hand-over to {b}"
		n.doing, n.to, n.chosen = handing, v.target, n.log.preferred == i
		n.prefer(v.target, v.Reason.Code == fsm.ReasonRequested || n.log.preferred == v.target)
	case fsm.Claim:
		if s.cloud == i {
			e.text = "{a} finds the address here"
			s = s.released(i, true)
			break
		}
		e.text = "{a} begins a claim"
		n.doing = wanting
	case fsm.Refuse:
		e.text = "{a} refuses"
		n.request = none
	case fsm.Wait, fsm.Look:
		return
	}
	out(e, s, v.broken)
}
