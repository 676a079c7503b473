package model

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
