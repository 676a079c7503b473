package peernet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

func TestListenSaysWhatIsInItsWay(t *testing.T) {
	first := newPort(t, newIdentity(t, "web", "lb1", keyB))
	for _, c := range []struct {
		addr, want string
		cause      error
	}{
		{first.addr, "listen on " + first.addr + ": another process has that port", syscall.EADDRINUSE},
		{"192.0.2.1:7400", "listen on 192.0.2.1:7400: this machine does not have that address", syscall.EADDRNOTAVAIL},
		{"127.0.0.1:http:7400", "listen on 127.0.0.1:http:7400: ", nil},
	} {
		_, err := Listen(t.Context(), Config{Listen: c.addr, Identity: first.identity})
		wantError(t, err, c.want)
		if c.cause != nil && !errors.Is(err, c.cause) {
			t.Errorf("%v does not wrap %v", err, c.cause)
		}
	}
}

func TestAddrIsTheAdvertisedOne(t *testing.T) {
	p, err := Listen(t.Context(), Config{
		Listen: "127.0.0.1:0", Advertise: "lb1.example:7400", Identity: newIdentity(t, "web", "lb1", keyB),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if got := p.Raft().Addr().String(); got != "lb1.example:7400" {
		t.Errorf("Addr %q", got)
	}
}

func TestAllowRaft(t *testing.T) {
	server := newPort(t, newIdentity(t, "web", "lb1", keyB))
	client := newPort(t, newIdentity(t, "web", "lb2", keyB))
	open := func(proto string) error {
		t.Helper()
		conn, err := dial(t, client, proto, server.addr, "lb1")
		if err == nil {
			checkStream(t, conn, accept(t, server.layerOf(proto)))
		}
		return err
	}
	if err := open(protoRaft); err != nil {
		t.Errorf("nobody asked for a refusal: %v", err)
	}
	server.AllowRaft(func(id string) bool { return id == "lb3" })
	wantError(t, open(protoRaft), "refused us: lb2 is not a member of this cluster")
	server.log.waitFor(t, "lb2 is not a member of this cluster")
	if err := open(protoAPI); err != nil {
		t.Errorf("the API has its own rules: %v", err)
	}
	server.AllowRaft(func(id string) bool { return id == "lb2" })
	if err := open(protoRaft); err != nil {
		t.Errorf("allowed: %v", err)
	}
	server.AllowRaft(nil)
	if err := open(protoRaft); err != nil {
		t.Errorf("no rule any more: %v", err)
	}
}

func TestTwoNodesWithOneServerID(t *testing.T) {
	server := newPort(t, newIdentity(t, "web", "lb1", keyB))
	twin := newPort(t, newIdentity(t, "web", "lb1", keyB))
	_, err := twin.Raft().Dial(StreamAddress("lb1", server.addr), patience)
	wantError(t, err, "refused us: both ends are lb1")
}

func TestConnectionsPerSourceAreLimited(t *testing.T) {
	server := newPort(t, newIdentity(t, "web", "lb1", keyB))
	server.streams = newLimiter(10, 1)
	client := newPort(t, newIdentity(t, "web", "lb2", keyB))
	if _, err := dial(t, client, protoAPI, server.addr, ""); err != nil {
		t.Fatal(err)
	}
	first := accept(t, server.API())
	_, err := dial(t, client, protoAPI, server.addr, "")
	wantError(t, err, "refused us: too many connections")
	_ = first.Close()
	if _, err := dial(t, client, protoAPI, server.addr, ""); err != nil {
		t.Fatalf("after the first one is closed: %v", err)
	}
}

func TestHTTPKnowsItsPeer(t *testing.T) {
	server := newPort(t, newIdentity(t, "web", "lb1", keyB))
	client := newPort(t, newIdentity(t, "web", "lb2", keyB))
	web := &http.Server{
		ConnContext: ConnContext,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			id, ok := PeerIDFromContext(r.Context())
			fmt.Fprint(w, id, " ", ok)
		}),
	}
	served := make(chan error, 1)
	go func() { served <- web.Serve(server.API()) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		return client.DialAPI(ctx, addr, "lb1")
	}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: patience}).Get("http://" + server.addr)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if string(body) != "lb2 true" || err != nil {
		t.Errorf("the handler saw %q, %v", body, err)
	}
	if err := web.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	if _, ok := PeerIDFromContext(t.Context()); ok {
		t.Error("a peer without a connection")
	}
}

