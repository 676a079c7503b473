package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

const (
	link    = "eth0"
	port    = 4000
	patient = 10 * time.Second // what must happen has happened by then
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lab is some hosts, called a, b, c in tests, at one switch.
type lab struct {
	t     testing.TB
	s     *Switch
	hosts map[string]*Host
	ports map[string]*Port
}

func fullName(short string) string { return "buoy-wire-test-" + short }

func addressOf(short string) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 77, 0, short[0] - 'a' + 1})
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("needs /dev/net/tun, to make TAPs: ", err)
	}
}

func newHost(t testing.TB, short string) *Host {
	t.Helper()
	needRoot(t)
	h, err := NewHost(fullName(short))
	check(t, err)
	t.Cleanup(func() { check(t, h.Close()) })
	return h
}

func newLab(t testing.TB, seed uint64, shorts ...string) *lab {
	t.Helper()
	needRoot(t)
	l := &lab{t, NewSwitch(seed), map[string]*Host{}, map[string]*Port{}}
	addresses := map[string]netip.Addr{}
	for _, short := range shorts {
		h := newHost(t, short)
		p, err := l.s.Connect(h, link)
		check(t, err)
		check(t, h.AddAddress(link, netip.PrefixFrom(addressOf(short), 24)))
		l.hosts[short], l.ports[short] = h, p
		addresses[h.Name] = addressOf(short)
	}
	t.Cleanup(func() { check(t, l.s.Close()) })
	check(t, l.s.Introduce(addresses))
	return l
}

func (l *lab) spoil(from, to string, line Line) { l.s.Spoil(fullName(from), fullName(to), line) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually polls until f holds.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patient); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never happened: ", what)
		}
	}
}

// socket is a UDP socket of a host that sends and receives numbers.
type socket struct {
	t testing.TB
	*net.UDPConn
}

func (l *lab) listen(short string) socket { return listenAt(l.t, l.hosts[short], addressOf(short)) }

func listenAt(t testing.TB, h *Host, a netip.Addr) socket {
	t.Helper()
	var conn *net.UDPConn
	check(t, h.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port)))
		return err
	}))
	raw, err := conn.SyscallConn()
	check(t, err)
	check(t, raw.Control(func(fd uintptr) { // a burst must not be lost here
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20)
	}))
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	return socket{t, conn}
}

func (s socket) send(to string, n uint64) {
	s.t.Helper()
	_, err := s.WriteToUDPAddrPort(binary.BigEndian.AppendUint64(nil, n), netip.AddrPortFrom(addressOf(to), port))
	check(s.t, err)
}

func (s socket) receive() uint64 {
	s.t.Helper()
	check(s.t, s.SetReadDeadline(time.Now().Add(patient)))
	buf := make([]byte, 64)
	n, err := s.Read(buf)
	check(s.t, err)
	return binary.BigEndian.Uint64(buf[:n])
}

func (s socket) expect(numbers ...uint64) {
	s.t.Helper()
	for _, want := range numbers {
		if got := s.receive(); got != want {
			s.t.Fatalf("received %d, want %d", got, want)
		}
	}
}

// until receives up to and without a number.
func (s socket) until(end uint64) (got []uint64) {
	s.t.Helper()
	for {
		n := s.receive()
		if n == end {
			return got
		}
		got = append(got, n)
	}
}

const marker = 1 << 32

// sendAll sends the numbers below n from a to b. Now and then it sends one to c as well
// and waits for it, over a perfect line: when it is there, the switch has dealt with
// all before it, and the TAP's queue cannot overflow, which would be a loss not drawn.
func sendAll(a, c socket, n uint64) {
	for i := range n {
		a.send("b", i)
		if i%50 == 49 || i == n-1 {
			a.send("c", marker)
			c.expect(marker)
		}
	}
}

func count(n uint64) (numbers []uint64) {
	for i := range n {
		numbers = append(numbers, i)
	}
	return numbers
}

// echo answers every TCP connection of a host with what it sends.
func (l *lab) echo(short string) {
	l.t.Helper()
	var listener net.Listener
	check(l.t, l.hosts[short].Do(func() (err error) {
		listener, err = net.Listen("tcp4", netip.AddrPortFrom(addressOf(short), port).String())
		return err
	}))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(patient))
			buf := make([]byte, 64)
			for n, err := conn.Read(buf); err == nil; n, err = conn.Read(buf) {
				conn.Write(buf[:n])
			}
			conn.Close()
		}
	}()
	l.t.Cleanup(func() { listener.Close(); <-ended })
}

