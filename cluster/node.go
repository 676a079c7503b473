package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"golang.org/x/time/rate"

	"github.com/buoy-lb/buoy/fsm"
)

const (
	// applyTimeout bounds the wait for one entry to commit.
	applyTimeout = 2 * time.Second
	// aliveWithin is how lately the loop must have turned over to count as alive.
	aliveWithin = 5 * time.Second
	// shutdownTimeout bounds the stop of the raft library.
	shutdownTimeout = 5 * time.Second
)

// ErrWedged ends Run when this node leads and can commit nothing: the process must be
// restarted (hashicorp/raft issue #696 is one way to get there).
var ErrWedged = errors.New("this node leads but cannot commit: restart it")

// Timing is raft's three timers. Lease <= Heartbeat <= Election always holds; they must
// be the same on every member.
type Timing struct {
	Heartbeat, Election, Lease time.Duration
}

// String is the form in which members compare their timing.
func (t Timing) String() string {
	return fmt.Sprintf("%v/%v/%v", t.Heartbeat, t.Election, t.Lease)
}

// Peers reaches the other members. Every call is bounded by its context and by a
// deadline of its own. id may be empty where the caller does not know it yet.
type Peers interface {
	// Probe asks who answers at address and where it stands. Where nobody listens the
	// error is syscall.ECONNREFUSED to errors.Is.
	Probe(ctx context.Context, id, address string) (fsm.Contact, error)
	// Forward brings a report to the leader.
	Forward(ctx context.Context, id, address string, r fsm.Report) error
	// Confirm asks a follower whether it, too, finds the leader gone.
	Confirm(ctx context.Context, id, address string, q fsm.Suspicion) (fsm.Testimony, error)
	// SelfTest has the peer prove that it could claim the address.
	SelfTest(ctx context.Context, id, address string) error
	// Join asks the leader to admit the node that c describes.
	Join(ctx context.Context, id, address string, c fsm.Contact) error
}

// Fence is called by the Claimer right before each write to the cloud. It takes a
// ticket. check must be run inside the socket write: an error forbids it. done must be
// called once, when the write's answer is in or its connection is closed.
type Fence func(ctx context.Context) (check func() error, done func(), err error)

// Ensure is one order to the Claimer.
type Ensure struct {
	IP netip.Addr
	// Epoch is the raft term in which the order is given.
	Epoch uint64
	// Believed is the instance of another node that holds IP by the record, so that the
	// first look may be skipped and the write tried at once; empty: look first.
	Believed string
	// Suspect says that there is a reason to look beside the time of day: a hint. Such a look
	// is not put off to save requests.
	Suspect bool
}

// Outcome is what the Claimer did. It is meaningful beside an error too: From then
// says where the address was found.
type Outcome struct {
	// Moved is set when a write was needed and the address is here now.
	Moved bool
	// From is the instance that held the address before; empty: nobody, or not looked.
	From string
	// Instance is this node's own name at the provider.
	Instance string
	// Unverified is set when nobody can say who holds the address: it was claimed, and
	// that is all that is known.
	Unverified bool
	// Accepted and Confirmed are when the cloud took the write, and when it said that
	// the address is here.
	Accepted, Confirmed time.Time
}

// Claimer makes a floating IP point to this node. Its errors may have the methods
// OwnFault() bool, true when a peer may do better, and RetryDelay() time.Duration.
type Claimer interface {
	// Ensure looks, and claims if need be; nil means confirmed by the cloud, unless the
	// Outcome says that nobody can tell.
	Ensure(ctx context.Context, e Ensure, f Fence) (Outcome, error)
	// Holder asks who holds ip: an instance, "" for nobody. It writes nothing. The error is
	// errors.ErrUnsupported if nobody can tell.
	Holder(ctx context.Context, ip netip.Addr) (instance string, err error)
	// SelfTest proves by reads alone that Ensure would have what it needs, for every address.
	// Where it has for some, the error has a method Partial() bool that says true.
	SelfTest(ctx context.Context) error
	// Hint lists the addresses that this machine seems to hold, by a cheap look of its own;
	// errors.ErrUnsupported if there is none. It may be late, or wrong: a reason to look.
	Hint(ctx context.Context) ([]netip.Addr, error)
	// Release takes what was claimed in epoch or earlier, or whenever if it is 0, off this
	// machine, where the machine carries the address itself. A claim of a later epoch stays.
	Release(ctx context.Context, epoch uint64) error
}

