package test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/cluster/peernet"
	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
	"github.com/buoy-lb/buoy/test/lab/wire"
)

// segment is three balancers and a client on one Ethernet segment, and another segment
// for the members: network namespaces, joined by bridges. No cloud, no HAProxy: what
// serves is a port that says the node's name.
type segment struct {
	t      *testing.T
	bridge *wire.Host
	client *wire.Host
	nodes  []*carrier
}

// carrier is a balancer: a host, a daemon, and a service.
type carrier struct {
	*wire.Host
	number            int
	name, dir, listen string
	local             *api.Local
	daemon            *sandbox.Process
	service           net.Listener
}

// The interfaces of a node; the bridges have the same names.
const (
	members = "eth0"
	public  = "eth1"
)

var carried = []netip.Addr{netip.MustParseAddr("10.114.0.10"), netip.MustParseAddr("fd00:114::10")}

// TestLayer2: the address goes where it should, and nowhere else, by whichever end its
// holder meets.
func TestLayer2(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes network namespaces")
	}
	s := newSegment(t)
	lb1, lb2 := s.nodes[0], s.nodes[1]
	s.must(lb1.local.Init(t.Context()))
	for _, n := range s.nodes[1:] {
		s.must(n.local.Join(t.Context(), lb1.listen, func(string) {}))
	}
	s.serves("forming the cluster", lb1)

	lb1.daemon.Kill()
	s.serves("kill -9 of the holder's daemon", lb2)
	s.start(lb1)
	s.serves("its return", lb1)

	s.must(lb1.service.Close())
	s.serves("failure of the holder's service", lb2)
	s.serve(lb1)
	s.serves("its return", lb1)

	lb1.daemon.Signal(syscall.SIGSTOP)
	s.serves("SIGSTOP of the holder's daemon", lb2)
	lb1.daemon.Signal(syscall.SIGCONT)
	s.serves("its return", lb1)

	for _, cable := range []string{public, members} {
		s.cable(lb1, cable, false)
		s.serves(cable+" out", lb2)
		s.cable(lb1, cable, true)
		s.serves(cable+" in", lb1)
	}

	lb1.daemon.Signal(syscall.SIGTERM)
	s.serves("SIGTERM of the holder's daemon", lb2)
	for _, n := range s.nodes {
		n.daemon.Signal(syscall.SIGTERM)
	}
	for _, n := range s.nodes {
		s.eventually("the daemons stop", func() error {
			if n.daemon.Running() {
				return errors.New(n.name + " runs")
			}
			return n.carries(false)
		})
	}
}

// serves waits until the client is served by this node alone, at all addresses, and
// until no other node carries one.
func (s *segment) serves(after string, want *carrier) {
	s.t.Helper()
	begun := time.Now()
	for _, ip := range carried {
		s.eventually(after+": "+want.name+" serves "+ip.String(), func() error {
			if got, err := s.ask(ip); got != want.name {
				return fmt.Errorf("served by %q, %w", got, err)
			}
			return nil
		})
	}
	served := time.Since(begun)
	for _, n := range s.nodes {
		s.eventually(after+": the address is on "+want.name+" alone", func() error { return n.carries(n == want) })
	}
	alone := time.Since(begun)
	s.eventually(after+": the holder is confirmed", func() error {
		st, err := want.local.Status(s.t.Context())
		if err != nil {
			return err
		}
		for _, ip := range st.FloatingIPs {
			if ip.Holder != want.name || ip.State != api.IPClaimed {
				return fmt.Errorf("%+v", ip)
			}
		}
		return nil
	})
	s.t.Logf("%s: %s serves after %v, alone after %v, confirmed after %v", after, want.name,
		served.Round(time.Millisecond), alone.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
}

// ask is one request of the client on a connection of its own.
func (s *segment) ask(ip netip.Addr) (by string, err error) {
	err = s.client.Do(func() error {
		d := net.Dialer{Timeout: 100 * time.Millisecond}
		conn, err := d.DialContext(s.t.Context(), "tcp", netip.AddrPortFrom(ip, 8080).String())
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			return err
		}
		name, err := io.ReadAll(conn)
		by = string(name)
		return err
	})
	return by, err
}

// carries fails unless the node has all the addresses, or none of them.
func (n *carrier) carries(want bool) error {
	return n.Do(func() error {
		list, err := net.InterfaceAddrs()
		if err != nil {
			return err
		}
		for _, ip := range carried {
			has := false
			for _, a := range list {
				has = has || strings.HasPrefix(a.String(), ip.String()+"/")
			}
			if has != want {
				return fmt.Errorf("%s has %s: %v", n.name, ip, has)
			}
		}
		return nil
	})
}

