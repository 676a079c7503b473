package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/digitalocean"
	"github.com/buoy-lb/buoy/assigner/dotest"
	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/fsm"
)

// The tests of this package run real nodes with the real DigitalOcean provider, its transport
// included, against the fake cloud, all within a synctest bubble. Only the sockets are missing:
// raft runs over its in-memory transport, HTTP over pipes.

const stranger = 199 // a droplet that is no member

var (
	ip4 = netip.MustParseAddr("203.0.113.10")
	ip6 = netip.MustParseAddr("2001:db8::10")
)

// site is a cluster of members lb1 (droplet 101), lb2... and the account they share.
type site struct {
	dir     string // for the token file
	cloud   *dotest.Server
	start   time.Time
	members []*member
	// unreachable has every new connection to the API or the metadata service fail.
	unreachable atomic.Bool

	mu        sync.Mutex
	confirmed []confirmation
}

// confirmation is a look that found ip at a droplet, as a Claimer told it.
type confirmation struct {
	ip      netip.Addr
	droplet string
	at      time.Time
}

// member is one node of a site.
type member struct {
	*site
	name      string
	self      fsm.Member
	node      *cluster.Node
	transport *raft.InmemTransport
	provider  *digitalocean.Provider
	inner     *assigner.Claimer
	ips       []netip.Addr
	hint      []netip.Addr // guarded by site.mu
	hintAt    time.Time
	offline   atomic.Bool // this one alone has no network
	stop      context.CancelFunc
	done      chan error
}

const secret = "dop_v1_shared"

// newSite is a formed cluster of count members, lb1 of the highest priority, which claims ips.
// Prepare sees the cloud before anybody claims anything.
func newSite(dir string, count int, ips []netip.Addr, prepare func(*dotest.Server)) (*site, error) {
	s := &site{dir: dir, start: time.Now(), cloud: dotest.New(dotest.Options{})}
	s.restore()
	s.cloud.AddToken("foreigner", "dop_v1_foreigner")
	s.cloud.AddDroplet(dotest.Droplet{ID: stranger, Name: "stranger", Region: "nyc3"})
	for i := range count {
		s.cloud.AddDroplet(dotest.Droplet{ID: 101 + i, Name: fmt.Sprintf("lb%d", i+1), Region: "nyc3"})
	}
	for _, ip := range ips {
		if err := s.cloud.AddReservedIP(ip, "nyc3", 0); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "do-token"), []byte(secret), 0o600); err != nil {
		return nil, err
	}
	prepare(s.cloud)
	for i := range count {
		if err := s.boot(i, ips); err != nil {
			return nil, err
		}
	}
	first := s.members[0]
	if err := first.node.Init(context.Background()); err != nil {
		return nil, err
	}
	for _, m := range s.members[1:] {
		if err := m.node.Join(context.Background(), first.self.Address, func(string) {}); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// restore makes the members' token good.
func (s *site) restore() { s.cloud.AddToken("buoy", secret, dotest.AssignScopes()...) }

func (s *site) boot(i int, ips []netip.Addr) error {
	m := &member{site: s, name: fmt.Sprintf("lb%d", i+1), ips: ips, done: make(chan error, 1)}
	dir := cluster.MemoryDir("web", m.name)
	m.self = fsm.Member{
		ID: dir.ServerID(), Name: m.name, Address: fmt.Sprintf("10.0.0.%d:7400", i+1), Instance: fmt.Sprint(101 + i),
		Role: fsm.RoleBalancer, Priority: 200 - 50*i, Preempt: true, Version: "test",
	}
	_, m.transport = raft.NewInmemTransportWithTimeout(raft.ServerAddress(m.self.Address), time.Second)
	for _, other := range s.members {
		m.transport.Connect(raft.ServerAddress(other.self.Address), other.transport)
		other.transport.Connect(raft.ServerAddress(m.self.Address), m.transport)
	}
	dial := s.cloud.Dialer(101 + i)
	var err error
	m.provider, err = digitalocean.New(digitalocean.Options{
		TokenFile: filepath.Join(s.dir, "do-token"), APIURL: "http://127.0.0.1/", Node: m.name, Version: "test",
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if s.unreachable.Load() || m.offline.Load() {
				return nil, &net.DNSError{Err: "no such host", Name: addr, IsNotFound: true}
			}
			return dial(ctx, network, addr)
		},
	})
	if err != nil {
		return err
	}
	m.inner = assigner.New(m.provider, logger(m.name))
	m.node, err = cluster.Open(cluster.Config{
		Cluster: "web", Member: m.self, Dir: dir, Timing: wan, Logger: logger(m.name),
		Transport: func(raft.ServerAddressProvider) cluster.Carrier { return m.transport },
		Peers:     peers{s}, Linked: func(string) bool { return true }, Claimer: claims{m},
		FloatingIPs: ips, VerifyInterval: 30 * time.Second,
		Boottime: func() time.Duration { return time.Since(s.start) },
	})
	if err != nil {
		return err
	}
	s.members = append(s.members, m)
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	go func() { m.done <- m.node.Run(ctx) }()
	m.node.SetHealth([]fsm.Check{{Name: "haproxy", Known: true, OK: true}}, 0)
	return nil
}