// Config is what a Node is made of. All fields without a remark are required.
type Config struct {
	// Cluster is the configured name of the cluster.
	Cluster string
	// Member is this node; its ID must be Dir.ServerID().
	Member fsm.Member
	Dir    *Dir
	Timing Timing
	// Transport makes the raft transport: OverStreams, or one in memory.
	Transport func(raft.ServerAddressProvider) Carrier
	Peers     Peers
	// Linked says whether any raft stream from the member id to this node is open.
	Linked func(id string) bool
	// Claimer is nil on a witness.
	Claimer     Claimer
	FloatingIPs []netip.Addr
	// VerifyInterval is how often a leader looks whether it still holds the address.
	VerifyInterval time.Duration
	// Notify, if not nil, is told of each event once, in order. It is called on the loop
	// and must not block.
	Notify func(fsm.Event)
	// Logger may be nil: silent.
	Logger hclog.Logger
	// Boottime replaces the clock of that name in tests; nil: the real one.
	Boottime func() time.Duration
}

// Node is one member of a cluster, or a node that waits to become one. Its methods are
// safe for concurrent use.
type Node struct {
	cfg  Config
	log  hclog.Logger
	boot string
	raft *raft.Raft
	gate *gate
	fsm  *fsm.FSM
	seen *sightings
	self selfReport

	// wake has room for one: something changed, look again.
	wake chan struct{}
	// mail carries what other goroutines want done on the loop.
	mail chan func(*loop)
	// stopped is closed when Run has returned.
	stopped chan struct{}
	seenBy  atomic.Pointer[snapshot]
	// hint is what this machine last said that it holds; nil if it cannot tell.
	hint   atomic.Pointer[fsm.Hint]
	turned atomic.Int64
	// campaigns bounds how often this node stands for election by itself.
	campaigns *rate.Limiter
	// changes serialises changes of membership.
	changes sync.Mutex
	// turn has one element while a ticket of this node is in use.
	turn chan struct{}
	// marks serialises drains, each of which looks at the others.
	marks sync.Mutex

	// noTicketWait is a mutant for the tests: it must be caught.
	noTicketWait bool
}

// Open starts the raft side of a node on its data directory. Run must follow.
func Open(cfg Config) (*Node, error) {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if cfg.Boottime == nil {
		cfg.Boottime = Boottime
	}
	cfg.Member.Timing = cfg.Timing.String()
	n := &Node{
		cfg: cfg, log: cfg.Logger, boot: rand.Text(), fsm: fsm.New(),
		seen: newSightings(cfg.Member.ID, time.Now()),
		wake: make(chan struct{}, 1), mail: make(chan func(*loop), 64), stopped: make(chan struct{}),
		turn:      make(chan struct{}, 1),
		campaigns: rate.NewLimiter(rate.Every(campaignEvery), campaignBurst),
	}
	n.self.start(cfg.Member, n.boot)
	n.turned.Store(int64(cfg.Boottime()))
	n.seenBy.Store(&snapshot{})
	if err := n.startRaft(); err != nil {
		return nil, err
	}
	return n, n.refuseMoved()
}

func (n *Node) startRaft() error {
	d := n.cfg.Dir
	raftLog := n.log.Named("raft")
	raftLog.SetLevel(hclog.Warn)
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(n.cfg.Member.ID)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = n.cfg.Timing.Heartbeat, n.cfg.Timing.Election, n.cfg.Timing.Lease
	// How soon followers apply what has been committed. Nothing waits for that: a new
	// leader's first entry brings it up to date. 50 ms cost half as much CPU again.
	c.CommitTimeout = 200 * time.Millisecond
	c.MaxAppendEntries = 64
	// A cluster writes a few entries a day: the defaults would never trim the log.
	c.SnapshotThreshold, c.TrailingLogs, c.SnapshotInterval = 512, 256, time.Minute
	c.NoLegacyTelemetry = true
	c.Logger = quiet(raftLog)
	// raft asks for addresses as soon as it has been made, and before that for its own.
	n.gate = newGate(n, n.cfg.Transport(addresses{n}))
	r, err := raft.NewRaft(c, machine{n.fsm, n}, &logStore{d.logs, n.seen}, d.stable, d.snapshots, n.gate)
	if err != nil {
		return errors.Join(fmt.Errorf("start raft: %w", err), n.gate.Close())
	}
	n.raft = r
	n.gate.open()
	return nil
}

