package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/cluster/peernet"
	"github.com/buoy-lb/buoy/fsm"
)

// leaderViewTimeout bounds the question to the leader behind a follower's status.
const leaderViewTimeout = time.Second

const (
	// leaderWait bounds the wait for a leader to be known: an election takes a second.
	leaderWait  = 2 * time.Second
	leaderPause = 50 * time.Millisecond
)

// daemon answers for a node over HTTP: it puts the cluster into the words of the API,
// and passes on to the leader what only the leader knows or can do.
type daemon struct {
	node  *cluster.Node
	peers *api.Peers
}

var (
	_ api.Viewer = daemon{}
	_ api.Admin  = daemon{}
	_ api.Peer   = (*cluster.Node)(nil)
)

// View is this node's own view.
func (d daemon) View() api.Status { return viewOf(d.node.Status(), time.Now()) }

// Alive says that the node's loop turned over lately.
func (d daemon) Alive() bool { return d.node.Alive() }

// Status is the leader's view with this node's own place in it, or this node's own view
// with a warning when the leader does not answer.
func (d daemon) Status(ctx context.Context) api.Status {
	s := d.node.Status()
	own := viewOf(s, time.Now())
	if s.LeaderID == "" || s.LeaderID == s.Self.ID {
		return own
	}
	ctx, cancel := context.WithTimeout(ctx, leaderViewTimeout)
	defer cancel()
	leaders, err := d.peers.Status(ctx, s.LeaderID, s.LeaderAddress)
	if err == nil && leaders.Raft.Leader != leaders.Self {
		err = errors.New("it does not lead any more")
	}
	if err != nil {
		own.Warnings = append(own.Warnings, fmt.Sprintf("this is %s's own view; it may be out of date, for the leader %s could not be asked: %v", own.Self, own.Raft.Leader, err))
		return own
	}
	return overlay(leaders, own)
}

// overlay is the leader's view as seen from the node whose own view is own.
func overlay(leaders, own api.Status) api.Status {
	leaders.Self, leaders.Version, leaders.Time = own.Self, own.Version, own.Time
	leaders.Raft.State, leaders.Raft.LastContactMS = own.Raft.State, own.Raft.LastContactMS
	return leaders
}

// Init makes this node the first member of a new cluster.
func (d daemon) Init(ctx context.Context) error { return d.node.Init(ctx) }

// Join makes it a member of the cluster at address.
func (d daemon) Join(ctx context.Context, address string, progress func(string)) error {
	return d.node.Join(ctx, address, progress)
}

// Transfer moves leadership, through the leader if that is another node. The leader is
// asked once: should it change meanwhile, the operator decides again.
func (d daemon) Transfer(ctx context.Context, target string) (string, error) {
	to, err := d.node.Transfer(ctx, target)
	if leader := elsewhere(err); leader != nil {
		return d.peers.Transfer(ctx, leader.ID, leader.Address, target)
	}
	return to, err
}

// Drain marks member, or this node if that is empty.
func (d daemon) Drain(ctx context.Context, member string, lasting time.Duration, force bool) error {
	member = cmp.Or(member, d.node.Status().Self.Name)
	return atLeader(ctx,
		func() error { return d.node.Drain(ctx, member, lasting, force) },
		func(l *fsm.NotLeaderError) error {
			return d.peers.Drain(ctx, l.ID, l.Address, member, lasting, force)
		})
}

// Undrain ends the mark of member, or of this node if that is empty.
func (d daemon) Undrain(ctx context.Context, member string) error {
	member = cmp.Or(member, d.node.Status().Self.Name)
	return atLeader(ctx,
		func() error { return d.node.Undrain(ctx, member) },
		func(l *fsm.NotLeaderError) error { return d.peers.Undrain(ctx, l.ID, l.Address, member) })
}

// Pause forbids all members to write to the cloud, in the name of this node if by is empty.
func (d daemon) Pause(ctx context.Context, by string) error {
	by = cmp.Or(by, d.node.Status().Self.Name)
	return atLeader(ctx,
		func() error { return d.node.Pause(ctx, by) },
		func(l *fsm.NotLeaderError) error { return d.peers.Pause(ctx, l.ID, l.Address, by) })
}

// Resume ends a pause.
func (d daemon) Resume(ctx context.Context) error {
	return atLeader(ctx,
		func() error { return d.node.Resume(ctx) },
		func(l *fsm.NotLeaderError) error { return d.peers.Resume(ctx, l.ID, l.Address) })
}

// atLeader does what may be repeated, here or at the leader that this node knows. While the
// lead changes nobody can; that is waited out, for leaderWait at most.
func atLeader(ctx context.Context, here func() error, there func(leader *fsm.NotLeaderError) error) error {
	patience := time.NewTimer(leaderWait)
	defer patience.Stop()
	for {
		err := here()
		if leader := elsewhere(err); leader != nil {
			err = there(leader)
		}
		if notLeader := (*fsm.NotLeaderError)(nil); !errors.As(err, &notLeader) {
			return err
		}
		select {
		case <-time.After(leaderPause):
		case <-patience.C:
			return err
		case <-ctx.Done():
			return err
		}
	}
}

// elsewhere is the leader that err names and who can be asked instead, or nil.
func elsewhere(err error) *fsm.NotLeaderError {
	var leader *fsm.NotLeaderError
	if errors.As(err, &leader) && leader.Address != "" {
		return leader
	}
	return nil
}

// caller tells who sent a request on the members' port, and whether it is a member.
func (d daemon) caller(ctx context.Context) (id string, member bool) {
	id, ok := peernet.PeerIDFromContext(ctx)
	return id, ok && d.node.Knows(id)
}