func newSegment(t *testing.T) *segment {
	t.Helper()
	s := &segment{t: t}
	s.bridge = s.host("bridge")
	for _, name := range []string{members, public} {
		s.must(s.bridge.Do(func() error {
			off, attrs := false, netlink.NewLinkAttrs()
			attrs.Name = name
			br := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off}
			return errors.Join(netlink.LinkAdd(br), netlink.LinkSetUp(br))
		}))
	}
	s.client = s.host("client")
	s.plug(s.client, public, 100)
	secret, err := peernet.GenerateSecret()
	s.must(err)
	for i, priority := range []int{150, 100, 50} {
		number := i + 1
		n := &carrier{number: number, name: fmt.Sprintf("lb%d", number), listen: fmt.Sprintf("10.115.0.%d:7400", number)}
		n.Host = s.host(n.name)
		s.plug(n.Host, public, number)
		s.plug(n.Host, members, number)
		n.dir = t.TempDir()
		n.local = api.NewLocal(filepath.Join(n.dir, "sock"))
		s.must(os.WriteFile(filepath.Join(n.dir, "secret"), []byte(secret+"\n"), 0o600))
		s.must(os.WriteFile(filepath.Join(n.dir, "buoy.yaml"), fmt.Appendf(nil, `cluster: web
node: {id: %[1]s, listen: "%[2]s", data_dir: %[3]s/data}
secret_file: %[3]s/secret
socket: %[3]s/sock
http: "off"
priority: %[4]d
floating_ips: ["%[5]s", "%[6]s"]
provider:
  layer2: {interface: eth1, verify_interval: 5s}
checks:
  - {name: service, tcp: {address: "127.0.0.1:8080"}, interval: 50ms}
`, n.name, n.listen, n.dir, priority, carried[0], carried[1]), 0o600))
		s.nodes = append(s.nodes, n)
		s.serve(n)
		s.start(n)
		t.Cleanup(func() {
			n.daemon.Kill()
			_ = n.service.Close()
			if log, err := os.ReadFile(filepath.Join(n.dir, "log")); err == nil && t.Failed() {
				t.Logf("%s:\n%s", n.name, log)
			}
		})
	}
	for _, n := range s.nodes {
		s.eventually("the daemon answers", func() error { _, err := n.local.Status(t.Context()); return err })
	}
	return s
}

var segmentHosts atomic.Int64

// host makes a host whose name no other run of this test has.
func (s *segment) host(name string) *wire.Host {
	s.t.Helper()
	h, err := wire.NewHost(fmt.Sprintf("buoy-layer2-%d-%d-%s", os.Getpid(), segmentHosts.Add(1), name))
	s.must(err)
	s.t.Cleanup(func() { s.must(h.Close()) })
	s.must(h.Sysctl("net.ipv6.conf.default.accept_dad", "0")) // addresses are usable at once
	return h
}

// port is the bridge's end of a cable.
func port(dev string, number int) string { return fmt.Sprintf("%s-%d", dev, number) }

// plug joins an interface of a host to the bridge of its name and gives it the addresses
// of this number.
func (s *segment) plug(h *wire.Host, dev string, number int) {
	s.t.Helper()
	s.must(wire.Veth(h, dev, s.bridge, port(dev, number)))
	s.must(s.bridge.Do(func() error {
		l, err := netlink.LinkByName(port(dev, number))
		if err != nil {
			return err
		}
		br, err := netlink.LinkByName(dev)
		if err != nil {
			return err
		}
		return netlink.LinkSetMaster(l, br)
	}))
	network := map[string]int{public: 114, members: 115}[dev]
	s.must(h.AddAddress(dev, netip.MustParsePrefix(fmt.Sprintf("10.%d.0.%d/24", network, number))))
	s.must(h.AddAddress(dev, netip.MustParsePrefix(fmt.Sprintf("fd00:%d::%d/64", network, number))))
}

// cable pulls a cable of the node's or puts it back.
func (s *segment) cable(n *carrier, dev string, in bool) {
	s.t.Helper()
	s.must(s.bridge.Do(func() error {
		l, err := netlink.LinkByName(port(dev, n.number))
		if err != nil {
			return err
		}
		if in {
			return netlink.LinkSetUp(l)
		}
		return netlink.LinkSetDown(l)
	}))
}

// start starts the node's daemon.
func (s *segment) start(n *carrier) {
	s.t.Helper()
	buoy, err := raceBinary()
	s.must(err)
	log, err := os.OpenFile(filepath.Join(n.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	s.must(err)
	defer log.Close()
	cmd := exec.Command(buoy, "--config", filepath.Join(n.dir, "buoy.yaml"), "run")
	cmd.Stdout, cmd.Stderr = log, log
	n.daemon, err = sandbox.StartProcess(cmd, n.Enter)
	s.must(err)
}

// serve brings the node's service up.
func (s *segment) serve(n *carrier) {
	s.t.Helper()
	s.must(n.Do(func() (err error) {
		n.service, err = net.Listen("tcp", ":8080")
		return err
	}))
	go func(l net.Listener) { // until it is closed
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, n.name)
			_ = conn.Close()
		}
	}(n.service)
}

func (s *segment) eventually(what string, look func() error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 60*time.Second)
	defer cancel()
	s.must(sandbox.Poll(ctx, what, func(context.Context) error { return look() }))
}

func (s *segment) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}