func (l *lab) dial(from, to string, timeout time.Duration) (conn net.Conn, err error) {
	err = l.hosts[from].Do(func() (err error) {
		conn, err = net.DialTimeout("tcp4", netip.AddrPortFrom(addressOf(to), port).String(), timeout)
		return err
	})
	return conn, err
}

// ping returns the round-trip time of a few bytes on a new connection.
func (l *lab) ping(from, to string) time.Duration {
	l.t.Helper()
	conn, err := l.dial(from, to, patient)
	check(l.t, err)
	defer conn.Close()
	check(l.t, conn.SetDeadline(time.Now().Add(patient)))
	start := time.Now()
	_, err = conn.Write([]byte("ping"))
	check(l.t, err)
	_, err = conn.Read(make([]byte, 64))
	check(l.t, err)
	return time.Since(start)
}

func TestHostsReachEachOther(t *testing.T) {
	l := newLab(t, 1, "a", "b", "c")
	for _, to := range []string{"a", "b", "c"} {
		l.echo(to)
	}
	for _, way := range []string{"ab", "ba", "ac", "cb", "aa"} {
		t.Log(way, l.ping(way[:1], way[1:]))
	}
}

func TestBroadcastReachesAllOthers(t *testing.T) {
	l := newLab(t, 1, "a", "b", "c")
	a := l.listen("a")
	everywhere := netip.IPv4Unspecified()
	b, c := listenAt(t, l.hosts["b"], everywhere), listenAt(t, l.hosts["c"], everywhere)
	shout := func(n uint64) {
		_, err := a.WriteToUDPAddrPort(binary.BigEndian.AppendUint64(nil, n), netip.MustParseAddrPort("10.77.0.255:4000"))
		check(t, err)
	}
	shout(1)
	b.expect(1)
	c.expect(1)
	l.spoil("a", "b", Line{Cut: true}) // each direction on its own
	shout(2)
	c.expect(2)
	l.s.Heal()
	shout(3)
	b.expect(3)
	c.expect(3)
}

func TestStrangersFindEachOther(t *testing.T) {
	l := newLab(t, 1, "a", "b")
	stranger := netip.MustParsePrefix("10.77.0.99/24") // not introduced: a asks for it
	check(t, l.hosts["b"].AddAddress(link, stranger))
	a, b := l.listen("a"), listenAt(t, l.hosts["b"], stranger.Addr())
	_, err := a.WriteToUDPAddrPort(binary.BigEndian.AppendUint64(nil, 7), netip.AddrPortFrom(stranger.Addr(), port))
	check(t, err)
	b.expect(7)
}

func TestDelayIsKept(t *testing.T) {
	l := newLab(t, 1, "a", "b")
	l.echo("b")
	l.s.SpoilBoth(fullName("a"), fullName("b"), Line{Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond})
	for range 5 {
		rtt := l.ping("a", "b")
		t.Log(rtt)
		if rtt < 30*time.Millisecond {
			t.Errorf("round trip took %v, want at least 30ms", rtt)
		}
	}
}

func TestCutIsOneWay(t *testing.T) {
	l := newLab(t, 1, "a", "b", "c")
	a, b := l.listen("a"), l.listen("b")
	l.spoil("b", "a", Line{Cut: true})
	for i := range uint64(10) {
		a.send("b", i)
		b.expect(i)
		b.send("a", i)
	}
	c := l.listen("c")
	b.send("c", marker) // the switch has seen the answers when this one has come
	c.expect(marker)
	l.s.Heal()
	b.send("a", 10)
	a.expect(10)
}

func TestConnectionSurvivesAShortCut(t *testing.T) {
	l := newLab(t, 1, "a", "b")
	l.echo("b")
	l.s.SpoilBoth(fullName("a"), fullName("b"), Line{Cut: true})
	if conn, err := l.dial("a", "b", 50*time.Millisecond); err == nil {
		conn.Close()
		t.Fatal("connected over a cut line")
	}
	l.s.Heal()
	start := time.Now()
	l.ping("a", "b")
	t.Log("first connection after the heal took", time.Since(start))
}

