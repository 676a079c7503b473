package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/cluster/peernet"
	"github.com/buoy-lb/buoy/fsm"
)

// member is a node with its real port, and without HAProxy or a cloud.
type member struct {
	relay *relay
	port  *peernet.Port
	node  *cluster.Node
	http  *http.Server
	peers *api.Peers
	stop  context.CancelFunc
	done  chan error
}

// blind answers the questions that nobody asks here.
type blind struct{ *cluster.Node }

func (blind) Status(context.Context) api.Status { return api.Status{} }
func (blind) View() api.Status                  { return api.Status{} }

func newMember(t *testing.T, secrets peernet.Secrets, name string, priority int, log *eventLog) *member {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// An address of its own, for the port says only where it advertises to be.
	listen := fmt.Sprintf("127.%d.%d.%d:7400", 1+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250))
	m := &member{relay: newRelay(t, listen), done: make(chan error, 1)}
	dir := cluster.MemoryDir("web", name)
	identity, err := peernet.NewIdentity(secrets, "web", dir.ServerID())
	must(err)
	m.port, err = peernet.Listen(t.Context(), peernet.Config{Listen: listen, Advertise: m.relay.address, Identity: identity})
	must(err)
	m.peers = api.NewPeers(m.port.DialAPI)
	m.node, err = cluster.Open(cluster.Config{
		Cluster: "web", Dir: dir, Timing: lan, Transport: cluster.OverStreams(m.port.Raft(), hclog.NewNullLogger()),
		Linked: m.port.Linked, Peers: m.peers, VerifyInterval: time.Minute, Logger: log.of(name),
		Member: fsm.Member{ID: dir.ServerID(), Name: name, Address: m.relay.address, Role: fsm.RoleBalancer, Priority: priority, Preempt: true},
	})
	must(err)
	m.port.AllowRaft(m.node.Knows)
	m.port.OnGone(m.node.PeerGone)
	caller := func(ctx context.Context) (string, bool) {
		id, ok := peernet.PeerIDFromContext(ctx)
		return id, ok && m.node.Knows(id)
	}
	m.http = api.NewServer(api.PeerHandler(m.node, blind{m.node}, caller), nil)
	m.http.ConnContext = peernet.ConnContext
	go func() { _ = m.http.Serve(m.port.API()) }()
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	go func() { m.done <- m.node.Run(ctx) }()
	m.node.SetHealth(nil, 0)
	t.Cleanup(m.close)
	return m
}

var lan = cluster.Timing{Heartbeat: 300 * time.Millisecond, Election: 300 * time.Millisecond, Lease: 150 * time.Millisecond}

// close stops m in order; it may be called after cut.
func (m *member) close() {
	m.stop()
	<-m.done
	m.done <- nil
	m.http.Close()
	m.peers.Close()
	_ = m.port.Close()
}

// cut ends every connection of m at once, as the kernel does when the process is killed.
func (m *member) cut() {
	m.relay.reject()
	_ = m.port.Close()
}

// eventLog is the log of all members, line by line in the order of events.
type eventLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *eventLog) of(name string) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Name: name, Output: l, Level: hclog.Info, IndependentLevels: true})
}

func (l *eventLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

// unseated is the line with which somebody stood against a leader that had not stepped
// down itself; "" if nobody did.
func (l *eventLog) unseated() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	leading := ""
	for _, line := range l.lines {
		name, _, _ := strings.Cut(line[strings.Index(line, "] ")+2:], ":")
		name = strings.TrimSpace(name)
		switch {
		case strings.Contains(line, ": leading:"):
			leading = name
		case strings.Contains(line, ": no longer leading:") && name == leading:
			leading = ""
		case strings.Contains(line, "standing for election") && leading != "":
			return line
		}
	}
	return ""
}

func (l *eventLog) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// trio is a formed cluster of three whose first member leads.
func trio(t *testing.T) ([]*member, *eventLog) {
	t.Helper()
	key, err := peernet.GenerateSecret()
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := peernet.ParseSecrets([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	var all []*member
	log := &eventLog{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i, priority := range []int{150, 100, 50} {
		m := newMember(t, secrets, fmt.Sprintf("lb%d", i+1), priority, log)
		all = append(all, m)
		if i == 0 {
			err = m.node.Init(ctx)
		} else {
			err = m.node.Join(ctx, all[0].relay.address, func(string) {})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return all, log
}

// settled waits until lb1 leads, and both others follow it with steady links.
func settled(t *testing.T, all []*member) {
	t.Helper()
	eventually(t, "lb1 to lead and be followed", func() bool {
		for _, m := range all {
			s := m.node.Status()
			if s.LeaderID != all[0].node.Status().Self.ID {
				return false
			}
		}
		return leads(all[0])
	})
	time.Sleep(time.Second) // a few dozen heartbeats
}

func leads(m *member) bool { return m.node.Status().RaftState == "Leader" }

func eventually(t *testing.T, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ; !ok(); <-tick.C {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("waited 30 s for %s", what)
		}
	}
	return time.Since(began)
}

// TestALiveLeaderIsNotUnseated does to the connections of a healthy leader what networks
// do. It may lose its own lease by that, raft's business; but nobody may stand against it
// before. The way to a quick election is open all the while: at the end, it really dies.
func TestALiveLeaderIsNotUnseated(t *testing.T) {
	all, log := trio(t)
	leader, second := all[0].relay, all[1].relay
	for _, c := range []struct {
		name string
		harm func()
	}{
		{"a lone reset at each member in turn", func() {
			for _, m := range all {
				m.relay.reset(1)
			}
		}},
		{"a NAT forgets one follower's connections", func() { second.reset(second.open()) }},
		{"a NAT forgets everything", func() {
			for _, m := range all {
				m.relay.reset(m.relay.open())
			}
		}},
		{"a firewall rejects all that is dialled to the leader, and one of its streams is lost", func() {
			leader.reject()
			leader.reset(leader.open()) // whatever was kept from before
			for _, m := range all[1:] {
				m.relay.reset(1)
			}
		}},
		{"a firewall cuts one follower off", func() {
			second.reject()
			second.reset(second.open())
		}},
	} {
		for range 2 {
			settled(t, all)
			c.harm()
			time.Sleep(time.Second) // a wrong election takes milliseconds
			if line := log.unseated(); line != "" {
				t.Fatalf("%s: the leader was unseated: %s", c.name, line)
			}
			for _, r := range []*relay{leader, second} {
				r.reject()
				r.admit()
			}
		}
	}
	settled(t, all)
	stood := log.count("standing for election")
	all[0].cut()
	took := eventually(t, "another to lead", func() bool { return leads(all[1]) || leads(all[2]) })
	t.Logf("after the leader's death another led within %v", took)
	if log.count("standing for election") == stood {
		t.Error("nobody stood when the leader had died: the way was closed, and the test showed nothing")
	}
}