// refuseMoved keeps a member from going on under an address that the others do not dial.
func (n *Node) refuseMoved() error {
	for _, s := range n.servers() {
		if string(s.ID) == n.cfg.Member.ID && string(s.Address) != n.cfg.Member.Address {
			return errors.Join(
				fmt.Errorf("this member is known to the cluster at %s, the configuration says %s: this release cannot change a member's address; set node.advertise back", s.Address, n.cfg.Member.Address),
				n.shutdown())
		}
	}
	return nil
}

func (n *Node) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	err := await(ctx, n.raft.Shutdown(), shutdownTimeout)
	return errors.Join(err, n.gate.Close())
}

// servers is the newest raft configuration; empty for a node that has joined nothing.
func (n *Node) servers() []raft.Server {
	if n.raft == nil {
		return nil
	}
	f := n.raft.GetConfiguration() // answered from memory, without raft's main loop
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

// voter reports whether id votes in the newest configuration.
func (n *Node) voter(id string) bool {
	for _, s := range n.servers() {
		if string(s.ID) == id {
			return s.Suffrage == raft.Voter
		}
	}
	return false
}

// Knows reports whether raft streams from id are welcome: everybody's while this node
// has no configuration, then only the members'.
func (n *Node) Knows(id string) bool {
	servers := n.servers()
	for _, s := range servers {
		if string(s.ID) == id {
			return true
		}
	}
	return len(servers) == 0
}

// Alive reports whether the loop has turned over lately. It feeds the service
// manager's watchdog.
func (n *Node) Alive() bool {
	return n.cfg.Boottime()-time.Duration(n.turned.Load()) < aliveWithin
}

func (n *Node) now() reading {
	return reading{mono: time.Now(), boot: n.cfg.Boottime()}
}

// wakeUp makes the loop look again; it never blocks.
func (n *Node) wakeUp() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// post has f run on the loop. It reports false if the loop has ended.
func (n *Node) post(f func(*loop)) bool {
	select {
	case n.mail <- f:
		return true
	case <-n.stopped:
		return false
	}
}

// apply proposes c and waits, d at most, until it has been committed and applied here.
// An error leaves it open whether the entry will still commit.
func (n *Node) apply(ctx context.Context, c fsm.Command, d time.Duration) (fsm.Applied, error) {
	data, err := c.Encode()
	if err != nil {
		return fsm.Applied{}, err
	}
	f := n.raft.Apply(data, d)
	if err := await(ctx, f, d); err != nil {
		return fsm.Applied{}, err
	}
	applied, ok := f.Response().(fsm.Applied)
	if !ok {
		return fsm.Applied{}, fmt.Errorf("unexpected answer %T from the state machine", f.Response())
	}
	return applied, nil
}

// await bounds a raft future, which knows no deadline of its own. The goroutine ends
// with the future, at the latest when raft shuts down.
func await(ctx context.Context, f raft.Future, d time.Duration) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("no answer from raft within %v: %w", d, context.DeadlineExceeded)
	}
}

// machine lets the loop know of every applied entry.
type machine struct {
	*fsm.FSM
	node *Node
}

// Apply is called by raft, one entry at a time.
func (m machine) Apply(l *raft.Log) any {
	r := m.FSM.Apply(l)
	if a, ok := r.(fsm.Applied); ok && a.Warning != "" {
		m.node.log.Warn("replicated entry", "index", l.Index, "warning", a.Warning)
	}
	m.node.wakeUp()
	return r
}

// Restore is called by raft with a snapshot, at the start or instead of the log.
func (m machine) Restore(r io.ReadCloser) error {
	err := m.FSM.Restore(r)
	m.node.seen.restored(time.Now())
	m.node.wakeUp()
	return err
}
