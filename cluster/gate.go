package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// vetoLapses is how many election timeouts a node that may not hold the address lets
	// the others elect one of them; a witness waits for witnessLapses.
	vetoLapses    = 10
	witnessLapses = 13
)

// errVetoed must not contain raft's "unexpected command": a candidate takes that for the
// pre-vote of an old version and counts it as granted (hashicorp/raft preElectSelf).
var errVetoed = errors.New("this node may not hold the address: it does not stand for election yet")

// Carrier is what a Node needs of a raft transport, pre-vote included: without that method
// raft turns pre-vote off with a mere warning.
type Carrier interface {
	raft.Transport
	raft.WithPreVote
	raft.WithClose
}

// gate stands between raft and its transport. It keeps this node from being elected while
// it may not hold the address, notes the leader's signs of life, and can have this node
// stand for election at once. It changes nothing else: votes are granted, refused and
// counted by raft alone.
type gate struct {
	Carrier
	node  *Node
	pulse *pulse
	began time.Time

	calls  chan raft.RPC // to raft
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	standing time.Time // until when this node stands whatever the veto says
	led      time.Time // when this node last ceased to lead
}

func newGate(n *Node, inner Carrier) *gate {
	g := &gate{Carrier: inner, node: n, began: time.Now(), calls: make(chan raft.RPC)}
	g.pulse = newPulse(n.cfg.Timing, func() { n.suspect(bySilence, "") })
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// open begins to hand requests on. raft must be there to be asked.
func (g *gate) open() { g.wg.Go(g.pass) }

// Close ends the transport. It may be called again.
func (g *gate) Close() error {
	g.cancel()
	g.pulse.stop()
	err := g.Carrier.Close()
	g.wg.Wait()
	return err
}

// Consumer is where raft takes its requests from.
func (g *gate) Consumer() <-chan raft.RPC { return g.calls }

// pass hands requests on to raft, one by one and in order.
func (g *gate) pass() {
	for {
		select {
		case rpc := <-g.Carrier.Consumer():
			g.pulse.note(rpc.Command, time.Now())
			if err := g.refuse(rpc.Command); err != nil {
				rpc.Respond(&raft.TimeoutNowResponse{}, err)
				continue
			}
			select {
			case g.calls <- rpc:
			case <-g.ctx.Done():
				return
			}
		case <-g.ctx.Done():
			return
		}
	}
}

// SetHeartbeatHandler keeps heartbeats on raft's fast path, past its main loop.
func (g *gate) SetHeartbeatHandler(handle func(raft.RPC)) {
	g.Carrier.SetHeartbeatHandler(func(rpc raft.RPC) {
		g.pulse.note(rpc.Command, time.Now())
		handle(rpc)
	})
}

// refuse says why a request must not reach raft. raft obeys TimeoutNow in any state and
// from anybody: a non-voter would raise the term, a leader step down. The answer is an
// error, because silence would cost the sender its transport timeout.
func (g *gate) refuse(command any) error {
	req, ok := command.(*raft.TimeoutNowRequest)
	if !ok {
		return nil
	}
	n := g.node
	leader, _ := n.leader()
	switch fit, why := n.fit(); {
	case leader == "" || string(req.ID) != leader:
		return fmt.Errorf("refused to take over: %q is not the leader that this node follows", req.ID)
	case !n.voter(n.cfg.Member.ID):
		return errors.New("refused to take over: this node does not vote")
	case !fit:
		return fmt.Errorf("refused to take over: %s", why)
	}
	return nil
}

// RequestPreVote asks for a pre-vote, unless this node is under veto. Votes proper are not
// vetoed: they follow a pre-vote that was won, or a request to take over, and a candidate
// whose votes went nowhere would have raised its term for nothing.
func (g *gate) RequestPreVote(id raft.ServerID, to raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if g.vetoed() {
		return errVetoed
	}
	return g.Carrier.RequestPreVote(id, to, args, resp)
}

// vetoed says that this node, which may not hold the address, leaves the election to the
// others. The veto is soft: it lapses when nobody has led for so long that nobody better
// can be there, for a leader that only holds is better than none (Redpanda issue 10800
// tells of a cluster that had none).
func (g *gate) vetoed() bool {
	fit, _ := g.node.fit()
	if fit {
		return false
	}
	g.mu.Lock()
	standing := time.Now().Before(g.standing)
	g.mu.Unlock()
	lapses := vetoLapses
	if g.node.cfg.Claimer == nil {
		lapses = witnessLapses
	}
	return !standing && g.leaderless() < time.Duration(lapses)*g.node.cfg.Timing.Election
}

// leaderless is for how long this node has known of no leader, not even of itself.
func (g *gate) leaderless() time.Duration {
	g.mu.Lock()
	last := g.led
	g.mu.Unlock()
	for _, at := range []time.Time{g.began, g.pulse.last().at} {
		if at.After(last) {
			last = at
		}
	}
	return time.Since(last)
}

// deposed notes that this node leads no more.
func (g *gate) deposed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.led = time.Now()
}

// stand makes raft stand for election at once, past the voters' loyalty to a leader that
// they remember, as a transfer of leadership does. The caller has made sure, a moment ago,
// that there is no such leader. What raft does not take within an election timeout, because
// its disk hangs, is taken back: it would depose whoever leads by then.
func (g *gate) stand(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, g.node.cfg.Timing.Election)
	defer cancel()
	g.mu.Lock()
	g.standing = time.Now().Add(g.node.cfg.Timing.Election)
	g.mu.Unlock()
	answer := make(chan raft.RPCResponse, 1)
	// Without the version in the header raft refuses the request.
	req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}
	select {
	case g.calls <- raft.RPC{Command: req, RespChan: answer}:
	case <-ctx.Done():
		return ctx.Err()
	case <-g.ctx.Done():
		return raft.ErrTransportShutdown
	}
	select {
	case r := <-answer:
		return r.Error
	case <-ctx.Done():
		return ctx.Err()
	case <-g.ctx.Done():
		return raft.ErrTransportShutdown
	}
}