func TestCloseEndsEverything(t *testing.T) {
	server := newPort(t, newIdentity(t, "web", "lb1", keyB))
	client := newPort(t, newIdentity(t, "web", "lb2", keyB))
	var conns []net.Conn
	for _, proto := range []string{protoRaft, protoAPI} {
		c, err := dial(t, client, proto, server.addr, "lb1")
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c, accept(t, server.layerOf(proto)))
	}
	silent := dialRaw(t, "127.0.0.1", server.addr)

	// Raft's Close ends raft's connections and leaves the API alone.
	_ = client.Raft().Close()
	wantEOF(t, conns[1])
	if _, err := client.Raft().Dial(StreamAddress("lb1", server.addr), patience); err == nil {
		t.Error("a closed layer dials")
	}
	if _, err := client.Raft().Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of a closed layer: %v", err)
	}
	_, err := server.Raft().Dial(StreamAddress("lb2", client.addr), patience)
	wantError(t, err, "refused us: shutting down")
	checkStream(t, conns[2], conns[3])

	for range 2 {
		_ = server.Close()
	}
	wantEOF(t, conns[2])
	if _, err := conns[3].Write([]byte("x")); err == nil {
		t.Error("a connection survived its port")
	}
	if _, err := io.ReadAll(silent); os.IsTimeout(err) {
		t.Error("a handshake survived its port")
	}
	if h, s := server.handshakes.used, server.streams.used; h != 0 || s != 0 {
		t.Errorf("%d handshakes and %d streams still counted", h, s)
	}
	if _, err := server.DialAPI(t.Context(), client.addr, ""); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed port dials: %v", err)
	}
	if log := server.log.String(); log != "" {
		t.Errorf("a normal end is worth a line:\n%s", log)
	}
}

// wantEOF expects a proper goodbye, not a reset, which raft would log.
func wantEOF(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read %v, want EOF", err)
	}
}

func TestLimiter(t *testing.T) {
	a, b, c := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
	l := newLimiter(3, 2)
	for i, step := range []struct {
		source netip.Addr
		want   bool
	}{{a, true}, {a, true}, {a, false}, {b, true}, {c, false}} {
		if got := l.acquire(step.source); got != step.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
	l.release(a)
	if !l.acquire(c) {
		t.Error("a released slot is not free")
	}
	for _, s := range []netip.Addr{a, b, c} {
		l.release(s)
	}
	if l.used != 0 || len(l.bySource) != 0 {
		t.Errorf("left over: %d, %v", l.used, l.bySource)
	}
}

func TestRefusalsAreLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &logBuffer{}
		l := newRefusalLog(hclog.New(&hclog.LoggerOptions{Output: out, DisableTime: true}))
		a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
		why := errors.New("no")
		for range 100 {
			l.add(a, why)
			time.Sleep(time.Second)
		}
		l.add(b, why)
		want := "[WARN]  refused a peer: from=10.0.0.1 count=1 reason=no\n" +
			"[WARN]  refused a peer: from=10.0.0.1 count=60 reason=no\n" +
			"[WARN]  refused a peer: from=10.0.0.2 count=1 reason=no\n"
		if out.String() != want {
			t.Errorf("%s\nwant\n%s", out, want)
		}
		for i := range 10 * maxRefusals {
			l.add(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), why)
		}
		if len(l.sources) > maxRefusals+1 {
			t.Errorf("%d sources remembered", len(l.sources))
		}
		if n := strings.Count(out.String(), "\n"); n > maxRefusals+4 {
			t.Errorf("%d lines", n)
		}
	})
}

