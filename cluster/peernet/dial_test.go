package peernet

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestDialPinsTheServerID(t *testing.T) {
	server := newPort(t, newIdentity(t, "web", "lb1-new", keyB))
	client := newPort(t, newIdentity(t, "web", "lb2", keyB))

	_, err := client.DialAPI(t.Context(), server.addr, "lb1-old")
	var wrong *WrongPeerError
	if !errors.As(err, &wrong) || *wrong != (WrongPeerError{server.addr, "lb1-old", "lb1-new"}) {
		t.Errorf("DialAPI: %v, want a *WrongPeerError", err)
	}
	_, err = client.Raft().Dial(StreamAddress("lb1-old", server.addr), patience)
	if !errors.As(err, &wrong) {
		t.Errorf("raft Dial: %v, want a *WrongPeerError", err)
	}
	server.log.waitFor(t, "expects another node here")

	conn, err := client.DialAPI(t.Context(), server.addr, "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if id, _ := PeerID(conn); id != "lb1-new" {
		t.Errorf("anybody is %q", id)
	}
}

func TestStreamAddress(t *testing.T) {
	id, hostport, err := splitStreamAddress(StreamAddress("lb1-7f3a2c", "[fd00::2]:7400"))
	if id != "lb1-7f3a2c" || hostport != "[fd00::2]:7400" || err != nil {
		t.Errorf("%q %q %v", id, hostport, err)
	}
	port := newPort(t, newIdentity(t, "web", "lb1", keyB))
	for _, bad := range []raft.ServerAddress{"", "|", "10.0.0.1:7400", "|10.0.0.1:7400", "lb1|", "lb1|10.0.0.1", "lb1|:7400", "lb1|10.0.0.1:", "lb1|a|b:1:2"} {
		_, err := port.Raft().Dial(bad, time.Second)
		wantError(t, err, "want ID|host:port")
	}
}

// serve answers every connection to a new listener with f, until the test ends.
func serve(t *testing.T, f func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(patience))
			f(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func TestDialSaysWhatIsWrong(t *testing.T) {
	client := newPort(t, newIdentity(t, "web", "lb2", keyB))
	member := newIdentity(t, "web", "lb1", keyB).serverConfig()
	greet := func(line string) func(net.Conn) {
		return func(c net.Conn) {
			s := tls.Server(c, member)
			_, _ = io.WriteString(s, line)
			_, _ = io.Copy(io.Discard, s) // until the dialler hangs up
		}
	}
	foreign := httptest.NewUnstartedServer(http.NotFoundHandler())
	foreign.Config.ErrorLog = log.New(io.Discard, "", 0)
	foreign.StartTLS()
	defer foreign.Close()
	gone := serve(t, func(net.Conn) {})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().String()
	_ = l.Close()

	for _, c := range []struct {
		name, addr, want string
		timeout          time.Duration
	}{
		{"nothing there", free, "nothing answers at " + free + ": is buoy running there", patience},
		{"no such host", "nowhere.invalid:7400", "nothing answers at nowhere.invalid:7400", patience},
		{"plain text", serve(t, func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH\r\n"); _, _ = io.Copy(io.Discard, c) }), "does not speak TLS: another service", patience},
		{"another TLS service", foreign.Listener.Addr().String(), `is not a member of cluster "web"`, patience},
		{"hangs up", gone, "closed the connection during the handshake", patience},
		{"silent", serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), "takes connections but does not answer", 200 * time.Millisecond},
		{"no greeting", serve(t, greet("")), "takes connections but does not answer", 500 * time.Millisecond},
		{"hangs up before the greeting", serve(t, func(c net.Conn) { s := tls.Server(c, member); _ = s.Handshake(); _ = s.Close() }), "closed the connection before it accepted us", patience},
		{"refused", serve(t, greet("refused: too early\n")), "refused us: too early", patience},
		{"another greeting", serve(t, greet("hello\n")), "no greeting", patience},
		{"endless greeting", serve(t, greet(strings.Repeat("x", 10*maxGreeting))), "no greeting", patience},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
			defer cancel()
			_, err := client.DialAPI(ctx, c.addr, "lb1")
			wantError(t, err, c.want)
			wantError(t, err, c.addr)
		})
	}
}

func TestDialEndsWithItsContextAndWithThePort(t *testing.T) {
	for name, end := range map[string]func(context.CancelFunc, *testPort){
		"context": func(cancel context.CancelFunc, _ *testPort) { cancel() },
		"port":    func(_ context.CancelFunc, p *testPort) { _ = p.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			client := newPort(t, newIdentity(t, "web", "lb2", keyB))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			addr := serve(t, func(c net.Conn) {
				end(cancel, client) // the dialler is in its handshake
				_, _ = io.Copy(io.Discard, c)
			})
			if _, err := client.DialAPI(ctx, addr, ""); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want context.Canceled", err)
			}
		})
	}
}