func TestCutsAreListedInOrder(t *testing.T) {
	s := NewSwitch(1)
	s.SpoilBoth("c", "a", Line{Cut: true})
	s.Spoil("a", "b", Line{Cut: true})
	s.Spoil("b", "a", Line{Loss: 1})
	want := [][2]string{{"a", "b"}, {"a", "c"}, {"c", "a"}}
	if got := s.Cuts(); !reflect.DeepEqual(got, want) {
		t.Errorf("Cuts() = %v, want %v", got, want)
	}
	s.Heal()
	if got := s.Cuts(); len(got) != 0 {
		t.Errorf("after Heal, Cuts() = %v", got)
	}
}

func TestFullLossLosesAll(t *testing.T) {
	l := newLab(t, 1, "a", "b", "c")
	a, b, c := l.listen("a"), l.listen("b"), l.listen("c")
	l.spoil("a", "b", Line{Loss: 1})
	sendAll(a, c, 200)
	l.s.Heal()
	a.send("b", marker)
	b.expect(marker)
}

func TestLossFollowsTheSeed(t *testing.T) {
	needRoot(t)
	survivors := func(seed uint64, chatter bool) (got []uint64) {
		t.Run(fmt.Sprintf("seed %d, chatter %t", seed, chatter), func(t *testing.T) {
			l := newLab(t, seed, "a", "b", "c")
			a, b, c := l.listen("a"), l.listen("b"), l.listen("c")
			if chatter { // other lines' draws must not matter
				l.spoil("c", "b", Line{Loss: 1})
				sendAll(c, a, 0)
				for i := range uint64(100) {
					c.send("b", i)
				}
			}
			l.spoil("a", "b", Line{Loss: 0.3})
			sendAll(a, c, 2000)
			l.s.Heal()
			a.send("b", marker)
			got = b.until(marker)
			t.Log(len(got), "of 2000 survived")
		})
		return got
	}
	first := survivors(7, false)
	if n := len(first); n < 1250 || n > 1550 { // 1400 ± 7 standard deviations
		t.Errorf("%d of 2000 survived a loss of 30%%", n)
	}
	if !slices.Equal(first, survivors(7, true)) {
		t.Error("the same seed lost other frames")
	}
	if slices.Equal(first, survivors(8, false)) {
		t.Error("another seed lost the same frames")
	}
}

func TestDuplicatesComeTwice(t *testing.T) {
	l := newLab(t, 1, "a", "b", "c")
	a, b := l.listen("a"), l.listen("b")
	l.spoil("a", "b", Line{Duplicate: 1})
	for i := range uint64(20) {
		a.send("b", i)
		b.expect(i, i)
	}
}

func TestJitterKeepsTheOrder(t *testing.T) {
	l := newLab(t, 1, "a", "b", "c")
	a, b, c := l.listen("a"), l.listen("b"), l.listen("c")
	l.spoil("a", "b", Line{Delay: 5 * time.Millisecond, Jitter: 5 * time.Millisecond})
	sendAll(a, c, 1000)
	l.spoil("a", "b", Line{Jitter: time.Microsecond}) // direct and queued frames mixed
	sendAll(a, c, 1000)
	b.expect(append(count(1000), count(1000)...)...)
}

func TestHealDeliversFramesUnderWay(t *testing.T) {
	l := newLab(t, 1, "a", "b", "c")
	a, b, c := l.listen("a"), l.listen("b"), l.listen("c")
	l.spoil("a", "b", Line{Delay: time.Hour})
	sendAll(a, c, 100)
	l.s.Heal()
	a.send("b", 100)
	b.expect(count(101)...)
}

func TestCutLosesFramesUnderWay(t *testing.T) {
	l := newLab(t, 1, "a", "b", "c")
	a, b, c := l.listen("a"), l.listen("b"), l.listen("c")
	l.spoil("a", "b", Line{Delay: time.Hour})
	sendAll(a, c, 100)
	l.spoil("a", "b", Line{Cut: true})
	l.s.Heal()
	a.send("b", marker)
	b.expect(marker)
}

func TestQueueIsBounded(t *testing.T) {
	s := NewSwitch(1)
	s.Spoil("a", "b", Line{Delay: time.Hour})
	d := s.direction("a", "b")
	for range queueLimit + 10 {
		d.send([]byte("frame"), nil)
	}
	if n := len(d.queue); n != queueLimit {
		t.Errorf("%d frames under way, want %d", n, queueLimit)
	}
	check(t, s.Close())
}

