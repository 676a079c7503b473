package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/fsm"
)

const (
	// guardFor bounds the wait for a target to answer with the whole log; guardFresh is
	// how old its answer may be when the transfer starts.
	guardFor   = 300 * time.Millisecond
	guardFresh = 300 * time.Millisecond
	guardPause = 5 * time.Millisecond
	// askSelfTest bounds the target's proof that it can claim.
	askSelfTest = 2 * time.Second
	// barFailed keeps a target out after a transfer to it failed: repeating it at once
	// is half of hashicorp/raft issue #696. barUnready is for one that was not ready.
	barFailed  = time.Minute
	barUnready = time.Second
)

var (
	errUnready  = errors.New("the target is not ready")
	errSelfTest = errors.New("the target cannot claim")
)

// request is an operator's wish for a planned switch, and where to answer it.
type request struct {
	fsm.Request
	answer chan<- requestAnswer
}

type requestAnswer struct {
	to  string
	err error
}

// Transfer hands leadership to the member called target, or to the best other eligible
// one if target is empty, and returns its name once it leads. The error is a
// *fsm.NotLeaderError if another node must be asked.
func (n *Node) Transfer(ctx context.Context, target string) (string, error) {
	if n.raft.State() != raft.Leader {
		return "", n.notLeader()
	}
	id, err := n.memberID(target)
	if err != nil {
		return "", err
	}
	answer := make(chan requestAnswer, 1)
	req := &request{Request: fsm.Request{Target: id}, answer: answer}
	if !n.post(func(l *loop) { l.requested(req) }) {
		return "", n.notLeader()
	}
	select {
	case a := <-answer:
		return a.to, a.err
	case <-n.stopped:
		return "", n.notLeader()
	case <-ctx.Done():
		n.post(func(l *loop) {
			if l.request == req {
				l.request = nil
			}
		})
		return "", ctx.Err()
	}
}

// requested makes req the one request to be decided on.
func (l *loop) requested(req *request) {
	switch {
	case l.tenure == nil:
		req.answer <- requestAnswer{err: l.notLeader()}
	case l.request != nil:
		req.answer <- requestAnswer{err: fsm.Refusef("another transfer is under way: try again when it is done")}
	default:
		l.request = req
	}
}

// succeeded answers the request when the member id leads.
func (l *loop) succeeded(id string) {
	if l.request == nil {
		return
	}
	if want := l.request.Target; want != "" && want != id {
		l.answerRequest("", fmt.Errorf("transfer to %s: %s leads now instead", l.name(want), l.name(id)))
		return
	}
	l.answerRequest(l.name(id), nil)
}

// memberID finds a member by the name that people use; "" stays "".
func (n *Node) memberID(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	var names []string
	for id, m := range n.fsm.State().Members {
		if m.Name == name || id == name {
			return id, nil
		}
		names = append(names, m.Name)
	}
	return "", fsm.Refusef("no member is called %q; the members are %s", name, joinSorted(names))
}

func (l *loop) answerRequest(to string, err error) {
	if l.request == nil {
		return
	}
	l.request.answer <- requestAnswer{to, err}
	l.request = nil
}

// startTransfer hands leadership to d.Target, through the guards.
func (l *loop) startTransfer(d fsm.Decision) {
	h := l.handover(d)
	l.tenure.chosen = l.fsm.State().Preferred
	ownFault := d.Reason.Code == fsm.ReasonOwnFault
	if ownFault {
		l.blameSelf()
	}
	l.falling(d)
	report, _ := l.self.get()
	began := time.Now()
	l.start(fsm.ActionTransfer, func(ctx context.Context, _ *tenure) func() {
		err := l.transfer(ctx, h, report, ownFault)
		return func() { l.transferFailed(d, h, time.Since(began), err) }
	})
}

