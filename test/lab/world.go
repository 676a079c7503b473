package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/buoy-lb/buoy/assigner/dotest"
	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/test/lab/wire"
)

// Options say what a world is made of.
type Options struct {
	// Binary is the buoy program under test, Self this program, AssignIP the one that
	// keepalived's notify_master runs.
	Binary, Self, AssignIP string
	// Next is another build of buoy, for an upgrade; "" if no fault needs it.
	Next string
	// Balancers is how many, 1 to 9.
	Balancers int
	// Witness adds a member that only votes.
	Witness bool
	// Assign is how long the cloud takes to move the address.
	Assign time.Duration
	// Seed is where all chance comes from.
	Seed uint64
	// Timing is buoy's `timing`, "lan" if empty; Verify its `verify_interval`, the shortest
	// that is allowed if 0.
	Timing string
	Verify time.Duration
	// NoHints has the metadata service keep silent about who holds the address.
	NoHints bool
	// Equal gives all balancers the same priority, so that nobody outranks anybody;
	// NoPreempt has those of higher priority leave a healthy holder alone.
	Equal, NoPreempt bool
	// Settle is a bound of the judge; 0 means the usual one.
	Settle time.Duration
	// Stepped: Binary's wall clock can be stepped (package variant).
	Stepped bool
	// Pauses are how long daemons are frozen by the fault "paused"; nil means the usual ones.
	Pauses []time.Duration
}

// World is one set of hosts with everything on them. Its methods and those of its
// balancers are for one goroutine, except for Cloud's.
type World struct {
	Dir       string
	Cloud     *dotest.Server
	Switch    *wire.Switch
	Balancers []*Balancer
	Record    *Recorder

	opts        Options
	chance      *rand.Rand
	system      System
	cloudHost   *wire.Host
	client      *client
	caFile      string
	connections connections
	secret      []byte
	routed      turns

	// rough counts the conditions under which no bound of time holds.
	rough int

	cleanup []func()
	closing sync.Once
}

// NewWorld builds the hosts, the cloud and the client's machine; nothing runs on the
// balancers yet. The world is to be closed; only one can exist at a time.
func NewWorld(ctx context.Context, o Options, s System) (*World, error) {
	if o.Balancers < 1 || o.Balancers > 9 {
		return nil, usagef("found %d balancers; allowed: 1..9", o.Balancers)
	}
	ctx, cancel := context.WithTimeout(ctx, restBound)
	defer cancel()
	w := &World{
		opts: o, system: s, chance: rand.New(rand.NewPCG(o.Seed, 0)),
		Record: newRecorder(), connections: connections{open: map[net.Conn]bool{}},
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"folder", w.makeDir},
		{"network", w.makeNetwork},
		{"cloud", w.makeCloud},
		{"balancers", w.makeBalancers},
	} {
		if err := step.do(ctx); err != nil {
			w.Close()
			return nil, fmt.Errorf("lab: make the %s: %w", step.name, err)
		}
	}
	return w, nil
}

func (w *World) onClose(f func()) { w.cleanup = append(w.cleanup, f) }

// Close ends everything that runs in the world and removes its hosts and files. No world
// is closed already.
func (w *World) Close() {
	if w == nil {
		return
	}
	w.closing.Do(func() {
		for i := len(w.cleanup) - 1; i >= 0; i-- {
			w.cleanup[i]()
		}
	})
}

func (w *World) makeDir(context.Context) (err error) {
	if w.Dir, err = newDir(); err != nil {
		return err
	}
	w.onClose(func() { removeDir(w.Dir) })
	return nil
}

func (w *World) newHost(name string) (*wire.Host, error) {
	h, err := wire.NewHost(name)
	if err != nil {
		return nil, err
	}
	w.onClose(func() { _ = h.Close() })
	return h, nil
}

func (w *World) makeNetwork(context.Context) (err error) {
	if w.cloudHost, err = w.newHost("cloud"); err != nil {
		return err
	}
	w.Switch = wire.NewSwitch(w.opts.Seed)
	w.onClose(func() { _ = w.Switch.Close() })
	if _, err = w.Switch.Connect(w.cloudHost, "vpc"); err != nil {
		return err
	}
	clientHost, err := w.newHost("client")
	if err != nil {
		return err
	}
	w.client = &client{host: clientHost}
	return errors.Join(
		wire.Veth(w.cloudHost, "wan", clientHost, "wan"),
		w.cloudHost.AddAddress("vpc", netip.PrefixFrom(router, vpcBits)),
		w.cloudHost.AddAddress("wan", netip.PrefixFrom(routerWAN, vpcBits)),
		w.cloudHost.AddAddress("lo", netip.PrefixFrom(metadataIP, 32)),
		w.cloudHost.Sysctl("net.ipv4.ip_forward", "1"),
		clientHost.AddAddress("wan", netip.PrefixFrom(clientIP, vpcBits)),
		clientHost.Route(everywhere, routerWAN),
	)
}

