package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/fsm"
)

const (
	// maxMembers is where Raft's traffic and quorums stop making sense for this job.
	maxMembers = 9
	// initTimeout bounds the wait for a cluster of one to elect itself.
	initTimeout = 10 * time.Second
	// leaderTimeout bounds how long a joiner asks around for a leader.
	leaderTimeout = 10 * time.Second
	// catchUpTimeout bounds how long a joiner may take to get the log.
	catchUpTimeout = 30 * time.Second
	pollPause      = 25 * time.Millisecond
)

func newClusterID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return hex.EncodeToString(b[:])
}

// Init makes this node the first member of a new cluster and returns when it leads. It
// is refused if the node is a member already.
func (n *Node) Init(ctx context.Context) error {
	if len(n.servers()) > 0 {
		return fsm.Refusef("%s is already a member of cluster %q (%s): nothing was changed", n.cfg.Member.Name, n.cfg.Cluster, n.fsm.State().ClusterID)
	}
	ctx, cancel := context.WithTimeout(ctx, initTimeout)
	defer cancel()
	self := raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(n.cfg.Member.ID), Address: raft.ServerAddress(n.cfg.Member.Address)}
	if err := await(ctx, n.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{self}}), initTimeout); err != nil {
		return fmt.Errorf("make a cluster: %w", err)
	}
	// The leader's loop names the cluster and enters this member. A process killed in
	// between does the same at its next start.
	return n.until(ctx, "waiting for the first entries", func() bool {
		s := n.fsm.State()
		_, entered := s.Members[n.cfg.Member.ID]
		return s.ClusterID != "" && entered
	})
}

// until polls what raft gives no event for.
func (n *Node) until(ctx context.Context, what string, ok func() bool) error {
	for !ok() {
		if err := sleep(ctx, pollPause); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// Admit lets the node that c describes into the cluster, at the leader: as a non-voter,
// and as a voter once it has caught up. Repeating it is harmless.
func (n *Node) Admit(ctx context.Context, c fsm.Contact) error {
	if n.raft.State() != raft.Leader {
		return n.notLeader()
	}
	n.changes.Lock()
	defer n.changes.Unlock()
	if n.voter(c.ID) {
		return nil
	}
	if err := n.admissible(ctx, c); err != nil {
		return err
	}
	n.log.Info("joining", "member", c.Name, "address", c.Member.Address)
	if err := n.admitNonvoter(ctx, c); err != nil {
		return err
	}
	if err := n.caughtUp(ctx, c); err != nil {
		return err
	}
	f := n.raft.AddVoter(raft.ServerID(c.ID), raft.ServerAddress(c.Member.Address), 0, applyTimeout)
	if err := await(ctx, f, applyTimeout); err != nil {
		return n.leaderErr(fmt.Errorf("make %s a voter: %w", c.Name, err))
	}
	n.log.Info("joined", "member", c.Name, "address", c.Member.Address, "voters", len(n.servers()))
	n.post((*loop).tick) // do not wait to hear from it
	return nil
}

// admissible refuses whoever would be mistaken for somebody else.
func (n *Node) admissible(ctx context.Context, c fsm.Contact) error {
	s, m := n.fsm.State(), c.Member
	switch {
	case c.Cluster != n.cfg.Cluster:
		return fsm.Refusef("this is cluster %q, not %q", n.cfg.Cluster, c.Cluster)
	case c.ClusterID != "" && c.ClusterID != s.ClusterID:
		return fsm.Refusef("%s already belongs to another cluster called %q (%s, this one is %s): stop it, move its data directory away and join anew", m.Name, c.Cluster, c.ClusterID, s.ClusterID)
	case m.Timing != n.cfg.Timing.String():
		return fsm.Refusef("timing differs: %s has %s, the cluster %s (heartbeat/election/lease); it must be the same on every member", m.Name, m.Timing, n.cfg.Timing)
	case m.ID != c.ID:
		return fsm.Refusef("%s describes a member with the ID %s", c.ID, m.ID)
	}
	servers := n.servers()
	if len(servers) >= maxMembers && !slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.ID) == c.ID }) {
		return fsm.Refusef("the cluster has %d members already, the most there may be", len(servers))
	}
	for id, other := range s.Members {
		switch {
		case id == c.ID:
		case other.Name == m.Name:
			return fsm.Refusef("there is a member called %s already, at %s: give this node another node.id (or, if it is that node with its data directory lost, its old data directory back)", m.Name, other.Address)
		case other.Address == m.Address:
			return fsm.Refusef("the address %s belongs to the member %s: set node.listen or node.advertise of %s to an address of its own", m.Address, other.Name, m.Name)
		case other.Instance == m.Instance && m.Instance != "" && m.Role == fsm.RoleBalancer:
			return fsm.Refusef("the member %s is instance %s too: two nodes on one machine cannot take the address from each other", other.Name, m.Instance)
		}
	}
	back, err := n.cfg.Peers.Probe(ctx, c.ID, m.Address)
	if err != nil {
		return fsm.Refusef("the leader %s cannot reach %s at %s: %v", n.cfg.Member.Name, m.Name, m.Address, err)
	}
	if back.Boot != c.Boot {
		return fsm.Refusef("another process answers for %s at %s", m.Name, m.Address)
	}
	return nil
}