func TestCloseIsPromptAndFinal(t *testing.T) {
	l := newLab(t, 1, "a", "b", "c")
	a, c := l.listen("a"), l.listen("c")
	l.spoil("a", "b", Line{Delay: time.Hour})
	sendAll(a, c, 10)
	start := time.Now()
	check(t, l.s.Close())
	t.Log("Close took", time.Since(start))
	check(t, l.s.Close())
	check(t, goleak.Find())
	if _, err := l.s.Connect(newHost(t, "d"), link); !errors.Is(err, os.ErrClosed) {
		t.Error("Connect after Close:", err)
	}
	if err := l.ports["a"].SetCarrier(false); err == nil {
		t.Error("SetCarrier after Close: no error")
	}
}

func TestHostIsConnectedOnce(t *testing.T) {
	l := newLab(t, 1, "a")
	if _, err := l.s.Connect(l.hosts["a"], "eth1"); err == nil {
		t.Error("connected twice")
	}
	if err := l.s.Introduce(map[string]netip.Addr{"nobody": addressOf("b")}); err == nil {
		t.Error("introduced a host that is not there")
	}
}

func TestCarrier(t *testing.T) {
	l := newLab(t, 1, "a", "b", "c")
	a, b, c := l.listen("a"), l.listen("b"), l.listen("c")
	running := func() bool {
		state, err := l.hosts["a"].nl.LinkByName(link)
		check(t, err)
		return state.Attrs().RawFlags&unix.IFF_RUNNING != 0
	}
	eventually(t, "link runs", running)
	check(t, l.ports["a"].SetCarrier(false))
	start := time.Now()
	eventually(t, "link loses its carrier", func() bool { return !running() })
	t.Log("loss seen after", time.Since(start))
	a.send("b", 1)
	b.send("a", 2)
	b.send("c", marker)
	c.expect(marker)

	check(t, l.ports["a"].SetCarrier(true))
	start = time.Now()
	eventually(t, "link has its carrier back", running)
	t.Log("return seen after", time.Since(start))
	// The neighbours are known still, the frames of before are gone.
	b.send("a", 3)
	a.expect(3)
	a.send("b", 4)
	b.expect(4)
}

func TestRouteMoves(t *testing.T) {
	// a reaches 10.99.0.1 through b or c, which both have it.
	l := newLab(t, 1, "a", "b", "c")
	a := l.listen("a")
	anycast := netip.MustParsePrefix("10.99.0.1/32")
	served := map[string]socket{}
	for _, short := range []string{"b", "c"} {
		check(t, l.hosts[short].AddAddress("lo", anycast))
		served[short] = listenAt(t, l.hosts[short], anycast.Addr())
	}
	var slowest, total time.Duration
	const moves = 200
	for i := range uint64(moves) {
		via := []string{"b", "c"}[i%2]
		start := time.Now()
		check(t, l.hosts["a"].Route(anycast, addressOf(via)))
		took := time.Since(start)
		slowest, total = max(slowest, took), total+took
		_, err := a.WriteToUDPAddrPort(binary.BigEndian.AppendUint64(nil, i), netip.AddrPortFrom(anycast.Addr(), port))
		check(t, err)
		served[via].expect(i)
	}
	t.Logf("a move took %v on average, %v at most", total/moves, slowest)

	check(t, l.hosts["a"].Unroute(anycast))
	check(t, l.hosts["a"].Unroute(anycast))
	if _, err := a.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(anycast.Addr(), port)); !errors.Is(err, unix.ENETUNREACH) {
		t.Error("send without a route:", err)
	}
}

