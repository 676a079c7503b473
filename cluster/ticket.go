package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/fsm"
)

const (
	// TicketLife (D) is how long a ticket is valid, from before it was proposed.
	TicketLife = 750 * time.Millisecond
	// ticketMargin is what must be left of a ticket for a write to begin.
	ticketMargin = 50 * time.Millisecond
	// ticketSlack is added to the successor's wait, beside 5 % for clock rates.
	ticketSlack = 10 * time.Millisecond
)

var errNoTicket = errors.New("no right to write to the cloud")

// ticket is the right to make one write to the cloud. Being leader is not: two nodes
// can be in raft's state Leader at once, and VerifyLeader can say yes after a newer
// leader exists. The ticket holds because its entry committed, so that any later leader
// has it in its log, stored no earlier than t0, and waits from then on.
type ticket struct {
	fsm.Ticket
	node *Node
	t0   reading
	ctx  context.Context // of the action, and so of the tenure
	// begun is set by the first check inside the write, ended by done.
	begun, ended atomic.Bool
}

// takeTicket waits until no other node's ticket can be valid, then commits one for t.
func (n *Node) takeTicket(ctx context.Context, t *tenure) (*ticket, error) {
	if err := n.awaitForeignTicket(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoTicket, err)
	}
	tk := &ticket{
		Ticket: fsm.Ticket{Epoch: t.term, Node: n.cfg.Member.ID, Seq: t.tickets.Add(1), Life: TicketLife},
		node:   n, ctx: ctx,
		// Both clocks are read before the proposal: what commits can only be younger.
		t0: n.now(),
	}
	applied, err := n.apply(ctx, fsm.Command{Ticket: &tk.Ticket}, TicketLife)
	if err != nil {
		return nil, fmt.Errorf("%w: commit the ticket: %w", errNoTicket, err)
	}
	if applied.Void {
		return nil, fmt.Errorf("%w: leadership changed while the ticket was queued", errNoTicket)
	}
	if err := tk.valid(ticketMargin); err != nil {
		return nil, err
	}
	n.log.Info("ticket granted", "epoch", tk.Epoch, "seq", tk.Seq, "node", n.cfg.Member.Name,
		"t0_boottime_ns", int64(tk.t0.boot), "until_boottime_ns", int64(tk.t0.boot+tk.Life), "boottime_ns", int64(n.cfg.Boottime()))
	return tk, nil
}

// awaitForeignTicket waits out the newest ticket of another node, unless it was
// released. It counts from when this node stored it, with 5 % for the clocks' rates.
func (n *Node) awaitForeignTicket(ctx context.Context) error {
	newest := n.fsm.State().Ticket
	if newest.Node == "" || newest.Node == n.cfg.Member.ID || newest.Released || n.noTicketWait {
		return nil
	}
	at, life := n.seen.foreignTicket()
	life = max(life, newest.Life, TicketLife)
	wait := time.Until(at.Add(life + life/20 + ticketSlack))
	if wait <= 0 {
		return nil
	}
	n.log.Info("waiting out a ticket", "node", n.name(newest.Node), "epoch", newest.Epoch, "wait", wait)
	return sleep(ctx, wait)
}

// valid reports why the ticket gives no right to write, with margin to spare.
func (tk *ticket) valid(margin time.Duration) error {
	elapsed, agree := tk.t0.since(tk.node.now())
	switch {
	case tk.ended.Load():
		return fmt.Errorf("%w: the ticket was given back", errNoTicket)
	case tk.ctx.Err() != nil:
		return fmt.Errorf("%w: %w", errNoTicket, context.Cause(tk.ctx))
	case tk.node.raft.State() != raft.Leader || tk.node.raft.CurrentTerm() != tk.Epoch:
		return fmt.Errorf("%w: leadership of term %d is lost", errNoTicket, tk.Epoch)
	case !agree:
		return fmt.Errorf("%w: the machine was suspended", errNoTicket)
	case elapsed+margin >= tk.Life:
		return fmt.Errorf("%w: the ticket is %v old, valid for %v", errNoTicket, elapsed.Round(time.Millisecond), tk.Life)
	}
	return nil
}

// check is run inside the socket write.
func (tk *ticket) check() error {
	if err := tk.valid(0); err != nil {
		tk.node.log.Warn("write refused", "epoch", tk.Epoch, "seq", tk.Seq, "error", err, "boottime_ns", int64(tk.node.cfg.Boottime()))
		return err
	}
	if !tk.begun.Swap(true) {
		tk.node.log.Info("write begun", "epoch", tk.Epoch, "seq", tk.Seq, "boottime_ns", int64(tk.node.cfg.Boottime()))
	}
	return nil
}

// end stops the use of the ticket; it reports false if that was done before.
func (tk *ticket) end() bool {
	if tk.ended.Swap(true) {
		return false
	}
	// Said before the release is proposed: others may count on that before it is said.
	tk.node.log.Info("ticket given back", "epoch", tk.Epoch, "seq", tk.Seq, "boottime_ns", int64(tk.node.cfg.Boottime()))
	return true
}

// release tells the cluster, while it still matters, that the ticket is not used any
// more, so that a successor need not wait it out. It comes after end, never before.
func (tk *ticket) release() {
	n := tk.node
	if elapsed, _ := tk.t0.since(n.now()); elapsed >= tk.Life {
		n.log.Info("ticket expired", "epoch", tk.Epoch, "seq", tk.Seq, "boottime_ns", int64(n.cfg.Boottime()))
		return
	}
	// Not tk.ctx: an aborted claim must give its ticket back before the hand-over.
	ctx, cancel := context.WithTimeout(context.Background(), TicketLife)
	defer cancel()
	if _, err := n.apply(ctx, fsm.Command{Release: &tk.Ticket}, TicketLife); err != nil {
		n.log.Info("ticket not released", "epoch", tk.Epoch, "seq", tk.Seq, "error", err, "boottime_ns", int64(n.cfg.Boottime()))
		return
	}
	n.log.Info("ticket released", "epoch", tk.Epoch, "seq", tk.Seq, "boottime_ns", int64(n.cfg.Boottime()))
}

// fence gives the Claimer its tickets; wait returns when all of them are given back.
//
// Claims of several addresses run side by side, and their writes take turns: a node takes
// a ticket only when it has stopped using the one before. So its newest ticket is the only
// one that can be in use, which is what the log keeps, and what others wait out. The
// release of it says that nothing of this node's is in use any more; that of an older one,
// should it come late, names another seq and frees nothing (State.releaseTicket).
func (n *Node) fence(t *tenure) (f Fence, wait func()) {
	var wg sync.WaitGroup
	f = func(ctx context.Context) (func() error, func(), error) {
		select {
		case n.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("%w: %w", errNoTicket, context.Cause(ctx))
		}
		tk, err := n.takeTicket(ctx, t)
		if err != nil {
			<-n.turn
			return nil, nil, err
		}
		done := func() {
			if tk.end() {
				<-n.turn
				// Beside the Claimer, which goes on to follow its write.
				wg.Go(tk.release)
			}
		}
		return tk.check, done, nil
	}
	return f, wg.Wait
}

// sleep waits d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