// transfer announces the hand-over, checks that the target can lead, and hands over.
// Leadership is gone when it has worked; whatever it returns then reaches nobody.
func (l *loop) transfer(ctx context.Context, h fsm.Handover, report fsm.Report, selfTest bool) error {
	address := l.addressOf(h.To)
	if selfTest {
		askCtx, cancel := context.WithTimeout(ctx, askSelfTest)
		err := l.cfg.Peers.SelfTest(askCtx, h.To, address)
		cancel()
		if err != nil {
			return fmt.Errorf("%w: %w", errSelfTest, err)
		}
	}
	// What the successor must know: that this node's health changed, so that it does
	// not hand back, and why it is being given the lead.
	if err := l.applyAll(ctx, []fsm.Command{{Report: &report}, {Handover: &h}}); err != nil {
		return err
	}
	if err := l.guard(ctx, h.To, address); err != nil {
		return err
	}
	f := l.raft.LeadershipTransferToServer(raft.ServerID(h.To), raft.ServerAddress(address))
	bound := l.cfg.Timing.Election + transportTimeout + 500*time.Millisecond
	if err := await(ctx, f, bound); err != nil {
		return err
	}
	// nil means that leadership is lost; the loop hears of it on its own.
	return sleep(ctx, transportTimeout)
}

// guard passes when the target has answered within guardFresh, as a follower of this
// term, that it has the whole log. A transfer to a hung or lagging peer can wedge this
// node for good (hashicorp/raft issue #696).
func (l *loop) guard(ctx context.Context, id, address string) error {
	ctx, cancel := context.WithTimeout(ctx, guardFor)
	defer cancel()
	for {
		asked := time.Now()
		c, err := l.cfg.Peers.Probe(ctx, id, address)
		switch {
		case err != nil:
			return fmt.Errorf("%w: %w", errUnready, err)
		case !l.voter(id) || !c.Voter:
			return fmt.Errorf("%w: it does not vote", errUnready)
		case c.RaftState == raft.Follower.String() && c.Term == l.raft.CurrentTerm() &&
			c.LastIndex >= l.raft.LastIndex() && time.Since(asked) < guardFresh:
			return nil
		}
		if err := sleep(ctx, guardPause); err != nil {
			return fmt.Errorf("%w: it lags: entry %d of %d, %s of term %d", errUnready, c.LastIndex, l.raft.LastIndex(), c.RaftState, c.Term)
		}
	}
}

// transferFailed runs only while this node still leads the term it wanted to give up.
func (l *loop) transferFailed(d fsm.Decision, h fsm.Handover, took time.Duration, err error) {
	if err == nil {
		err = errors.New("the target did not take over")
	}
	bar := l.bar(h.To, err)
	l.log.Warn("transfer failed", "to", l.name(h.To), "reason", h.Reason, "error", err, "took", took, "not_again_for", bar)
	l.stayed()
	if d.Reason.Code == fsm.ReasonRequested { // else it is yet to be decided on
		l.answerRequest("", fmt.Errorf("transfer to %s: %w", l.name(h.To), err))
	}
	if d.Reason.Code == fsm.ReasonOwnFault {
		// Nobody took it: go on trying here.
		l.self.setClaimFault("")
	}
	l.probeAll()
	l.prove()
}

// bar keeps the member id from being handed the lead again for a while, because of err. It
// outlives the tenure: an election would else be a way around it.
func (l *loop) bar(id string, err error) time.Duration {
	if errors.Is(err, errSelfTest) {
		// Nothing was sent. It may still lead if this node is unfit for another reason.
		l.unproven[id] = time.Now().Add(barFailed)
		return barFailed
	}
	b, pause := bar{after: l.raft.LastIndex()}, barFailed
	if errors.Is(err, errUnready) {
		b.after, pause = 0, barUnready // nothing was sent
	}
	b.end = time.Now().Add(pause)
	l.bars[id] = b
	return pause
}

// bar is how long a member is not handed the lead.
type bar struct {
	end time.Time
	// after is the last entry when a transfer failed. Who has a later one has answered since:
	// what the failed transfer may have left in its queue (issue #696) is gone.
	after uint64
}

// until is when the bar ends, as of now, for a member whose last entry is last.
func (b bar) until(now time.Time, last uint64) time.Time {
	if !b.end.After(now) && b.after > 0 && last <= b.after {
		return now.Add(tickInterval) // the next probe tells
	}
	return b.end
}

// blameSelf marks this node as unable to claim before it hands over, so that its rank
// does not bring the lead straight back. A self-test that passes clears the mark.
func (l *loop) blameSelf() {
	for _, a := range l.tenure.ips {
		if a.ownFaults > 0 {
			l.self.setClaimFault(a.lastError)
		}
	}
	l.selfTest.retry()
}

func (n *Node) addressOf(id string) string {
	for _, s := range n.servers() {
		if string(s.ID) == id {
			return string(s.Address)
		}
	}
	return ""
}
