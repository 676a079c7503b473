package sandbox

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a server that answers each connection with its name.
func echo(t *testing.T, name string) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, name)
			conn.Close()
		}
	}()
	return l.Addr().String()
}

func TestForwarderFollowsItsTarget(t *testing.T) {
	f, err := newForwarder(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	lb1, lb2 := echo(t, "lb1"), echo(t, "lb2")
	for _, c := range []struct{ target, want string }{{"", ""}, {lb1, "lb1"}, {lb2, "lb2"}, {"127.0.0.1:1", ""}, {lb1, "lb1"}} {
		f.set(c.target)
		conn, err := net.Dial("tcp", f.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(conn) // an error is a reset, as of a closed port
		conn.Close()
		if string(got) != c.want {
			t.Errorf("with target %q answered %q, want %q", c.target, got, c.want)
		}
	}
}

// A connection on which nobody speaks must not keep close from returning.
func TestForwarderClosesIdleConnections(t *testing.T) {
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	f, err := newForwarder(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.set(silent.Addr().String())
	conn, err := net.Dial("tcp", f.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := silent.Accept(); err != nil {
		t.Fatal(err)
	}
	f.close()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
}

func TestTrafficCountsOutages(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }
	down := errors.New("refused")
	traffic := &Traffic{}
	for _, r := range []struct {
		ms  int
		err error
	}{
		{0, down}, // before the first success nothing was served: no outage
		{10, nil},
		{20, nil},
		{30, down},
		{40, down},
		{50, nil},
		{60, nil},
		{70, down},
		{80, nil},
		{90, down}, // the last one has not ended
	} {
		traffic.note(at(r.ms), r.err)
	}
	got := traffic.Reset()
	want := Outage{Requests: 10, Failed: 5, Down: 50 * time.Millisecond, LastError: down}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	traffic.note(at(120), nil)
	if got := traffic.Reset(); got != (Outage{Requests: 1, Down: 40 * time.Millisecond}) {
		t.Errorf("after the reset: %+v, want the rest of the outage", got)
	}
}

func TestProcessEnds(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	start := func(script string) *Process {
		p, err := startProcess(log, "/bin/sh", "-c", script)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()

	polite := start(`trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done`)
	await := func(word string) {
		t.Helper()
		if err := Poll(ctx, word, func(context.Context) error {
			if text, _ := os.ReadFile(log); !strings.Contains(string(text), word) {
				return errors.New(string(text))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	await("ready")
	if err := polite.Stop(ctx); err != nil || polite.Running() {
		t.Errorf("stop: %v, running %v", err, polite.Running())
	}
	await("bye")

	stubborn := start(`trap 'echo never' TERM; echo stubborn; while :; do sleep 0.01; done`)
	await("stubborn")
	short, cancelShort := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancelShort()
	if err := stubborn.Stop(short); !errors.Is(err, context.DeadlineExceeded) || stubborn.Running() {
		t.Errorf("stop of a stubborn process: %v, running %v; want it killed", err, stubborn.Running())
	}

	hung := start(`sleep 1000`)
	hung.Signal(syscall.SIGSTOP)
	hung.Kill()
	if hung.Running() {
		t.Error("a stopped process survives kill")
	}
	if _, err := startProcess(log, filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("no error for a program that does not exist")
	}
}

// Two worlds side by side: each service is served through its own node only, and
// nothing is left of a world that is closed.
func TestWorldServesThroughTheHolder(t *testing.T) {
	if FindHAProxy() == "" {
		t.Skip(ErrNoHAProxy)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range 2 {
		// The binary is asked for `keygen` only.
		w, err := New(ctx, Options{Binary: "/bin/echo", Priorities: []int{150, 100}, LogFormat: "text"})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		for _, n := range w.Nodes() {
			if err := n.StartHAProxy(ctx); err != nil {
				t.Fatal(err)
			}
			if err := w.Cloud.Steal(Address, n.Droplet); err != nil {
				t.Fatal(err)
			}
			if got := servedBy(ctx, t, w.URL); got != n.Name || w.Holder() != n.Name {
				t.Errorf("served by %s, held by %s, want %s", got, w.Holder(), n.Name)
			}
		}
		defer func() {
			w.Close()
			if _, err := os.Stat(w.Dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is left: %v", w.Dir, err)
			}
			if conn, err := net.Dial("tcp", w.Node("lb1").web); err == nil {
				conn.Close()
				t.Error("HAProxy is left running")
			}
		}()
	}
}

func servedBy(ctx context.Context, t *testing.T, url string) (node string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	err := Poll(ctx, "a page", func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		node = resp.Header.Get("X-Served-By")
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status) // HAProxy has not checked its backend yet
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return node
}
