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

const (
	// stagger is how long each candidate waits for the one before it: enough for a
	// campaign, whose votes take milliseconds.
	stagger = 100 * time.Millisecond
	// lookAgain is the pause between two looks at a leader that is neither clearly
	// alive nor clearly gone: the kernel closes a dead process's connections and its
	// listener in any order.
	lookAgain = 2 * time.Millisecond
	// stragglers is how long to wait for further witnesses when a majority has spoken.
	stragglers = 10 * time.Millisecond
	// A node stands by itself at most campaignBurst times in a row, and then once every
	// campaignEvery: should it ever be wrong about leaders, it is not wrong often.
	campaignEvery = 2 * time.Second
	campaignBurst = 5
)

// sign is what made a node suspect its leader.
type sign string

const (
	// bySilence: no heartbeat for Timing.silence.
	bySilence sign = "no heartbeat"
	// byHangup: the last stream from the leader has ended.
	byHangup sign = "its connections are closed"
)

// suspicion is one leader of one term that this node believes gone.
type suspicion struct {
	beat
	sign sign
	at   time.Time // when the sign was seen
}

// PeerGone tells the node that the last raft stream from the member id has ended. It never
// blocks.
func (n *Node) PeerGone(id string) { n.suspect(byHangup, id) }

// suspect has the loop look into the leader, if id is the leader or empty. A hint that the
// loop has no room for is dropped: raft's own timers do not depend on it.
func (n *Node) suspect(s sign, id string) {
	b := n.gate.pulse.last()
	if b.leader == "" || id != "" && id != b.leader {
		return
	}
	now := time.Now()
	select {
	case n.mail <- func(l *loop) { l.inquire(suspicion{beat: b, sign: s, at: now}) }:
	default:
	}
}

// inquire finds out whether the leader is gone, and if so stands for election in turn. One
// inquiry at a time: another sign of the same leader joins it, one of another ends it.
func (l *loop) inquire(s suspicion) {
	if l.tenure != nil || l.inquiry.leader == s.leader && l.inquiry.term == s.term {
		return
	}
	l.endInquiry()
	ctx, cancel := context.WithCancel(l.ctx)
	l.inquiry, l.cancelInquiry = s, cancel
	l.wg.Go(func() {
		defer cancel()
		err := l.succeed(ctx, s)
		l.post(func(l *loop) {
			if err != nil {
				l.log.Debug("not standing for election", "leader", l.name(s.leader), "term", s.term, "sign", s.sign, "reason", err)
			}
			if l.inquiry == s {
				l.endInquiry()
			}
		})
	})
}

// endInquiry forgets what was suspected: it has been answered, or overtaken by events.
func (l *loop) endInquiry() {
	if l.cancelInquiry != nil {
		l.cancelInquiry()
	}
	l.inquiry, l.cancelInquiry = suspicion{}, nil
}

var (
	errAlive      = errors.New("the leader is alive, or a majority has not found it gone")
	errUnsteady   = errors.New("the link pauses by itself: raft's timers decide")
	errOvertaken  = errors.New("overtaken by events")
	errNotMyTurn  = errors.New("another node may hold the address and this one may not")
	errTooOften   = errors.New("this node has stood for election too often lately: raft's timers decide")
	errNotAMember = errors.New("this node does not vote")
)

// succeed takes the place of a leader that a majority of all voters finds gone, this node
// included. The best of the survivors goes first, the others wait for it. It returns when
// this node stands, or why it does not.
func (n *Node) succeed(ctx context.Context, s suspicion) error {
	if s.sign == bySilence && !n.gate.pulse.steady() {
		return errUnsteady
	}
	if !n.voter(n.cfg.Member.ID) {
		return errNotAMember
	}
	witnesses, survivors := n.inquest(ctx, s.beat)
	if witnesses < n.majority() {
		return errAlive
	}
	found := time.Now()
	turn, ok := fsm.Turn(n.cfg.Member.ID, survivors)
	if !ok {
		return errNotMyTurn
	}
	if turn > 0 {
		if err := sleep(ctx, time.Duration(turn)*stagger); err != nil {
			return err
		}
	}
	if !n.vacant(s.beat) {
		return errOvertaken
	}
	if !n.campaigns.Allow() {
		return errTooOften
	}
	n.log.Info("the leader is gone: standing for election", "leader", n.name(s.leader), "term", s.term, "sign", s.sign,
		"witnesses", witnesses, "voters", len(n.voters()), "turn", turn, "found_after", found.Sub(s.at),
		"boottime_ns", int64(n.cfg.Boottime()))
	n.post(func(l *loop) { l.lost.suspicion = s })
	return n.gate.stand(ctx)
}

// vacant is the last look before this node stands: nothing has changed since b. Without it
// a node that has waited for its turn would depose the leader elected meanwhile.
func (n *Node) vacant(b beat) bool {
	leader, _ := n.leader()
	return n.raft.CurrentTerm() == b.term && n.raft.State() == raft.Follower &&
		(leader == b.leader || leader == "") && n.gate.pulse.last() == b
}

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
