package cluster

import (
	"context"
	"errors"
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
