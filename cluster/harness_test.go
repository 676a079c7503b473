package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/fsm"
)

// The harness runs real raft over its in-memory transport inside a synctest bubble:
// minutes of cluster life take milliseconds, and no test sleeps for real.

var (
	testIP  = netip.MustParseAddr("203.0.113.10")
	testLAN = Timing{Heartbeat: 300 * time.Millisecond, Election: 300 * time.Millisecond, Lease: 150 * time.Millisecond}
)

// world is a cluster, the network between its nodes, and the cloud behind it.
type world struct {
	t     *testing.T
	start time.Time
	cloud *cloud
	boxes map[string]*box

	mu  sync.Mutex
	cut map[[2]string]bool // from, to
	// alone is who was killed and has not ended yet: it reaches nobody.
	alone map[string]bool
	// rejects is who refuses new connections, as a firewall does; streams stay as they are.
	rejects map[string]bool
	// unlinked is whose streams have all been reset, though its daemon is up.
	unlinked map[string]bool
	// dropReports loses what followers forward.
	dropReports atomic.Bool
	// probeDelay, in nanoseconds, is how long a probe takes.
	probeDelay atomic.Int64
}

// box is a machine: its disk outlives the daemon on it.
type box struct {
	w      *world
	name   string
	member fsm.Member
	timing Timing
	dir    *Dir
	mutant bool
	ips    []netip.Addr
	rpc    time.Duration // how long raft waits for an answer
	disk   *disk

	node   *Node
	trans  *raft.InmemTransport
	stop   context.CancelFunc
	done   chan error
	checks []fsm.Check
	told   recorder
}

// bubble runs body in a synctest bubble with a world that is closed at its end.
func bubble(t *testing.T, body func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() {
			w.close()
			time.Sleep(2 * time.Minute) // what raft still owes to abandoned futures
		}()
		body(t, w)
	})
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, start: time.Now(), boxes: map[string]*box{}, cut: map[[2]string]bool{}, alone: map[string]bool{}, rejects: map[string]bool{}, unlinked: map[string]bool{}}
	w.cloud = newCloud(w)
	return w
}

// three is the usual cluster: lb1 150, lb2 100, lb3 50, formed and settled on lb1.
func three(t *testing.T, body func(t *testing.T, w *world)) {
	t.Helper()
	threeIn(t, func(*world) {}, body)
}

// threeIn is three in a world that has been prepared.
func threeIn(t *testing.T, prepare func(*world), body func(t *testing.T, w *world)) {
	t.Helper()
	bubble(t, func(t *testing.T, w *world) {
		prepare(w)
		for i, priority := range []int{150, 100, 50} {
			w.add(fmt.Sprintf("lb%d", i+1), priority, nil)
		}
		w.form("lb1", "lb2", "lb3")
		w.settles("lb1", 10*time.Second)
		time.Sleep(2 * tickInterval) // everybody has been asked
		body(t, w)
	})
}

func (w *world) add(name string, priority int, change func(*box)) *box {
	n := len(w.boxes) + 1
	b := &box{
		w: w, name: name, dir: MemoryDir("web", name), timing: testLAN, rpc: time.Second, ips: []netip.Addr{testIP},
		checks: []fsm.Check{{Name: "haproxy", Known: true, OK: true}},
	}
	b.disk = &disk{LogStore: b.dir.logs}
	b.dir.logs = b.disk
	b.member = fsm.Member{
		ID: b.dir.ServerID(), Name: name, Address: fmt.Sprintf("10.0.0.%d:7400", n), Instance: fmt.Sprint(100 + n),
		Role: fsm.RoleBalancer, Priority: priority, Preempt: true, Version: "test",
	}
	if change != nil {
		change(b)
	}
	w.put(name, b)
	b.boot()
	return b
}

