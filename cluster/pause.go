package cluster

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/fsm"
)

// Pause forbids every leader to write to the cloud, until Resume; they go on looking. by
// names who asks. It returns when that is committed, so that it survives every daemon, and
// this leader has no claim in flight any more; what the cloud has accepted before it may
// still carry out. A pause that is in force stays as it is.
//
// The error is a *fsm.NotLeaderError if another node must be asked. After any other the
// pause may be in force or not.
func (n *Node) Pause(ctx context.Context, by string) error {
	if n.raft.State() != raft.Leader {
		return n.notLeader()
	}
	if err := n.mark(ctx, fsm.Command{Pause: &fsm.Pause{Since: time.Now().UTC(), By: by}}); err != nil {
		return err
	}
	return n.awaitNoClaim(ctx)
}

// Resume ends a pause, if there is one: the leader claims at once what is not where it
// should be. Errors are as of Pause.
func (n *Node) Resume(ctx context.Context) error {
	if n.raft.State() != raft.Leader {
		return n.notLeader()
	}
	return n.mark(ctx, fsm.Command{Resume: &fsm.Resume{}})
}

// awaitNoClaim returns when no claim is in flight, or this node's loop has ended.
func (n *Node) awaitNoClaim(ctx context.Context) error {
	for {
		claiming := make(chan bool, 1)
		if !n.post(func(l *loop) { claiming <- l.busy() == fsm.ActionClaim }) {
			return nil
		}
		select {
		case busy := <-claiming:
			if !busy {
				return nil
			}
		case <-n.stopped:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := sleep(ctx, pollPause); err != nil {
			return err
		}
	}
}

// pause notes in the tenure what a pause means for it: whatever a look says of an address
// now, it is to be claimed as soon as that may be.
func (t *tenure) pause() {
	t.paused = true
	for _, a := range t.ips {
		a.looked = true
	}
}

// paused makes of a what it is during a pause: held only if the leader's last look has shown
// it here.
func (a *AddressStatus) paused(own address, self string) {
	if own.failures == 0 {
		a.State = AddressPaused
	}
	a.Held = own.failures == 0 && !own.verifiedAt.IsZero() && own.instance == self
}

// logPause writes one line when a pause begins or ends.
func (l *loop) logPause(p *fsm.Pause) {
	switch {
	case (p == nil) == (l.paused == nil):
	case p == nil:
		l.log.Info("resumed", "boottime_ns", int64(l.cfg.Boottime()))
	default:
		l.log.Info("paused", "by", p.By, "since", p.Since.Format(time.RFC3339), "boottime_ns", int64(l.cfg.Boottime()))
	}
	l.paused = p
}