// directory is what the cluster will give to raft.
type directory map[raft.ServerID]raft.ServerAddress

func (d directory) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if a, ok := d[id]; ok {
		return a, nil
	}
	return "", fmt.Errorf("no member %s", id)
}

func TestRaftTransport(t *testing.T) {
	a, b := newPort(t, newIdentity(t, "web", "lb1", keyB)), newPort(t, newIdentity(t, "web", "lb2", keyB))
	book := directory{
		"lb1": raft.ServerAddress(a.addr), "lb2": StreamAddress("lb2", b.addr),
		"lb2-old": StreamAddress("lb2-old", b.addr),
	}
	newTransport := func(p *testPort) *raft.NetworkTransport {
		tr := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			ServerAddressProvider: book, Stream: p.Raft(), MaxPool: 3, Timeout: patience, Logger: hclog.NewNullLogger(),
		})
		t.Cleanup(func() { _ = tr.Close() })
		return tr
	}
	ta, tb := newTransport(a), newTransport(b)
	if ta.LocalAddr() != raft.ServerAddress(a.addr) {
		t.Errorf("LocalAddr %s", ta.LocalAddr())
	}
	served := make(chan any, 2)
	go func() {
		for range 2 {
			rpc := <-tb.Consumer()
			served <- rpc.Command
			switch rpc.Command.(type) {
			case *raft.AppendEntriesRequest:
				rpc.Respond(&raft.AppendEntriesResponse{Term: 7, Success: true}, nil)
			default:
				rpc.Respond(&raft.RequestVoteResponse{Term: 8, Granted: true}, nil)
			}
		}
	}()
	var appended raft.AppendEntriesResponse
	err := ta.AppendEntries("lb2", "ignored", &raft.AppendEntriesRequest{Term: 7, Entries: []*raft.Log{{Index: 1, Data: make([]byte, 1<<20)}}}, &appended)
	if err != nil || !appended.Success || appended.Term != 7 {
		t.Fatalf("AppendEntries %+v, %v", appended, err)
	}
	var vote raft.RequestVoteResponse
	err = ta.RequestVote("lb2", "ignored", &raft.RequestVoteRequest{Term: 8}, &vote)
	if err != nil || !vote.Granted {
		t.Fatalf("RequestVote %+v, %v", vote, err)
	}
	if ae, ok := (<-served).(*raft.AppendEntriesRequest); !ok || len(ae.Entries[0].Data) != 1<<20 {
		t.Error("the entry did not arrive whole")
	}
	// The wiped node at an old member's address, and a member without an entry.
	err = ta.RequestVote("lb2-old", "ignored", &raft.RequestVoteRequest{Term: 9}, &vote)
	wantError(t, err, "answers lb2, expected lb2-old")
	err = ta.RequestVote("lb3", raft.ServerAddress(b.addr), &raft.RequestVoteRequest{Term: 9}, &vote)
	wantError(t, err, "does not say which node is expected")
}

// A raft stream from the first packet to the greeting, both ends on this machine.
func BenchmarkDial(b *testing.B) {
	listen := func(id string) *Port {
		s, err := ParseSecrets([]byte(keyB))
		if err != nil {
			b.Fatal(err)
		}
		identity, err := NewIdentity(s, "web", id)
		if err != nil {
			b.Fatal(err)
		}
		p, err := Listen(b.Context(), Config{Listen: "127.0.0.1:0", Identity: identity})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = p.Close() })
		return p
	}
	server, client := listen("lb1"), listen("lb2")
	target := StreamAddress("lb1", server.Raft().Addr().String())
	for b.Loop() {
		out, err := client.Raft().Dial(target, patience)
		if err != nil {
			b.Fatal(err)
		}
		in, err := server.Raft().Accept()
		if err != nil {
			b.Fatal(err)
		}
		_ = out.Close()
		_ = in.Close()
	}
}
