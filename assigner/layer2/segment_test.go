package layer2

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The tests need network namespaces, hence root: TestMain runs the test binary again in a namespace
// of its own, and the tests join that with further ones by a bridge.
const (
	insideVar = "BUOY_LAYER2_INSIDE" // set in the tests proper
	nodeVar   = "BUOY_LAYER2_NODE"   // the process is a node, see node_test.go
)

// ifname is the interface of every host on the segment.
const ifname = "eth1"

var (
	ip4 = netip.MustParseAddr("192.0.2.10")
	ip6 = netip.MustParseAddr("2001:db8::10")
)

// patience bounds what should take milliseconds.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(nodeVar) != "":
		os.Exit(node())
	case os.Geteuid() != 0 || os.Getenv(insideVar) != "":
		goleak.VerifyTestMain(m)
	default:
		os.Exit(runInside())
	}
}

// runInside runs this program again with the same arguments, in a network namespace of its own.
func runInside() int {
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideVar+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig follows this thread
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// host is a machine on the segment: a network namespace.
type host struct {
	name string
	ns   netns.NsHandle
	nl   *netlink.Handle
	mac  string

	cable func(in bool) error // puts the other end of the interface up or down
}

// newSegment joins hosts by a bridge. The first is this process itself, the n-th has the addresses
// 192.0.2.n+10 and 2001:db8::n+10 (in hexadecimal), counted from 1.
func newSegment(t *testing.T, names ...string) []*host {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes network namespaces")
	}
	bridge := newHost(t, "bridge")
	off := false
	must(t, bridge.nl.LinkAdd(&netlink.Bridge{LinkAttrs: linkAttrs("br0"), MulticastSnooping: &off}))
	br, err := bridge.nl.LinkByName("br0")
	must(t, err)
	must(t, bridge.nl.LinkSetUp(br))
	var hosts []*host
	for i, name := range names {
		h := here(t, name)
		if i > 0 {
			h = newHost(t, name)
		}
		port := fmt.Sprintf("port%d", i)
		must(t, bridge.nl.LinkAdd(&netlink.Veth{LinkAttrs: linkAttrs(port), PeerName: ifname, PeerNamespace: netlink.NsFd(h.ns)}))
		l, err := bridge.nl.LinkByName(port)
		must(t, err)
		must(t, bridge.nl.LinkSetMaster(l, br))
		must(t, bridge.nl.LinkSetUp(l))
		t.Cleanup(func() { _ = bridge.nl.LinkDel(l) })
		h.cable = func(in bool) error {
			if in {
				return bridge.nl.LinkSetUp(l)
			}
			return bridge.nl.LinkSetDown(l)
		}
		h.up(t)
		h.mac = h.link(t).Attrs().HardwareAddr.String()
		h.add(t, fmt.Sprintf("192.0.2.%d/24", 11+i))
		h.add(t, fmt.Sprintf("2001:db8::%d/64", 11+i))
		hosts = append(hosts, h)
	}
	for _, h := range hosts {
		h.waitUsable(t)
	}
	return hosts
}

func linkAttrs(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

// here is the namespace of this process.
func here(t *testing.T, name string) *host {
	ns, err := netns.Get()
	must(t, err)
	return open(t, name, ns)
}

func newHost(t *testing.T, name string) *host {
	var ns netns.NsHandle
	must(t, onThread(func() (err error) { ns, err = netns.New(); return err }))
	return open(t, name, ns)
}

func open(t *testing.T, name string, ns netns.NsHandle) *host {
	h := &host{name: name, ns: ns}
	var err error
	h.nl, err = netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	must(t, err)
	t.Cleanup(func() { h.nl.Close(); _ = ns.Close() })
	must(t, h.do(func() error { // addresses are usable at once
		return errors.Join(os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0o644),
			os.WriteFile("/proc/sys/net/ipv6/conf/all/accept_dad", []byte("0"), 0o644))
	}))
	lo, err := h.nl.LinkByName("lo")
	must(t, err)
	must(t, h.nl.LinkSetUp(lo))
	return h
}

// do runs f on a thread inside.
func (h *host) do(f func() error) error {
	return onThread(func() error {
		if err := netns.Set(h.ns); err != nil {
			return err
		}
		return f()
	})
}

// onThread runs f on a thread that is thrown away.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() { // the first thread cannot be thrown away
			err := onThread(f)
			runtime.UnlockOSThread()
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

func (h *host) link(t *testing.T) netlink.Link {
	t.Helper()
	l, err := h.nl.LinkByName(ifname)
	must(t, err)
	return l
}

func (h *host) up(t *testing.T)   { t.Helper(); must(t, h.nl.LinkSetUp(h.link(t))) }
func (h *host) down(t *testing.T) { t.Helper(); must(t, h.nl.LinkSetDown(h.link(t))) }

// waitUsable waits for the carrier and the link-local address.
func (h *host) waitUsable(t *testing.T) {
	t.Helper()
	l := &link{ifname, h.nl}
	eventually(t, h.name+" is usable", func() bool {
		_, err := l.usable()
		_, err6 := l.linkLocal()
		return err == nil && err6 == nil
	})
}

// add gives the host an address as somebody else would: for ever.
func (h *host) add(t *testing.T, prefix string) {
	t.Helper()
	addr, err := netlink.ParseAddr(prefix)
	must(t, err)
	addr.Flags = unix.IFA_F_NODAD
	must(t, h.nl.AddrReplace(h.link(t), addr))
}

