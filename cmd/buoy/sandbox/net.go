package sandbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// The ports that a World prefers, the same on each of its addresses.
const (
	lockPort   = 7399 // never served: it reserves the network for one World
	memberPort = 7400
	publicPort = 7401
	webPort    = 8080
	maxNodes   = 9
	// addressHost and cloudHost are the last bytes of the floating IP's stand-in and of
	// everything that plays the cloud; the nodes are 1 to maxNodes.
	addressHost = 100
	cloudHost   = 200
)

// network is a loopback /24 that no other World uses: 127.x.y.0/24. A process that is
// restarted therefore finds its ports free again.
type network struct {
	prefix string // "127.x.y."
	lock   net.Listener
}

func newNetwork(ctx context.Context) (*network, error) {
	var failures error
	for range 20 {
		prefix := fmt.Sprintf("127.%d.%d.", 1+rand.IntN(250), rand.IntN(250))
		lock, err := new(net.ListenConfig).Listen(ctx, "tcp", fmt.Sprintf("%s%d:%d", prefix, cloudHost, lockPort))
		if err == nil {
			return &network{prefix: prefix, lock: lock}, nil
		}
		failures = errors.Join(failures, err)
	}
	return nil, fmt.Errorf("reserve a loopback network: %w", failures)
}

func (n *network) host(last int) string { return fmt.Sprintf("%s%d", n.prefix, last) }

// freePort returns preferred, or else another port, which is free on every host of the
// network. It stays below the ephemeral ports (net.ipv4.ip_local_port_range), where an
// outgoing connection could take it while its owner restarts.
func (n *network) freePort(ctx context.Context, preferred int) (int, error) {
	var failures error
	port := preferred
	for range 20 {
		// A listener on 0.0.0.0 is the only likely conflict: it would hold all hosts.
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", fmt.Sprintf("%s:%d", n.host(cloudHost), port))
		if err == nil {
			return port, l.Close()
		}
		failures = errors.Join(failures, err)
		port = 20000 + rand.IntN(10000)
	}
	return 0, fmt.Errorf("find a free port: %w", failures)
}

func (n *network) close() { n.lock.Close() }