func TestRouterForwardsBetweenVethAndSwitch(t *testing.T) {
	// client -- veth -- a -- switch -- b
	l := newLab(t, 1, "a", "b")
	client, router, b := newHost(t, "client"), l.hosts["a"], l.hosts["b"]
	check(t, Veth(client, "up0", router, "down0"))
	check(t, client.AddAddress("up0", netip.MustParsePrefix("10.78.0.2/24")))
	check(t, router.AddAddress("down0", netip.MustParsePrefix("10.78.0.1/24")))
	check(t, router.Sysctl("net.ipv4.ip_forward", "1"))
	check(t, client.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.78.0.1")))
	check(t, b.Route(netip.MustParsePrefix("10.78.0.0/24"), addressOf("a")))
	l.echo("b")
	l.hosts["client"] = client
	t.Log(l.ping("client", "b"))
	check(t, client.Unroute(netip.MustParsePrefix("0.0.0.0/0")))
	if conn, err := l.dial("client", "b", time.Second); !errors.Is(err, unix.ENETUNREACH) {
		if err == nil {
			conn.Close()
		}
		t.Error("dial without a route:", err)
	}
}

func TestChildRunsInside(t *testing.T) {
	l := newLab(t, 1, "a")
	var out []byte
	check(t, l.hosts["a"].Do(func() (err error) {
		out, err = exec.Command("cat", "/proc/net/dev").Output()
		return err
	}))
	if !strings.Contains(string(out), link+":") {
		t.Errorf("a child sees no %s:\n%s", link, out)
	}
}

func TestSysctlNamesWhatIsMissing(t *testing.T) {
	h := newHost(t, "a")
	if err := h.Sysctl("net.ipv4.no_such_thing", "1"); !errors.Is(err, os.ErrNotExist) {
		t.Error("set an unknown parameter:", err)
	}
}

func TestDoSurvivesAnEndedGoroutine(t *testing.T) {
	h := newHost(t, "a")
	err := h.Do(func() error { runtime.Goexit(); return nil })
	if !errors.Is(err, errEnded) {
		t.Error("Do returned", err)
	}
}

func TestLeftOverHostIsReplaced(t *testing.T) {
	needRoot(t)
	name := fullName("left")
	path := filepath.Join(namespaces, name)
	check(t, os.MkdirAll(namespaces, 0o755))
	check(t, os.WriteFile(path, nil, 0o644)) // as left between file and mount
	old, err := NewHost(name)
	check(t, err)
	h, err := NewHost(name) // as left by a killed run
	check(t, err)
	check(t, h.AddAddress("lo", netip.MustParsePrefix("10.79.0.1/32")))
	check(t, h.Close())
	check(t, old.Close())
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("after Close:", err)
	}
}

func TestNoThreadStaysInside(t *testing.T) {
	h := newHost(t, "a")
	var inside string
	check(t, h.Do(func() (err error) {
		inside, err = os.Readlink("/proc/thread-self/ns/net")
		return err
	}))
	for range 50 {
		check(t, h.Do(func() error { return nil }))
	}
	eventually(t, "all threads are outside", func() bool {
		threads, err := filepath.Glob("/proc/self/task/*/ns/net")
		check(t, err)
		return !slices.ContainsFunc(threads, func(thread string) bool {
			where, _ := os.Readlink(thread)
			return where == inside
		})
	})
}

// BenchmarkSwitch measures a round trip of a small datagram between two hosts; what the
// switch adds to one way is half its excess over BenchmarkVeth.
func BenchmarkSwitch(b *testing.B) {
	l := newLab(b, 1, "a", "b")
	pingPong(b, l.listen("a"), l.listen("b"))
}

// BenchmarkSpoiledSwitch makes every draw, but neither loses nor delays.
func BenchmarkSpoiledSwitch(b *testing.B) {
	l := newLab(b, 1, "a", "b")
	l.s.SpoilBoth(fullName("a"), fullName("b"), Line{Loss: 1e-18})
	pingPong(b, l.listen("a"), l.listen("b"))
}

// BenchmarkVeth is the same without a switch.
func BenchmarkVeth(b *testing.B) {
	x, y := newHost(b, "a"), newHost(b, "b")
	check(b, Veth(x, link, y, link))
	check(b, x.AddAddress(link, netip.PrefixFrom(addressOf("a"), 24)))
	check(b, y.AddAddress(link, netip.PrefixFrom(addressOf("b"), 24)))
	pingPong(b, listenAt(b, x, addressOf("a")), listenAt(b, y, addressOf("b")))
}

func pingPong(b *testing.B, a, z socket) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 64)
		for {
			n, from, err := z.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			z.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	var trips []time.Duration
	buf := make([]byte, 64)
	to := netip.AddrPortFrom(addressOf("b"), port)
	check(b, a.SetReadDeadline(time.Now().Add(time.Minute)))
	for b.Loop() {
		start := time.Now()
		_, err := a.WriteToUDPAddrPort([]byte("ping"), to)
		check(b, err)
		_, err = a.Read(buf)
		check(b, err)
		trips = append(trips, time.Since(start))
	}
	z.Close()
	<-ended
	slices.Sort(trips)
	b.ReportMetric(float64(trips[len(trips)/2].Nanoseconds()), "ns/median")
	b.ReportMetric(float64(trips[len(trips)*99/100].Nanoseconds()), "ns/p99")
}
