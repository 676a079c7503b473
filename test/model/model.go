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

func (c *cluster) firstCheck(s state, i uint8, out emit) {
	if s.node[i].up && s.node[i].health == unknown {
		s.node[i].health = good
		out(event{text: "{a}'s first checks pass", a: i}, s, "")
	}
}

// stepDown may come at any time after the majority is lost: a leader does not know.
func (c *cluster) stepDown(s state, i uint8, out emit) {
	p := peers(i)
	if s.node[i].leads && !s.linked(i, p[0]) && !s.linked(i, p[1]) {
		c.enter(&s, i, s.node[i].term)
		out(event{text: "{a}, without a majority, steps down", a: i}, s, "")
	}
}

// elect makes i the leader of a term by the vote of one other, who has a majority then.
// The vote comes with the step into the term, so that nobody votes twice in one.
func (c *cluster) elect(s state, i, voter, term uint8) (state, bool) {
	if !s.linked(i, voter) || s.node[i].log.before(s.node[voter].log) {
		return s, false
	}
	told := s.node[i].told
	c.enter(&s, i, term)
	c.enter(&s, voter, term)
	n := &s.node[i]
	n.told = 0
	n.tenure = tenure{leads: true, fresh: true, appointed: told > 0, request: none}
	n.add(func(*record) {})
	return s, true
}

// enter takes i into a term: whatever it did in another one is over.
func (c *cluster) enter(s *state, i, term uint8) {
	n := &s.node[i]
	if n.term != term && c.mutant != noTermGuard {
		n.bereft = false
	}
	n.term, n.tenure = term, tenure{}
}

// election by timer: neither hears a leader. A voter that is behind comes after, and one
// that is ahead has told the candidate its term.
func (c *cluster) election(s state, i uint8, out emit) {
	for _, j := range peers(i) {
		if s.led(i) || s.led(j) {
			continue
		}
		if t, ok := c.elect(s, i, j, max(s.node[i].term, s.node[j].term)+1); ok {
			out(event{text: "{a} is elected by {b}", a: i, b: j}, t, "")
		}
	}
}

// fastCampaign: i has seen its leader die, and asks for votes at once, past stickiness.
// The term guard is in enter: what i saw counts for the term that it saw it in.
func (c *cluster) fastCampaign(s state, i uint8, out emit) {
	n := s.node[i]
	if !n.bereft || n.leads {
		return
	}
	for _, j := range peers(i) {
		if s.node[j].term > n.term {
			continue // has voted in the term that n would stand in
		}
		if t, ok := c.elect(s, i, j, n.term+1); ok {
			out(event{text: "{a} campaigns at once, and is elected by {b}", a: i, b: j}, t, c.deposed(s, i))
		}
	}
}

// replication brings all of the leader's log to one other at once, and the answer back.
func (c *cluster) replication(s state, i uint8, out emit) {
	for _, j := range peers(i) {
		l, f := s.node[i], s.node[j]
		if !l.leads || !s.linked(i, j) || f.term == l.term && f.log == l.log && l.ready && l.doing != asking {
			continue
		}
		t := s
		if f.term > l.term {
			c.enter(&t, i, f.term)
			out(event{text: "{a} hears of a newer term from {b}, and steps down", a: i, b: j}, t, "")
			continue
		}
		c.store(&t, i, j)
		c.committed(&t, i)
		out(event{text: "{b} stores {a}'s log", a: i, b: j}, t, "")
	}
}

// store has f take over what leader l has. Real logs would know better whether a ticket
// is new where one was truncated between: f then waits longer here.
func (c *cluster) store(s *state, l, f uint8) {
	from, to := s.node[l], &s.node[f]
	if to.term != from.term {
		c.enter(s, f, from.term)
	}
	if from.log.ticket != to.log.ticket && from.log.owner != f {
		to.seen = 0
	}
	switch {
	case from.doing == handing && from.to == f:
		to.told = announced
	case from.log.term == to.log.term:
		to.told = 0 // withdrawn
	}
	to.log = from.log
}

// committed is what a leader makes of a majority that has its log.
func (c *cluster) committed(s *state, i uint8) {
	n := &s.node[i]
	if n.doing == asking {
		n.doing = holding
	}
	if n.ready {
		return
	}
	n.ready = true
	for _, j := range peers(i) {
		n.known[j] = c.answer(s, i, j)
	}
	if n.appointed {
		n.forget(i)
	}
}

// forget ends an operator's wish when another than the preferred has the address.
func (n *node) forget(i uint8) {
	if n.log.preferred != none && n.log.preferred != i {
		n.add(func(r *record) { r.preferred = none })
	}
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

// repair is what the world may do at any time, as often as it likes.
func (c *cluster) repair(s state, i uint8, out emit) {
	n := &s.node[i]
	if t := s; s.cut[i] {
		t.cut[i] = false
		p := peers(i)
		out(event{text: "{a} and {b} reach each other again", a: p[0], b: p[1], world: true}, t, "")
	}
	switch {
	case !n.up:
		n.up, n.seen = true, 0
		if c.mutant == restartForgets {
			n.seen = life
		}
		out(event{text: "{a} starts again", a: i, world: true}, s, "")
	case n.health == degraded || n.health == faulty:
		n.health = good
		out(event{text: "{a} recovers", a: i, world: true}, s, "")
	}
}

// fault is what the world may do to i, a bounded number of times.
func (c *cluster) fault(s state, i uint8, out emit) {
	p := peers(i)
	try := func(text string, change func(*state)) {
		t := s
		change(&t)
		out(event{text: text, a: i, b: p[0], world: true}, t, "")
	}
	try("the address is moved outside", func(t *state) { t.cloud = none })
	try("{a} is cut off", func(t *state) { t.cut[p[0]], t.cut[p[1]] = true, true })
	try("{a} and {b} do not reach each other", func(t *state) { t.cut[other(i, p[0])] = true })
	n := s.node[i]
	if !n.up {
		return
	}
	try("{a} crashes", func(t *state) { c.crash(t, i) })
	if n.health != degraded {
		try("{a} is degraded", func(t *state) { t.node[i].health = degraded })
	}
	if n.health != faulty {
		try("{a} is unfit", func(t *state) { t.node[i].health = faulty })
	}
	for _, j := range p {
		if t, ok := c.elect(s, i, j, max(n.term, s.node[j].term)+1); ok {
			out(event{text: "{a}, which hears its leader late, is elected by {b}", a: i, b: j, world: true}, t, "")
		}
		if t := s; n.ready && n.request == none {
			t.node[i].request = j
			out(event{text: "an operator asks {a} to hand over to {b}", a: i, b: j, world: true}, t, "")
		}
	}
	if n.doing == handing {
		out(event{text: "{a}'s hand-over to {b} fails by chance", a: i, b: n.to, world: true}, failed(s, i), "")
	}
}

// crash ends the process of i; what it had on disk stays.
func (c *cluster) crash(s *state, i uint8) {
	n := s.node[i]
	for _, j := range peers(i) {
		if f := &s.node[j]; n.leads && s.linked(i, j) && f.term == n.term {
			f.bereft = true
		}
	}
	s.node[i] = node{health: unknown, term: n.term, log: n.log, seen: life}
}
