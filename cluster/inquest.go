package cluster

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/fsm"
)

// inquest asks all voters but the leader of b, this node among them, whether that leader
// is gone. It returns how many say so, 0 if this node does not, and all who answered.
func (n *Node) inquest(ctx context.Context, b beat) (witnesses int, survivors []fsm.Candidate) {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithTimeout(ctx, 3*n.cfg.Timing.look())
	defer cancel()
	voters := n.voters()
	answers := make(chan fsm.Testimony, len(voters))
	asked := 0
	for _, s := range voters {
		if string(s.ID) != b.leader {
			asked++
			wg.Go(func() { answers <- n.ask(ctx, s, b) })
		}
	}
	var heard []fsm.Contact
	var enough <-chan time.Time
	for range asked {
		select {
		case t := <-answers:
			switch {
			case t.Contact.ID == n.cfg.Member.ID && !t.Gone:
				return 0, nil
			case t.Gone:
				witnesses++
			}
			if t.Contact.ID != "" {
				heard = append(heard, t.Contact)
			}
		case <-enough:
			return witnesses, n.candidates(heard)
		}
		if enough == nil && witnesses >= n.majority() {
			enough = time.After(stragglers)
		}
	}
	return witnesses, n.candidates(heard)
}

// ask has one voter, or this node itself, look for the leader of b. It returns when ctx
// ends, at the latest; a voter that does not answer says nothing.
func (n *Node) ask(ctx context.Context, s raft.Server, b beat) fsm.Testimony {
	id := string(s.ID)
	if id == n.cfg.Member.ID {
		return fsm.Testimony{Gone: n.gone(ctx, b, n.cfg.Timing.silence()), Contact: n.Contact()}
	}
	t, err := n.cfg.Peers.Confirm(ctx, id, string(s.Address), fsm.Suspicion{Leader: b.leader, Term: b.term})
	if err != nil || t.Contact.ID != id {
		return fsm.Testimony{}
	}
	return t
}

// candidates is what those who answered bring to an election.
func (n *Node) candidates(heard []fsm.Contact) []fsm.Candidate {
	var newest uint64
	for _, c := range heard {
		newest = max(newest, c.LastIndex)
	}
	drains := n.fsm.State().Drains
	var out []fsm.Candidate
	for _, c := range heard {
		_, drained := drains[c.ID]
		out = append(out, fsm.Candidate{
			Member: c.Member, Report: &c.Report, Voter: c.Voter, Reachable: true, Drained: drained,
			CaughtUp: c.LastIndex == newest, // no other gets the votes of those who have more
		})
	}
	return out
}

// Confirm tells another member whether this node, too, finds the leader gone that the
// other suspects. It takes up to two looks at that leader, see Timing.look.
func (n *Node) Confirm(ctx context.Context, q fsm.Suspicion) fsm.Testimony {
	b := n.gate.pulse.last()
	if b.leader != q.Leader || b.term != q.Term {
		b = beat{leader: q.Leader, term: q.Term} // not heard of it: silence means nothing
	}
	t := fsm.Testimony{}
	if n.raft.State() != raft.Leader && n.raft.CurrentTerm() == q.Term {
		// Heartbeats do not reach all at the same moment.
		t.Gone = n.gone(ctx, b, n.cfg.Timing.silence()-n.cfg.Timing.gap())
	}
	t.Contact = n.Contact()
	return t
}

// gone looks at the leader of b until it is clear whether it is gone, for two looks at most.
func (n *Node) gone(ctx context.Context, b beat, silence time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*n.cfg.Timing.look())
	defer cancel()
	for {
		switch n.look(ctx, b, silence) {
		case alive:
			return false
		case gone:
			return true
		case unclear:
		}
		if sleep(ctx, lookAgain) != nil {
			return false
		}
	}
}

// look asks the leader of b itself, once.
func (n *Node) look(ctx context.Context, b beat, silence time.Duration) finding {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Timing.look())
	defer cancel()
	c, err := n.cfg.Peers.Probe(ctx, b.leader, n.addressOf(b.leader))
	now := n.gate.pulse.last()
	e := evidence{
		heard:    now != b && !b.at.IsZero(),
		answered: err == nil,
		leads:    c.RaftState == raft.Leader.String() || c.Term > b.term,
		refused:  errors.Is(err, syscall.ECONNREFUSED),
		linked:   n.cfg.Linked(b.leader),
		silent:   !b.at.IsZero() && time.Since(b.at) >= silence,
	}
	return e.finding()
}

// look is how long one look at a suspected leader waits for its answer.
func (t Timing) look() time.Duration { return t.Lease / 3 }

// evidence is what one node knows of a leader whom it suspects.
type evidence struct {
	heard    bool // from it, or from a newer one, since the suspicion began
	answered bool // the probe
	leads    bool // by its answer, or it knows of a later term
	refused  bool // nobody listens at its address
	linked   bool // a stream from it is still open
	silent   bool // for longer than a leader that is well ever is
}

type finding int

const (
	unclear finding = iota
	alive
	gone
)

// finding weighs the evidence. Whoever answers that it leads is alive, whatever else
// speaks against it. Whoever answers and leads no more, a process that was restarted for
// one, will never lead that term again. A refused connection proves that nobody listens
// only if no stream is left either: a firewall may reject new ones. No answer at all, as of
// a machine without power or a process that hangs, counts only beside silence.
func (e evidence) finding() finding {
	switch {
	case e.heard, e.answered && e.leads:
		return alive
	case e.answered, e.refused && !e.linked, e.silent:
		return gone
	}
	return unclear
}

// voters are the members that vote, in the newest configuration.
func (n *Node) voters() []raft.Server {
	var out []raft.Server
	for _, s := range n.servers() {
		if s.Suffrage == raft.Voter {
			out = append(out, s)
		}
	}
	return out
}

func (n *Node) majority() int { return len(n.voters())/2 + 1 }
