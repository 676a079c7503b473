package cluster

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/fsm"
)

const (
	// writeRetry paces failed attempts to bring the log up to date.
	writeRetry = time.Second
	// wedgedTransfer and wedgedOther are how long commits may fail, by cause, before
	// this process is given up.
	wedgedTransfer = 3 * time.Second
	wedgedOther    = 10 * time.Second
	// proofFresh is how long the proof that this leader commits is good enough.
	proofFresh = time.Second
)

// write brings the log up to what the leader knows: level-triggered, so that a lost
// message or a failed write costs time and nothing else.
func (l *loop) write(now time.Time) {
	t := l.tenure
	if t == nil || !t.ready() || t.writing || l.busy() == fsm.ActionTransfer || now.Before(t.writeAt) {
		return
	}
	history := len(t.history)
	commands := l.missing(l.fsm.State(), now)
	if len(commands) == 0 {
		return
	}
	t.writing = true
	l.wg.Go(func() {
		err := l.applyAll(t.ctx, commands)
		l.post(func(l *loop) { l.written(t, history, err) })
	})
}

func (l *loop) written(t *tenure, history int, err error) {
	t.writing = false
	if err != nil {
		t.writeAt = time.Now().Add(writeRetry)
		l.log.Warn("state not committed", "error", err)
		return
	}
	t.history = t.history[history:]
}

// applyAll proposes all in order and at once, so that they share a round trip.
func (n *Node) applyAll(ctx context.Context, commands []fsm.Command) error {
	var futures []raft.ApplyFuture
	for _, c := range commands {
		data, err := c.Encode()
		if err != nil {
			return err
		}
		futures = append(futures, n.raft.Apply(data, applyTimeout))
	}
	var errs error
	for _, f := range futures {
		errs = errors.Join(errs, await(ctx, f, applyTimeout))
	}
	return errs
}

// missing is what the log does not say yet.
func (l *loop) missing(s fsm.State, now time.Time) []fsm.Command {
	t, self := l.tenure, l.cfg.Member.ID
	var out []fsm.Command
	if s.ClusterID == "" {
		out = append(out, fsm.Command{Found: &fsm.Found{ClusterID: newClusterID()}})
	}
	// An operator's choice ends when another has the address, not when raft elects another.
	if s.Preferred != "" && s.Preferred != self && !t.byChance() {
		out = append(out, fsm.Command{Leads: &fsm.Leads{Member: self}})
	}
	if t.announced(s.Handover, self) {
		// It has failed, or this would not be written. Should raft elect its target by chance,
		// that one must not take itself for appointed.
		out = append(out, fsm.Command{Handover: &fsm.Handover{From: self, To: self, Reason: "withdrawn", Chosen: t.chosen, Term: t.term}})
	}
	report, _ := l.self.get()
	out = append(out, missingOf(s, l.cfg.Member, report)...)
	for id, p := range t.peers {
		if !p.at.IsZero() && p.contact.ID == id {
			out = append(out, missingOf(s, p.contact.Member, p.contact.Report)...)
		}
	}
	for ip, a := range t.ips {
		if c := s.Claims[ip]; a.held && (c.Holder != self || c.Instance != a.instance) {
			out = append(out, fsm.Command{Claim: &fsm.Holding{IP: ip, Holder: self, Instance: a.instance, Term: t.term, Since: a.since}})
		}
	}
	for i := range t.history {
		out = append(out, fsm.Command{Transition: &t.history[i]})
	}
	ends, _ := overdue(s.Drains, now)
	return append(out, ends...)
}

func missingOf(s fsm.State, m fsm.Member, r fsm.Report) []fsm.Command {
	var out []fsm.Command
	if s.Members[m.ID] != m {
		out = append(out, fsm.Command{Member: &m})
	}
	if old := s.Reports[m.ID]; old.Boot != r.Boot || old.Seq < r.Seq {
		out = append(out, fsm.Command{Report: &r})
	}
	return out
}

// prove has this leader commit an entry, and ends the process if it cannot for too
// long: State()==Leader and VerifyLeader say nothing about that.
func (l *loop) prove() {
	t := l.tenure
	if t.proving {
		return
	}
	t.proving = true
	l.wg.Go(func() {
		err := l.proveProgress(t.ctx)
		l.post(func(l *loop) { l.proved(t, err) })
	})
}

// proveAgain is for each look at the cloud: a leader at rest writes nothing else, and this
// finds one that can no longer commit. One that has just committed need not: the entry would
// be in the way of the first ticket.
func (l *loop) proveAgain() {
	if time.Since(l.tenure.provedAt) > proofFresh {
		l.prove()
	}
}

func (l *loop) proved(t *tenure, err error) {
	t.proving = false
	switch {
	case errors.Is(err, ErrWedged):
		l.wedged = err
	case err == nil && l.tenure == t:
		t.committed, t.provedAt = true, time.Now()
		l.becomeReady()
	}
}

// proveProgress commits a barrier, again each second from the first failure, until ctx
// ends with the tenure. ErrWedged means that this node led all the while.
func (n *Node) proveProgress(ctx context.Context) error {
	began := time.Now()
	for {
		err := await(ctx, n.raft.Barrier(applyTimeout), applyTimeout)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if n.raft.State() != raft.Leader {
			began = time.Now() // the loop will hear of it; an answer may also be a former term's
		}
		limit := wedgedOther
		if errors.Is(err, raft.ErrLeadershipTransferInProgress) {
			limit = wedgedTransfer
		}
		if failing := time.Since(began); failing > limit {
			n.log.Error("this node leads but commits nothing", "for", failing, "error", err, "goroutines", goroutines())
			return fmt.Errorf("%w: for %v: %w", ErrWedged, failing.Round(time.Millisecond), err)
		}
		if err := sleep(ctx, writeRetry); err != nil {
			return err
		}
	}
}

// goroutines is a dump of all stacks: what a wedge leaves behind to find its cause.
func goroutines() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}