func (w *world) form(first string, rest ...string) {
	w.t.Helper()
	w.must(w.boxes[first].node.Init(context.Background()))
	for _, name := range rest {
		if name != first {
			w.must(w.boxes[name].node.Join(context.Background(), w.boxes[first].member.Address, func(string) {}))
		}
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) close() {
	for _, b := range w.boxes {
		if b.node != nil {
			b.stop()
		}
	}
	for _, b := range w.boxes {
		if b.node != nil {
			<-b.done
		}
	}
}

// disk is a log store that can hang: raft's main loop then hangs with it, which is how a
// member that is frozen looks to the others.
type disk struct {
	raft.LogStore
	gate atomic.Pointer[chan struct{}] // writes wait until it is closed
}

func (d *disk) StoreLogs(logs []*raft.Log) error {
	if gate := d.gate.Load(); gate != nil {
		<-*gate
	}
	return d.LogStore.StoreLogs(logs)
}

// hang makes every write wait until the returned function is called.
func (d *disk) hang() (resume func()) {
	gate := make(chan struct{})
	d.gate.Store(&gate)
	return func() {
		d.gate.Store(nil)
		close(gate)
	}
}

func testLogger(name string) hclog.Logger {
	if os.Getenv("BUOY_TEST_LOG") == "" {
		return hclog.NewNullLogger()
	}
	return hclog.New(&hclog.LoggerOptions{Name: name, Level: hclog.Info, IndependentLevels: true})
}

// boot starts the daemon on what its disk holds.
func (b *box) boot() {
	w := b.w
	_, b.trans = raft.NewInmemTransportWithTimeout(raft.ServerAddress(b.member.Address), b.rpc)
	node, err := Open(Config{
		Cluster: "web", Member: b.member, Dir: b.dir, Timing: b.timing,
		Transport: func(raft.ServerAddressProvider) Carrier { return b.trans }, Linked: b.linked,
		Peers: peersOf{b}, Claimer: &claimer{b}, FloatingIPs: b.ips,
		VerifyInterval: 30 * time.Second, Logger: testLogger(b.name), Notify: b.told.add,
		Boottime: func() time.Duration { return time.Since(w.start) },
	})
	w.must(err)
	node.noTicketWait = b.mutant
	b.run(node)
	ctx, stop := context.WithCancel(context.Background())
	b.stop, b.done = stop, make(chan error, 1)
	go func() { b.done <- node.Run(ctx) }()
	node.SetHealth(b.checks, 0)
}

// connect makes the transports agree with the cuts.
func (w *world) connect() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.boxes {
		if a.trans == nil {
			continue
		}
		for _, b := range w.boxes {
			if a == b {
				continue
			}
			address := raft.ServerAddress(b.member.Address)
			if b.node == nil || w.alone[a.name] || w.cut[[2]string{a.name, b.name}] {
				a.trans.Disconnect(address)
			} else {
				a.trans.Connect(address, b.trans)
			}
		}
	}
}

// isolate cuts a node off from all others, in both directions.
func (w *world) isolate(name string, cut bool) {
	w.mu.Lock()
	for other := range w.boxes {
		w.cut[[2]string{name, other}] = cut
		w.cut[[2]string{other, name}] = cut
	}
	w.mu.Unlock()
	w.connect()
}

// quit stops the daemon as SIGTERM does.
func (b *box) quit() {
	b.w.t.Helper()
	b.stop()
	b.w.must(<-b.done)
	b.run(nil)
	b.hangUp()
}

// kill ends the daemon without a word to anybody, as SIGKILL does.
func (b *box) kill() { b.die()() }

// die is kill for those who count milliseconds: what is left of the daemon comes to its
// end, in a world of its own, when the returned function is called.
func (b *box) die() (bury func()) {
	b.w.mark(b.w.alone, b.name, true)
	b.run(nil)
	b.trans.DisconnectAll()
	b.hangUp()
	b.stop()
	return func() {
		<-b.done
		b.w.mark(b.w.alone, b.name, false)
	}
}

func (b *box) health(checks ...fsm.Check) {
	b.checks = checks
	b.node.SetHealth(checks, time.Millisecond)
}

func (b *box) fault() {
	b.health(fsm.Check{Name: "haproxy", Known: true, Fault: true, Output: "gone"})
}

func (b *box) heal() {
	b.health(fsm.Check{Name: "haproxy", Known: true, OK: true})
}

// leader is the box that leads the highest term.
func (w *world) leader() *box {
	var best *box
	for _, b := range w.boxes {
		if b.node != nil && b.node.raft.State() == raft.Leader && (best == nil || b.node.raft.CurrentTerm() > best.node.raft.CurrentTerm()) {
			best = b
		}
	}
	return best
}