func (n *Node) admitNonvoter(ctx context.Context, c fsm.Contact) error {
	f := n.raft.AddNonvoter(raft.ServerID(c.ID), raft.ServerAddress(c.Member.Address), 0, applyTimeout)
	if err := await(ctx, f, applyTimeout); err != nil {
		return n.leaderErr(fmt.Errorf("admit %s: %w", c.Name, err))
	}
	member := c.Member
	if _, err := n.apply(ctx, fsm.Command{Member: &member}, applyTimeout); err != nil {
		return n.leaderErr(fmt.Errorf("enter %s: %w", c.Name, err))
	}
	return nil
}

// leaderErr sends whoever asks to the new leader if err says that this node is none any
// more, or is handing over: a join may be repeated there.
func (n *Node) leaderErr(err error) error {
	if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipLost) || errors.Is(err, raft.ErrLeadershipTransferInProgress) {
		return n.notLeader()
	}
	return err
}

// caughtUp waits until c has the log as it is now: a voter that lags would cost the
// cluster its quorum.
func (n *Node) caughtUp(ctx context.Context, c fsm.Contact) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	goal := n.raft.LastIndex()
	var last error
	err := n.until(ctx, c.Name+" did not catch up", func() bool {
		got, err := n.cfg.Peers.Probe(ctx, c.ID, c.Member.Address)
		last = err
		return err == nil && got.AppliedIndex >= goal
	})
	return errors.Join(err, last)
}

// oneAtATime is f for several goroutines.
func oneAtATime(f func(string)) func(string) {
	var mu sync.Mutex
	return func(s string) {
		mu.Lock()
		defer mu.Unlock()
		f(s)
	}
}

// Join makes this node a member of the cluster that a node at address belongs to, and
// returns when it votes and has caught up. progress is called with a line a step.
// Joining the cluster that this node is in already changes nothing and succeeds.
func (n *Node) Join(ctx context.Context, address string, progress func(string)) error {
	if address == n.cfg.Member.Address {
		return fsm.Refusef("%s is this node itself: name another member, or run `buoy init` to make a new cluster", address)
	}
	progress("contacting " + address)
	c, err := n.cfg.Peers.Probe(ctx, "", address)
	if err != nil {
		return err
	}
	if done, err := n.joinable(c, address); done || err != nil {
		if err == nil {
			progress(fmt.Sprintf("%s is already a member of this cluster", n.cfg.Member.Name))
		}
		return err
	}
	progress = oneAtATime(progress) // two goroutines tell how it goes
	watch, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		n.watchJoin(watch, progress)
	}()
	err = n.askToJoin(ctx, c, address, progress)
	if err == nil {
		err = n.until(ctx, "waiting to vote", func() bool {
			_, entered := n.fsm.State().Members[n.cfg.Member.ID]
			return entered && n.voter(n.cfg.Member.ID)
		})
	}
	stop()
	<-watched
	return err
}

// joinable compares this node with the one it was pointed to. done means that it is a
// voter there already.
func (n *Node) joinable(c fsm.Contact, address string) (done bool, err error) {
	own := n.fsm.State().ClusterID
	switch {
	case c.ID == n.cfg.Member.ID:
		return false, fsm.Refusef("%s is this node itself: name another member", address)
	case own != "" && own == c.ClusterID:
		return n.voter(n.cfg.Member.ID), nil
	case len(n.servers()) > 0 && own != c.ClusterID:
		return false, fsm.Refusef("%s is a member of another cluster already (%s; %s belongs to %s): stop it, move its data directory away and join anew", n.cfg.Member.Name, own, address, c.ClusterID)
	case c.ClusterID == "":
		return false, fsm.Refusef("%s (%s) is not a member of a cluster yet: run `buoy init` there first", address, c.Name)
	}
	return false, nil
}

// askToJoin finds the leader, starting from the contact at address, and asks it.
func (n *Node) askToJoin(ctx context.Context, c fsm.Contact, address string, progress func(string)) error {
	asked, cancel := context.WithTimeout(ctx, leaderTimeout)
	defer cancel()
	id, leader := c.LeaderID, c.LeaderAddress
	for {
		if id != "" && leader != "" {
			progress("asking the leader at " + leader)
			err := n.cfg.Peers.Join(ctx, id, leader, n.Contact())
			var elsewhere *fsm.NotLeaderError
			if !errors.As(err, &elsewhere) {
				return err
			}
			id, leader = elsewhere.ID, elsewhere.Address
			if id != "" {
				if err := sleep(asked, pollPause); err != nil {
					return fmt.Errorf("the cluster keeps changing its leader: %w", err)
				}
				continue
			}
		}
		progress("waiting for the cluster to elect a leader")
		if err := sleep(asked, 10*pollPause); err != nil {
			return fmt.Errorf("the cluster at %s has no leader: %w", address, err)
		}
		if again, err := n.cfg.Peers.Probe(asked, c.ID, address); err == nil {
			id, leader = again.LeaderID, again.LeaderAddress
		}
	}
}

// watchJoin tells what raft makes of this node meanwhile.
func (n *Node) watchJoin(ctx context.Context, progress func(string)) {
	said := ""
	_ = n.until(ctx, "joining", func() bool {
		state := ""
		for _, s := range n.servers() {
			switch {
			case string(s.ID) != n.cfg.Member.ID:
			case s.Suffrage == raft.Voter:
				state = "voting"
			default:
				state = "catching up: not voting yet"
			}
		}
		if state != said && state != "" {
			progress(state)
		}
		said = state
		return state == "voting"
	})
}

func joinSorted(names []string) string {
	slices.Sort(names)
	return strings.Join(names, ", ")
}
