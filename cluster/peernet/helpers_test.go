package peernet

import (
	"bytes"
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen; a passing test does
// not get near it.
const patience = 20 * time.Second

func newSecret(t *testing.T) string {
	t.Helper()
	s, err := GenerateSecret()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newIdentity(t *testing.T, cluster, serverID string, secrets ...string) *Identity {
	t.Helper()
	s, err := ParseSecrets([]byte(strings.Join(secrets, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	id, err := NewIdentity(s, cluster, serverID)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// testPort is a Port on loopback with its log.
type testPort struct {
	*Port
	addr string
	log  *logBuffer
}

func newPort(t *testing.T, id *Identity) *testPort {
	t.Helper()
	log := &logBuffer{}
	p, err := Listen(t.Context(), Config{
		Listen: "127.0.0.1:0", Identity: id,
		Logger: hclog.New(&hclog.LoggerOptions{Output: log}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return &testPort{Port: p, addr: p.API().Addr().String(), log: log}
}

// accept takes one connection and closes it with the test.
func accept(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	type result struct {
		c   net.Conn
		err error
	}
	ch := make(chan result, 1)
	go func() {
		c, err := l.Accept()
		ch <- result{c, err}
	}()
	select {
	case r := <-ch:
		if r.err != nil {
			t.Fatal(r.err)
		}
		t.Cleanup(func() { _ = r.c.Close() })
		return r.c
	case <-time.After(patience):
		t.Fatal("nothing was accepted")
		return nil
	}
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logBuffer) waitFor(t *testing.T, want string) {
	t.Helper()
	waitUntil(t, func() bool { return strings.Contains(l.String(), want) },
		func() string { return "no " + want + " in the log:\n" + l.String() })
}

func waitUntil(t *testing.T, ok func() bool, complaint func() string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(complaint())
		}
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("error %v\nwant one that says %q", err, want)
	}
}

// dialRaw connects without TLS, from the given loopback address.
func dialRaw(t *testing.T, from, to string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	c, err := d.DialContext(context.Background(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}
