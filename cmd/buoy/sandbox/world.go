package sandbox

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/assigner/dotest"
)

// Address is the floating IP: a documentation address (RFC 5737), which exists in the
// fake cloud only.
var Address = netip.MustParseAddr("203.0.113.10")

// region is where all droplets and the address are.
const region = "nyc3"

// VerifyInterval is how often a daemon of the sandbox looks whether the address is
// still its own: the least that the configuration allows.
const VerifyInterval = 5 * time.Second

// Options say what the world is made of.
type Options struct {
	// Binary is the buoy program that the nodes run.
	Binary string
	// Priorities has one entry a node, 1 to 9 of them: lb1, lb2 and so on.
	Priorities []int
	// AssignLatency is how long the cloud takes to move the address.
	AssignLatency time.Duration
	// LogFormat is the daemons' log format, text or json.
	LogFormat string
}

// World is the sandbox: one account in the fake cloud, one backend, the floating IP's
// stand-in and the nodes. The methods of the world and its nodes are not safe for
// concurrent use, except for those of Cloud and Traffic.
type World struct {
	// Dir holds everything on disk; Close removes it.
	Dir string
	// Cloud is the fake cloud. What it says about the holder is the truth.
	Cloud *dotest.Server
	// URL is the service as its users see it: HTTP through the floating IP.
	URL string

	opts        Options
	haproxyPath string
	net         *network
	memberPort  int
	publicPort  int
	webPort     int
	api         *dotest.Endpoint
	forward     *forwarder
	backend     string // host:port
	key         []byte // the cluster secret, as keygen printed it
	nodes       []*Node

	cleanup []func() // run in reverse order by Close
	closing sync.Once
}

// New builds a world in which nothing runs yet but the cloud, the backend and the
// address. The error is ErrNoHAProxy when that program is missing.
func New(ctx context.Context, o Options) (*World, error) {
	haproxyPath := FindHAProxy()
	if haproxyPath == "" {
		return nil, ErrNoHAProxy
	}
	if len(o.Priorities) == 0 {
		return nil, fmt.Errorf("sandbox: no nodes asked for")
	}
	w := &World{opts: o, haproxyPath: haproxyPath}
	for _, step := range []func(context.Context) error{
		w.makeDir, w.makeNetwork, w.makeBackend, w.makeAddress, w.makeCloud, w.makeNodes,
	} {
		if err := step(ctx); err != nil {
			w.Close()
			return nil, fmt.Errorf("sandbox: %w", err)
		}
	}
	return w, nil
}

func (w *World) onClose(f func()) { w.cleanup = append(w.cleanup, f) }

// Close ends every process and connection of the world and removes its files. It may
// be called again.
func (w *World) Close() {
	w.closing.Do(func() {
		for i := len(w.cleanup) - 1; i >= 0; i-- {
			w.cleanup[i]()
		}
	})
}

// makeDir keeps the path short: a unix socket's may have no more than 107 bytes.
func (w *World) makeDir(context.Context) (err error) {
	if w.Dir, err = os.MkdirTemp("", "buoy-"); err != nil {
		return err
	}
	w.onClose(func() { _ = os.RemoveAll(w.Dir) })
	return nil
}

func (w *World) makeNetwork(ctx context.Context) (err error) {
	if w.net, err = newNetwork(ctx); err != nil {
		return err
	}
	w.onClose(w.net.close)
	for _, p := range []struct {
		port      *int
		preferred int
	}{{&w.memberPort, memberPort}, {&w.publicPort, publicPort}, {&w.webPort, webPort}} {
		if *p.port, err = w.net.freePort(ctx, p.preferred); err != nil {
			return err
		}
	}
	return nil
}

// makeBackend starts the application behind all HAProxies.
func (w *World) makeBackend(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", w.net.host(cloudHost)+":0")
	if err != nil {
		return err
	}
	w.backend = l.Addr().String()
	server := &http.Server{
		ReadHeaderTimeout: time.Second,
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(rw, "hello from the backend\n")
		}),
	}
	go func() { _ = server.Serve(l) }() // until Close
	w.onClose(func() { _ = server.Close() })
	return nil
}

