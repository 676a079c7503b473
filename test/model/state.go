package model

import (
	"cmp"
	"fmt"
	"math/bits"
)

// nodes is how many there are; none stands where a node could and there is not one: the
// address is then outside the cluster.
const (
	nodes = 3
	none  = nodes
)

// Times in ticks. Only their order matters: a ticket outlives one tick, what is said of a
// hand-over outlives a ticket.
const (
	life      = 2 // of a ticket, and so of the wait for a foreign one
	announced = 2 // for which an announced hand-over explains a term
	backoff   = 2 // of a peer after a failed transfer
)

// health is a node's own, and what a leader knows of another's: silent is no answer.
type health uint8

const (
	silent health = iota
	unknown
	good
	degraded
	faulty // also: drained, stopping, cannot claim
)

// phase is how far the leader's one action has come.
type phase uint8

const (
	idle    phase = iota
	wanting       // a claim that needs a ticket
	asking        // its ticket is proposed
	holding       // its ticket is committed: it may write
	writing       // the write has left
	handing       // a transfer
)

// record is what a log says once all of it is applied, and how far the log goes.
type record struct {
	term, index uint8 // of the last entry
	ticket      uint8 // counts the tickets ever taken; 0: none yet
	owner       uint8 // of the newest ticket
	released    bool
	holder      uint8 // of record
	preferred   uint8
}

// before compares logs as raft's voters do.
func (r record) before(o record) bool {
	return cmp.Or(cmp.Compare(r.term, o.term), cmp.Compare(r.index, o.index)) < 0
}

// tenure is what a node knows and does as a leader; it ends with the lead.
type tenure struct {
	leads     bool // in its own eyes
	ready     bool // an entry of its term has committed, and the peers have been asked
	fresh     bool // since less than a tick
	appointed bool // by a hand-over, not by an election
	claimed   bool // has held the address
	known     [nodes]health
	request   uint8 // the target that an operator asks for
	chosen    bool  // by an operator, before the transfer that is under way
	doing     phase
	to        uint8 // the target of the transfer
	age       uint8 // ticks since before the ticket was proposed
}

type node struct {
	up     bool
	health health
	term   uint8
	log    record
	seen   uint8        // ticks since it stored the newest foreign ticket, up to life
	told   uint8        // ticks for which the announcement of a hand-over to it counts
	bereft bool         // it saw the process of its term's leader die
	barred [nodes]uint8 // ticks for which it hands over to nobody
	tenure
}

// state is the whole cluster, the cloud and what faults are yet to come. It is comparable.
type state struct {
	node   [nodes]node
	cut    [nodes]bool // the link between the two others of each node
	cloud  uint8       // who has the address
	flying [nodes]bool // writes that have left, and may be accepted at any time
	faults uint8       // how many more may happen
}

func other(i, j uint8) uint8 { return nodes - i - j }

// linked says that two different nodes are up and reach each other.
func (s *state) linked(i, j uint8) bool {
	return s.node[i].up && s.node[j].up && !s.cut[other(i, j)]
}

// peers are the two others of i.
func peers(i uint8) [2]uint8 { return [2]uint8{(i + 1) % nodes, (i + 2) % nodes} }

// entitled says that i has the right to write to the cloud, as it sees things itself.
func (s *state) entitled(i uint8) bool {
	n := &s.node[i]
	return n.up && n.leads && (n.doing == holding || n.doing == writing) && n.age < life
}

// led says that i hears a leader, or is one: raft's stickiness.
func (s *state) led(i uint8) bool {
	if s.node[i].leads {
		return true
	}
	for _, j := range peers(i) {
		if s.linked(i, j) && s.node[j].leads && s.node[j].term >= s.node[i].term {
			return true
		}
	}
	return false
}

// String is what a person would ask of the state first.
func (s state) String() string {
	leaders, writers := "", ""
	for i := range uint8(nodes) {
		if s.node[i].leads {
			leaders += " " + name(i)
		}
		if s.entitled(i) {
			writers += " " + name(i)
		}
	}
	return fmt.Sprintf("leads:%s; may write:%s; has the address: %s",
		cmp.Or(leaders, " -"), cmp.Or(writers, " -"), name(s.cloud))
}

// add makes an entry in the leader's own log.
func (n *node) add(change func(*record)) {
	n.log.term, n.log.index = n.term, n.log.index+1
	change(&n.log)
}

// start is three healthy nodes of which lb1 leads and has the address.
func start(faults uint8) state {
	s := cold(faults)
	log := record{term: 1, index: 1, owner: none, holder: 0, preferred: none}
	for i := range s.node {
		s.node[i].term, s.node[i].health, s.node[i].log = 1, good, log
	}
	s.node[0].tenure = tenure{leads: true, ready: true, claimed: true, request: none}
	s.node[0].known = [nodes]health{silent, good, good}
	s.cloud = 0
	return s
}

// armed is start, except that the address has been moved outside, and that lb1 has just got
// a ticket by lb2's vote: where two could have the right to write.
func armed(faults uint8) state {
	s := start(faults)
	s.cloud = none
	s.take(0)
	s.node[0].doing = holding
	s.node[1].log, s.node[1].seen = s.node[0].log, 0
	return s
}

// severed is armed, and lb1 is cut off.
func severed(faults uint8) state {
	s := armed(faults)
	s.cut[1], s.cut[2] = true, true
	return s
}

// cold is three nodes that have just been started, and an address outside.
func cold(faults uint8) state {
	s := state{cloud: none, faults: faults}
	for i := range s.node {
		s.node[i] = node{up: true, health: unknown, seen: life}
		s.node[i].log = record{owner: none, holder: none, preferred: none}
	}
	return s
}

// canonical counts terms, log positions and tickets anew, so that states that differ only
// in how long they took are one. Nothing but their order is ever asked for.
func (s state) canonical() state {
	var terms, tickets uint64
	var indices [nodes]uint64
	for i, n := range s.node {
		terms |= 1<<n.term | 1<<n.log.term
		tickets |= 1 << n.log.ticket
		for _, o := range s.node {
			if o.log.term == n.log.term {
				indices[i] |= 1 << o.log.index
			}
		}
	}
	for i := range s.node {
		n := &s.node[i]
		n.term, n.log.term = rank(terms, n.term), rank(terms, n.log.term)
		n.log.index, n.log.ticket = rank(indices[i], n.log.index), rank(tickets, n.log.ticket)
	}
	return s
}

// rank is how many of the set's members above 0 are not greater than x.
func rank(set uint64, x uint8) uint8 {
	return uint8(bits.OnesCount64(set &^ 1 & (2<<x - 1)))
}
