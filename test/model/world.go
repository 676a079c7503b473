package model

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