func (w *World) makeAddress(ctx context.Context) (err error) {
	if w.forward, err = newForwarder(ctx, fmt.Sprintf("%s:%d", w.net.host(addressHost), w.webPort)); err != nil {
		return err
	}
	w.onClose(w.forward.close)
	w.URL = "http://" + w.forward.listener.Addr().String() + "/"
	return nil
}

func (w *World) makeCloud(context.Context) (err error) {
	w.Cloud = dotest.New(dotest.Options{
		Latency:    dotest.Fixed(w.opts.AssignLatency),
		OnAssigned: func(_ netip.Addr, _, to int) { w.point(to) },
	})
	w.onClose(w.Cloud.Close)
	w.Cloud.AddDroplet(dotest.Droplet{ID: strangerDroplet, Name: "stranger", Region: region})
	if err := w.Cloud.AddReservedIP(Address, region, 0); err != nil {
		return err
	}
	w.api, err = w.Cloud.Start(w.net.host(cloudHost) + ":0")
	return err
}

// Steal moves the address to a machine that is no member and serves nothing, as a
// mistaken script could. It takes effect at once.
func (w *World) Steal() error { return w.Cloud.Steal(Address, strangerDroplet) }

// point lets the floating IP's stand-in connect to the node that is droplet.
func (w *World) point(droplet int) {
	target := ""
	if n := droplet - firstDroplet; n >= 1 && n <= maxNodes {
		target = fmt.Sprintf("%s:%d", w.net.host(n), w.webPort)
	}
	w.forward.set(target)
}

func (w *World) makeNodes(ctx context.Context) error {
	for _, priority := range w.opts.Priorities {
		if _, err := w.AddNode(ctx, priority); err != nil {
			return err
		}
	}
	return nil
}

// Nodes returns all nodes, lb1 first.
func (w *World) Nodes() []*Node { return w.nodes }

// Node returns the node of that name; it panics when there is none.
func (w *World) Node(name string) *Node {
	for _, n := range w.nodes {
		if n.Name == name {
			return n
		}
	}
	panic("sandbox: no node " + name)
}

// Start starts the HAProxy and the daemon of every node.
func (w *World) Start(ctx context.Context) error {
	for _, n := range w.nodes {
		if err := n.StartHAProxy(ctx); err != nil {
			return err
		}
		if err := n.StartDaemon(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Form makes one cluster of all running nodes as an operator would: init on the first,
// join on each of the others.
func (w *World) Form(ctx context.Context) error {
	first := w.nodes[0]
	if _, err := first.Buoy(ctx, "init"); err != nil {
		return err
	}
	for _, n := range w.nodes[1:] {
		if _, err := n.Buoy(ctx, "join", first.Address); err != nil {
			return err
		}
	}
	return nil
}

// Holder returns the name of the node that holds the address by the cloud's own
// record; "" is nobody.
func (w *World) Holder() string { return w.nodeOf(w.Cloud.Holder(Address)) }

func (w *World) nodeOf(droplet int) string {
	for _, n := range w.nodes {
		if n.Droplet == droplet {
			return n.Name
		}
	}
	return ""
}

// WaitHolder waits until the cloud says that the named node holds the address, and
// returns when that became so.
func (w *World) WaitHolder(ctx context.Context, name string) (time.Time, error) {
	at, err := w.Cloud.WaitHolder(ctx, Address, w.Node(name).Droplet)
	if err != nil {
		return at, fmt.Errorf("the address is not on %s but on %q: %w", name, w.Holder(), err)
	}
	return at, nil
}

// WaitState waits until the named node says of itself that it is in the given state.
func (w *World) WaitState(ctx context.Context, name string, state api.MemberState) error {
	n := w.Node(name)
	return Poll(ctx, name+" to be "+string(state), func(ctx context.Context) error {
		s, err := n.Status(ctx)
		if err != nil {
			return err
		}
		if m, _ := s.Member(name); m.State != state {
			return fmt.Errorf("%s %s %s", name, m.State, m.Reason)
		}
		return nil
	})
}