// settles waits until name leads, holds the address by the cloud's record, and knows it.
func (w *world) settles(name string, within time.Duration) {
	w.t.Helper()
	deadline := time.Now().Add(within)
	for {
		l := w.leader()
		if l != nil && l.name == name && w.cloud.holder() == name {
			if s := l.node.Status(); len(s.Addresses) > 0 && s.Addresses[0].State == AddressClaimed {
				return
			}
		}
		if time.Now().After(deadline) {
			leader := "nobody"
			if l != nil {
				leader = l.name
			}
			w.t.Fatalf("after %v %s leads and %s holds the address; want %s", within, leader, w.cloud.holder(), name)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stays checks that the address does not move for d.
func (w *world) stays(d time.Duration) {
	w.t.Helper()
	writes := len(w.cloud.writes())
	time.Sleep(d)
	if more := w.cloud.writes()[writes:]; len(more) > 0 {
		w.t.Fatalf("within %v the address was written: %+v", d, more)
	}
}

// peersOf is the API between members, without HTTP.
type peersOf struct{ b *box }

var errRefused = fmt.Errorf("connect: %w", syscall.ECONNREFUSED)

// linked says whether a stream from the member id is open: for as long as its daemon is
// up, for a cut network closes nothing.
func (b *box) linked(id string) bool {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	for _, other := range b.w.boxes {
		if other.member.ID == id {
			return other.node != nil && !b.w.unlinked[other.name]
		}
	}
	return false
}

// hangUp tells everybody that b's streams have ended.
func (b *box) hangUp() {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	for _, other := range b.w.boxes {
		if other.node != nil && other != b && !b.w.cut[[2]string{b.name, other.name}] {
			other.node.PeerGone(b.member.ID)
		}
	}
}

func (p peersOf) at(ctx context.Context, id, address string) (*Node, error) {
	node, member, cut := p.b.w.find(p.b.name, address)
	switch {
	case cut:
		<-ctx.Done()
		return nil, ctx.Err()
	case node == nil:
		return nil, errRefused
	case id != "" && member != id:
		return nil, fmt.Errorf("%s answers at %s, not %s", member, address, id)
	}
	return node, nil
}

// find returns who listens at address, and whether from can get there.
func (w *world) find(from, address string) (node *Node, member string, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.boxes {
		if b.member.Address == address {
			cut = w.alone[from] || w.cut[[2]string{from, b.name}] || w.cut[[2]string{b.name, from}]
			if w.rejects[b.name] {
				return nil, "", cut
			}
			return b.node, b.member.ID, cut
		}
	}
	return nil, "", false
}

// run says what is running on b: nil when its daemon is down.
func (b *box) run(node *Node) {
	b.w.mu.Lock()
	b.node = node
	b.w.mu.Unlock()
	b.w.connect()
}

// put enters a machine into the world, or takes it out if b is nil.
func (w *world) put(name string, b *box) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b == nil {
		delete(w.boxes, name)
		return
	}
	w.boxes[name] = b
}

func (p peersOf) Probe(ctx context.Context, id, address string) (fsm.Contact, error) {
	// Not for 0: under the race detector all timers of a bubble that are due when they are
	// looked at share one context, and two at once crash the runtime (Go 1.26,
	// runtime/time.go, unlockAndRun).
	if d := time.Duration(p.b.w.probeDelay.Load()); d > 0 {
		if err := sleep(ctx, d); err != nil {
			return fsm.Contact{}, err
		}
	}
	n, err := p.at(ctx, id, address)
	if err != nil {
		return fsm.Contact{}, err
	}
	return n.Contact(), nil
}

func (p peersOf) Confirm(ctx context.Context, id, address string, q fsm.Suspicion) (fsm.Testimony, error) {
	n, err := p.at(ctx, id, address)
	if err != nil {
		return fsm.Testimony{}, err
	}
	return n.Confirm(ctx, q), nil
}

func (p peersOf) Forward(ctx context.Context, id, address string, r fsm.Report) error {
	n, err := p.at(ctx, id, address)
	if err != nil {
		return err
	}
	if p.b.w.dropReports.Load() {
		return errRefused
	}
	return n.Receive(ctx, r)
}

func (p peersOf) SelfTest(ctx context.Context, id, address string) error {
	n, err := p.at(ctx, id, address)
	if err != nil {
		return err
	}
	return n.SelfTest(ctx)
}

func (p peersOf) Join(ctx context.Context, id, address string, c fsm.Contact) error {
	n, err := p.at(ctx, id, address)
	if err != nil {
		return err
	}
	return n.Admit(ctx, c)
}

// campaign makes the node stand for election at once, past every voter's loyalty to the
// present leader, as a transfer of leadership does.
func (b *box) campaign() {
	b.w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b.w.must(b.node.gate.stand(ctx))
}

// mark enters a machine into one of the world's sets, or takes it out.
func (w *world) mark(set map[string]bool, name string, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	set[name] = on
}

// oneWay cuts the direction from one machine to another, or mends it.
func (w *world) oneWay(from, to string, cut bool) {
	w.mu.Lock()
	w.cut[[2]string{from, to}] = cut
	w.mu.Unlock()
	w.connect()
}