// wan are the slower of the two settings: an election is not what is tested here.
var wan = cluster.Timing{Heartbeat: time.Second, Election: time.Second, Lease: 500 * time.Millisecond}

func logger(name string) hclog.Logger {
	if os.Getenv("BUOY_TEST_LOG") == "" {
		return hclog.NewNullLogger()
	}
	return hclog.New(&hclog.LoggerOptions{Name: name, Level: hclog.Info, IndependentLevels: true})
}

// close stops everything, and waits for what raft still owes to abandoned futures.
func (s *site) close() error {
	for _, m := range s.members {
		m.stop()
	}
	var errs []error
	for _, m := range s.members {
		errs = append(errs, <-m.done)
		m.provider.Close()
	}
	s.cloud.Close()
	time.Sleep(2 * time.Minute)
	return errors.Join(errs...)
}

// holds reports whether m holds ip by the cloud's own record and knows it.
func (m *member) holds(ip netip.Addr) bool {
	if fmt.Sprint(m.cloud.Holder(ip)) != m.self.Instance {
		return false
	}
	for _, a := range m.node.Status().Addresses {
		if a.IP == ip {
			return a.State == cluster.AddressClaimed
		}
	}
	return false
}

func (m *member) holdsAll() bool {
	for _, ip := range m.ips {
		if !m.holds(ip) {
			return false
		}
	}
	return true
}

// within waits for ok, for d at most.
func within(d time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(d); !ok(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// claims is a node's way to its Claimer, as cmd/buoy has it.
type claims struct{ *member }

func (m claims) Ensure(ctx context.Context, e cluster.Ensure, f cluster.Fence) (cluster.Outcome, error) {
	out, err := m.inner.Ensure(ctx, assigner.Request{
		IP: e.IP, Fence: assigner.Fence(f), Epoch: e.Epoch, Believed: e.Believed, Suspect: e.Suspect,
	})
	if !out.Confirmed.IsZero() || err == nil {
		m.mu.Lock()
		m.confirmed = append(m.confirmed, confirmation{e.IP, out.Instance, out.Confirmed})
		m.mu.Unlock()
	}
	return cluster.Outcome{
		Moved: out.Moved, From: out.From, Instance: out.Instance, Unverified: out.Unverified,
		Accepted: out.Accepted, Confirmed: out.Confirmed,
	}, err
}

func (m claims) Holder(ctx context.Context, ip netip.Addr) (string, error) {
	h, err := m.provider.Holder(assigner.WithRoutine(ctx), ip)
	return h.Instance, err
}

func (m claims) SelfTest(ctx context.Context) error {
	for _, ip := range m.ips {
		if err := m.inner.SelfTest(ctx, ip); err != nil {
			return err
		}
	}
	return nil
}

// Hint asks the metadata service each 5 s only, and is late by that: an hour of a cluster should not
// be spent on it.
func (m claims) Hint(ctx context.Context) ([]netip.Addr, error) {
	m.mu.Lock()
	hint, fresh := m.hint, !m.hintAt.IsZero() && time.Since(m.hintAt) < 5*time.Second
	m.mu.Unlock()
	if fresh {
		return hint, nil
	}
	hint, err := m.inner.Hint(ctx)
	if err == nil {
		m.mu.Lock()
		m.hint, m.hintAt = hint, time.Now()
		m.mu.Unlock()
	}
	return hint, err
}

func (claims) Release(context.Context, uint64) error { return nil }

// peers is the API between members, without HTTP.
type peers struct{ *site }

func (s peers) at(address string) (*member, error) {
	for _, m := range s.members {
		if m.self.Address == address {
			return m, nil
		}
	}
	return nil, fmt.Errorf("connect: %w", syscall.ECONNREFUSED)
}

func (s peers) Probe(_ context.Context, _, address string) (fsm.Contact, error) {
	other, err := s.at(address)
	if err != nil {
		return fsm.Contact{}, err
	}
	return other.node.Contact(), nil
}

func (s peers) Forward(ctx context.Context, _, address string, r fsm.Report) error {
	other, err := s.at(address)
	if err != nil {
		return err
	}
	return other.node.Receive(ctx, r)
}

func (s peers) Confirm(ctx context.Context, _, address string, q fsm.Suspicion) (fsm.Testimony, error) {
	other, err := s.at(address)
	if err != nil {
		return fsm.Testimony{}, err
	}
	return other.node.Confirm(ctx, q), nil
}

func (s peers) Join(ctx context.Context, _, address string, c fsm.Contact) error {
	other, err := s.at(address)
	if err != nil {
		return err
	}
	return other.node.Admit(ctx, c)
}

func (s peers) SelfTest(ctx context.Context, _, address string) error {
	other, err := s.at(address)
	if err != nil {
		return err
	}
	return other.node.SelfTest(ctx)
}
