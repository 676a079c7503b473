package cluster

import (
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/cluster/peernet"
)

const (
	// transportTimeout bounds every raft RPC: a hung target of a transfer blocks
	// Apply for as long (hashicorp/raft issue #696 has the mechanism).
	transportTimeout = time.Second
	transportPool    = 3
	repeatInterval   = time.Minute
)

// OverStreams returns the constructor of a raft transport over the members' port. Each
// stream is pinned to the receiver's ServerID: a raft request does not name its
// receiver, and a wiped node at an old address would otherwise vote.
func OverStreams(layer raft.StreamLayer, logger hclog.Logger) func(raft.ServerAddressProvider) Carrier {
	return func(addresses raft.ServerAddressProvider) Carrier {
		return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			ServerAddressProvider: addresses,
			Logger:                quiet(logger.Named("transport")),
			Stream:                layer,
			MaxPool:               transportPool,
			Timeout:               transportTimeout,
		})
	}
}

// addresses finds a member's stream address in the newest raft configuration.
type addresses struct{ node *Node }

// ServerAddr returns ID|host:port, and host:port for this node itself, whom nobody
// dials: raft announces that answer as the leader's address. On an error raft falls back
// to the bare address, which the stream layer refuses.
func (a addresses) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if string(id) == a.node.cfg.Member.ID {
		return raft.ServerAddress(a.node.cfg.Member.Address), nil
	}
	for _, s := range a.node.servers() {
		if s.ID == id {
			return peernet.StreamAddress(string(id), string(s.Address)), nil
		}
	}
	return "", fmt.Errorf("%s is not in the raft configuration", id)
}

// quietLogger drops repeats: raft reports each failed heartbeat to a dead peer, several
// times a second, at error level.
type quietLogger struct {
	hclog.Logger
	mu   *sync.Mutex
	seen map[string]time.Time
}

func quiet(l hclog.Logger) hclog.Logger {
	return &quietLogger{Logger: l, mu: &sync.Mutex{}, seen: map[string]time.Time{}}
}

func (q *quietLogger) fresh(msg string, args []any) bool {
	key := msg
	for i := 0; i+1 < len(args); i += 2 {
		if args[i] == "peer" || args[i] == "target" || args[i] == "server-id" {
			key += fmt.Sprint(args[i+1])
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if now.Sub(q.seen[key]) < repeatInterval {
		return false
	}
	if len(q.seen) > 1000 {
		clear(q.seen)
	}
	q.seen[key] = now
	return true
}

// Error logs msg once a minute a peer.
func (q *quietLogger) Error(msg string, args ...any) {
	if q.fresh(msg, args) {
		q.Logger.Error(msg, args...)
	}
}

// Warn logs msg once a minute a peer.
func (q *quietLogger) Warn(msg string, args ...any) {
	if q.fresh(msg, args) {
		q.Logger.Warn(msg, args...)
	}
}
