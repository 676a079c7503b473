package cluster

import (
	"context"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

const (
	probeTimeout = 500 * time.Millisecond
	// forwardTimeout bounds the delivery of a report; a lost one is found by the next
	// probe of the leader.
	forwardTimeout = time.Second
	// selfTestTimeout bounds a look at the provider; selfTestInterval is how often a
	// node that does not lead proves that it could.
	selfTestTimeout  = 10 * time.Second
	selfTestInterval = 5 * time.Minute
	selfTestRetry    = 15 * time.Second
)

// peer is what a leader knows of another member from asking it.
type peer struct {
	contact fsm.Contact
	// at is the time of the last answer, zero after a failure.
	at time.Time
	// asked says that a probe has ended, with or without an answer.
	asked   bool
	probing bool
}

// schedule is a task with growing pauses.
type schedule struct {
	due      time.Time
	running  bool
	failures int
}

// probeAll asks every other member where it stands.
func (l *loop) probeAll() {
	t := l.tenure
	for _, s := range l.servers() {
		id, address := string(s.ID), string(s.Address)
		if id == l.cfg.Member.ID {
			continue
		}
		p := t.peers[id]
		if p == nil {
			p = &peer{}
			t.peers[id] = p
		}
		if p.probing {
			continue
		}
		p.probing = true
		l.wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.ctx, probeTimeout)
			defer cancel()
			c, err := l.cfg.Peers.Probe(ctx, id, address)
			l.post(func(l *loop) { l.probed(t, id, c, err) })
		})
	}
}

func (l *loop) probed(t *tenure, id string, c fsm.Contact, err error) {
	if l.tenure != t {
		return
	}
	p := t.peers[id]
	p.probing, p.asked = false, true
	known := !p.at.IsZero()
	switch {
	case err == nil:
		// What the peer forwarded meanwhile may have overtaken its answer.
		c.Report = newer(p.contact.Report, c.Report)
		p.contact, p.at = c, time.Now()
		if !known {
			l.log.Info("peer answers", "peer", c.Name, "health", c.Report.Health)
		}
	case time.Since(p.at) >= reachableFor && known:
		p.at = time.Time{}
		l.log.Warn("peer does not answer", "peer", l.name(id), "error", err)
	}
	l.doubt(time.Now())
	l.looked(nil)
}

// newer is the report got unless the same process has said something later already.
func newer(have, got fsm.Report) fsm.Report {
	if have.Boot == got.Boot && have.Seq > got.Seq {
		return have
	}
	return got
}

// probing reports whether the end of a first probe is still awaited.
func (l *loop) probing() bool {
	for _, s := range l.servers() {
		id := string(s.ID)
		if p := l.tenure.peers[id]; id != l.cfg.Member.ID && (p == nil || !p.asked) {
			return true
		}
	}
	return false
}

// Receive takes the report of another member, at the leader. It returns when the
// leader has taken notice; that it is committed is the leader's business.
func (n *Node) Receive(ctx context.Context, r fsm.Report) error {
	done := make(chan error, 1)
	ok := n.post(func(l *loop) { done <- l.received(r) })
	if !ok {
		return n.notLeader()
	}
	select {
	case err := <-done:
		return err
	case <-n.stopped:
		return n.notLeader()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *loop) received(r fsm.Report) error {
	if l.tenure == nil {
		return l.notLeader()
	}
	p := l.tenure.peers[r.Member]
	if p == nil {
		return nil // the first probe will bring it
	}
	// It counts from the next answer on if there has been none yet.
	p.contact.Report = newer(p.contact.Report, r)
	return nil
}

// forward brings this node's report to the leader it follows, once each.
func (l *loop) forward() {
	r, _ := l.self.get()
	if l.tenure != nil || l.forwarded == r.Seq {
		return
	}
	id, address := l.leader()
	if id == "" || id == l.cfg.Member.ID || address == "" {
		return
	}
	l.forwarded = r.Seq
	l.wg.Go(func() {
		ctx, cancel := context.WithTimeout(l.ctx, forwardTimeout)
		defer cancel()
		if err := l.cfg.Peers.Forward(ctx, id, address, r); err != nil {
			l.log.Debug("report not delivered", "leader", l.name(id), "error", err)
		}
	})
}

// testSelf has a node that does not lead prove now and then that it could claim. A
// leader proves it by its work, unless a fault of its own keeps it from working.
func (l *loop) testSelf(now time.Time) {
	r, _ := l.self.get()
	s := &l.selfTest
	if l.cfg.Claimer == nil || l.leaving || s.running || now.Before(s.due) || (l.tenure != nil && r.ClaimFault == "") {
		return
	}
	s.running = true
	l.wg.Go(func() {
		ctx, cancel := context.WithTimeout(l.ctx, selfTestTimeout)
		defer cancel()
		err := l.SelfTest(ctx)
		l.post(func(l *loop) { l.selfTested(err) })
	})
}

func (l *loop) selfTested(err error) {
	r, _ := l.self.get()
	s := &l.selfTest
	s.running = false
	switch {
	case err == nil:
		s.failures, s.due = 0, time.Now().Add(selfTestInterval)
		if l.self.setClaimFault("") {
			l.log.Info("self-test passed: this node can claim again")
		}
		return
	case ownFault(err) && partial(err) && r.ClaimFault == "":
		// What it can claim it may hold: an address that all are refused, because it is gone, must
		// not keep the others from a healthy balancer. Only a node that has made way for a better
		// one waits until it is as good.
		l.log.Warn("self-test failed for an address: this node can claim others only", "error", err)
	case ownFault(err):
		if l.self.setClaimFault(oneLine(err)) {
			l.log.Error("self-test failed: this node cannot claim the address", "error", err)
		}
	default:
		l.log.Warn("self-test without a result", "error", err)
	}
	s.retry()
}

// retry doubles the pause up to selfTestInterval.
func (s *schedule) retry() {
	s.due = time.Now().Add(min(selfTestRetry<<min(s.failures, 8), selfTestInterval))
	s.failures++
}