func (w *World) makeCloud(context.Context) error {
	w.Cloud = dotest.New(dotest.Options{
		Latency:     dotest.Fixed(w.opts.Assign),
		MetadataLag: dotest.Between(0, metadataLag),
		// A lab asks far more often than an hour of real life would.
		Limits: dotest.Limits{Hour: 1 << 30, Minute: 1 << 30},
		OnAssigned: func(_ netip.Addr, _, to int) {
			w.route(to)
			w.routed.note()
		},
	})
	w.onClose(w.Cloud.Close)
	w.Cloud.AddDroplet(dotest.Droplet{ID: stranger, Name: "stranger", Region: region})
	if err := w.Cloud.AddReservedIP(FloatingIP, region, 0); err != nil {
		return err
	}
	w.caFile = filepath.Join(w.Dir, "ca.pem")
	conf, err := certify(w.caFile)
	if err != nil {
		return err
	}
	backend := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "hello\n") })
	return errors.Join(
		w.serve(router.String()+":443", conf, w.Cloud.API()),
		w.serve(metadataIP.String()+":80", nil, http.HandlerFunc(w.metadata)),
		w.serve(router.String()+":"+backendPort, nil, backend),
	)
}

// route sends what is for the floating IP to the droplet that holds it now.
func (w *World) route(droplet int) {
	to := netip.PrefixFrom(FloatingIP, FloatingIP.BitLen())
	number := droplet - firstDroplet
	if number < 1 || number > len(w.Balancers) {
		_ = w.cloudHost.Unroute(to)
		return
	}
	_ = w.cloudHost.Route(to, addressOf(number)) // cannot fail: the router's link is always up
}

// turns are when the network had followed each change of holder in the cloud's journal.
type turns struct {
	mu sync.Mutex
	at []time.Duration
}

func (t *turns) note() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at = append(t.at, cluster.Boottime())
}

func (t *turns) times() []time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.at)
}

func (w *World) makeBalancers(ctx context.Context) error {
	for range w.opts.Balancers {
		if _, err := w.AddBalancer(ctx); err != nil {
			return err
		}
	}
	if w.opts.Witness {
		return w.addWitness(ctx)
	}
	return nil
}

// introduce makes every host know every other's address on the link, so that no
// recovery waits for ARP.
func (w *World) introduce() error {
	known := map[string]netip.Addr{w.cloudHost.Name: router}
	for i, b := range w.Balancers {
		known[b.Name] = addressOf(i + 1)
	}
	return w.Switch.Introduce(known)
}

// Balancer returns the balancer of that name, nil if there is none.
func (w *World) Balancer(name string) *Balancer {
	for _, b := range w.Balancers {
		if b.Name == name {
			return b
		}
	}
	return nil
}

// nameOf is the name of the balancer that is droplet.
func (w *World) nameOf(droplet int) string {
	for _, b := range w.Balancers {
		if b.Droplet == droplet {
			return b.Name
		}
	}
	if droplet == 0 {
		return ""
	}
	return outside
}

// Holder is the balancer that holds the address by the cloud's own record; nil if it is
// none.
func (w *World) Holder() *Balancer { return w.Balancer(w.nameOf(w.Cloud.Holder(FloatingIP))) }

// Start starts HAProxy and the daemon on every balancer, forms the cluster, starts the
// client and waits until all is at rest.
func (w *World) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, restBound)
	defer cancel()
	for _, b := range w.Balancers {
		if !b.witness {
			if err := b.StartHAProxy(ctx); err != nil {
				return err
			}
		}
		if err := b.StartDaemon(ctx); err != nil {
			return err
		}
	}
	if err := w.system.Form(ctx, w); err != nil {
		return err
	}
	for _, b := range w.Balancers {
		b.cond.Voter = true
	}
	if err := w.client.start(w); err != nil {
		return err
	}
	w.Note("start", Cause{MayMove: true})
	return w.AwaitRest(ctx)
}

// removeDir unmounts what newDir has mounted.
func removeDir(dir string) {
	_ = os.RemoveAll(dir)
	for _, mount := range []string{"/run/netns", filepath.Dir(dir)} {
		unmount(mount)
	}
}