// del removes ip, however it came there.
func (h *host) del(t *testing.T, ip netip.Addr) {
	t.Helper()
	found, err := (&link{ifname, h.nl}).find(ip)
	if err != nil {
		t.Error(err)
	}
	for _, f := range found {
		if err := h.nl.AddrDel(nil, &f); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			t.Error(err)
		}
	}
}

func (h *host) has(t *testing.T, ip netip.Addr) bool {
	t.Helper()
	found, err := (&link{ifname, h.nl}).find(ip)
	must(t, err)
	return len(found) > 0
}

// neighbour is the MAC address that the host's neighbour table has for ip.
func (h *host) neighbour(t *testing.T, ip netip.Addr) string {
	t.Helper()
	family := netlink.FAMILY_V4
	if ip.Is6() {
		family = netlink.FAMILY_V6
	}
	list, err := h.nl.NeighList(h.link(t).Attrs().Index, family)
	must(t, err)
	for _, n := range list {
		if a, _ := netip.AddrFromSlice(n.IP); a.Unmap() == ip && n.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) == 0 {
			return n.HardwareAddr.String()
		}
	}
	return ""
}

// talk sends a datagram to ip, which makes the host look for its MAC address.
func (h *host) talk(t *testing.T, ip netip.Addr) {
	t.Helper()
	must(t, h.do(func() error {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 9)))
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("hello"))
		return err
	}))
}

// event is a change of one of the addresses under test.
type event struct {
	at    time.Time
	ip    netip.Addr
	added bool // or renewed
}

// watch records what happens to ip4 and ip6 on the host.
func (h *host) watch(t *testing.T) func() []event {
	t.Helper()
	updates, done := make(chan netlink.AddrUpdate), make(chan struct{})
	must(t, netlink.AddrSubscribeAt(h.ns, updates, done))
	var mu sync.Mutex
	var events []event
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for u := range updates {
			a, _ := netip.AddrFromSlice(u.LinkAddress.IP)
			if a = a.Unmap(); a == ip4 || a == ip6 {
				mu.Lock()
				events = append(events, event{time.Now(), a, u.NewAddr})
				mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() { close(done); <-ended })
	return func() []event {
		mu.Lock()
		defer mu.Unlock()
		return append([]event(nil), events...)
	}
}

// hear counts the announcements of ip by from that reach the host.
func (h *host) hear(t *testing.T, ip netip.Addr, from string) (heard func() int) {
	var count atomic.Int64
	h.listen(t, ip, func(mac string) {
		if mac == from {
			count.Add(1)
		}
	})
	return func() int { return int(count.Load()) }
}

// listen has the host call f with the MAC address of whoever says that it has ip.
func (h *host) listen(t *testing.T, ip netip.Addr, f func(mac string)) {
	t.Helper()
	index := h.link(t).Attrs().Index
	var conn *os.File
	must(t, h.do(func() (err error) { conn, err = listen(index, ip); return err }))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		frame := make([]byte, 256)
		for {
			n, err := conn.Read(frame)
			if err != nil {
				return
			}
			if mac, ok := answer(frame[:n], ip); ok {
				f(mac.String())
			}
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-ended })
}

// process is a node in a process of its own, see node_test.go.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	log *lines
}

// start runs a node on the host.
func (h *host) start(t *testing.T, environment ...string) *process {
	t.Helper()
	return h.startAs(t, nil, environment...)
}

func (h *host) startAs(t *testing.T, as *syscall.SysProcAttr, environment ...string) *process {
	t.Helper()
	// Not os.Args[0], whose directory is closed to other users.
	p := &process{t: t, cmd: exec.Command("/proc/self/exe"), log: &lines{}}
	p.cmd.SysProcAttr = as
	p.cmd.Env = append(append(os.Environ(), nodeVar+"="+h.name), environment...)
	p.cmd.Stderr = p.log
	in, err := p.cmd.StdinPipe()
	must(t, err)
	out, err := p.cmd.StdoutPipe()
	must(t, err)
	p.in, p.out = in, bufio.NewScanner(out)
	must(t, h.do(p.cmd.Start))
	t.Cleanup(p.kill)
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *process) signal(s os.Signal) { p.t.Helper(); must(p.t, p.cmd.Process.Signal(s)) }

// order has the node do something and returns its answer.
func (p *process) order(words ...any) string {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, words...); err != nil {
		p.t.Fatal(err)
	}
	if !p.out.Scan() {
		p.t.Fatalf("the node does not answer %v: %v; %s", words, p.out.Err(), p.log)
	}
	return p.out.Text()
}

// must is order that wants "ok".
func (p *process) must(words ...any) {
	p.t.Helper()
	if got := p.order(words...); got != "ok" {
		p.t.Fatalf("%v: %s", words, got)
	}
}

// lines is a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// eventually waits until what holds and returns how long that took.
func eventually(t *testing.T, what string, holds func() bool) time.Duration {
	t.Helper()
	return eventuallyWithin(t, patience, what, holds)
}

func eventuallyWithin(t *testing.T, limit time.Duration, what string, holds func() bool) time.Duration {
	t.Helper()
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %s", limit, what)
		case <-time.After(time.Millisecond):
		}
	}
	return time.Since(begun)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func contains(l *lines, part string) bool { return strings.Contains(l.String(), part) }
