package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/fsm"
)

// localOf serves node on a unix socket and returns its client.
func localOf(t *testing.T, node *fakeNode) *api.Local {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := api.NewServer(api.LocalHandler(node, node), nil)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return api.NewLocal(socket)
}

func TestLocalCalls(t *testing.T) {
	inits, marks := 0, ""
	node := &fakeNode{
		status: sampleStatus(),
		drain: func(m string, d time.Duration, force bool) error {
			marks = fmt.Sprint(m, " ", d, " ", force)
			return nil
		},
		undrain: func(m string) error { marks = "undrain " + m; return nil },
		pause:   func(by string) error { marks = "pause by " + by; return nil },
		resume:  func() error { marks = "resume"; return nil },
		initNode: func() error {
			if inits++; inits > 1 {
				return fsm.Refusef("already a member of cluster web")
			}
			return nil
		},
	}
	local, ctx := localOf(t, node), t.Context()

	if s, err := local.Status(ctx); err != nil || !reflect.DeepEqual(s, node.status) {
		t.Errorf("Status = %+v, %v", s, err)
	}
	want := api.Leader{ID: "lb1", Address: "10.0.0.1:7400", Self: true}
	if leader, err := local.Leader(ctx); err != nil || leader != want {
		t.Errorf("Leader = %+v, %v", leader, err)
	}
	if to, err := local.Transfer(ctx, "lb2"); err != nil || to != "lb2" {
		t.Errorf("Transfer = %q, %v", to, err)
	}
	if err := local.Drain(ctx, "lb2", 30*time.Minute, true); err != nil || marks != "lb2 30m0s true" {
		t.Errorf("Drain: %v, the node was told %q", err, marks)
	}
	if err := local.Undrain(ctx, ""); err != nil || marks != "undrain " {
		t.Errorf("Undrain: %v, the node was told %q", err, marks)
	}
	if err := local.Pause(ctx); err != nil || marks != "pause by " {
		t.Errorf("Pause: %v, the node was told %q", err, marks)
	}
	if err := local.Resume(ctx); err != nil || marks != "resume" {
		t.Errorf("Resume: %v, the node was told %q", err, marks)
	}
	if err := local.Init(ctx); err != nil {
		t.Errorf("Init: %v", err)
	}
	var refused *fsm.RefusedError
	if err := local.Init(ctx); !errors.As(err, &refused) {
		t.Errorf("second Init: %v, want a refusal", err)
	}
}

func TestLocalWithoutLeader(t *testing.T) {
	var notLeader *fsm.NotLeaderError
	if _, err := localOf(t, &fakeNode{}).Leader(t.Context()); !errors.As(err, &notLeader) {
		t.Errorf("got %v, want a NotLeaderError", err)
	}
}

func TestLocalJoinTellsProgress(t *testing.T) {
	node := &fakeNode{join: func(_ context.Context, address string, progress func(string)) error {
		progress("asking " + address)
		progress("catching up")
		if address == "10.0.0.9:7400" {
			return fmt.Errorf("join: %w", fsm.Refusef("the name lb4 is taken"))
		}
		return nil
	}}
	local := localOf(t, node)
	var told []string
	tell := func(s string) { told = append(told, s) }
	if err := local.Join(t.Context(), "10.0.0.1:7400", tell); err != nil {
		t.Error(err)
	}
	if want := []string{"asking 10.0.0.1:7400", "catching up"}; !reflect.DeepEqual(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	var refused *fsm.RefusedError
	if err := local.Join(t.Context(), "10.0.0.9:7400", tell); !errors.As(err, &refused) {
		t.Errorf("got %v, want a refusal", err)
	}
}

// TestLocalJoinCancelled: Ctrl-C in `buoy join` must not leave the daemon trying.
func TestLocalJoinCancelled(t *testing.T) {
	ended := make(chan struct{})
	local := localOf(t, &fakeNode{join: func(ctx context.Context, _ string, progress func(string)) error {
		defer close(ended)
		progress("asking")
		<-ctx.Done()
		return ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	if err := local.Join(ctx, "10.0.0.1:7400", func(string) { cancel() }); err == nil {
		t.Error("no error")
	}
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("the daemon goes on joining")
	}
}

func TestLocalJoinBrokenOff(t *testing.T) {
	local := localOf(t, &fakeNode{join: func(_ context.Context, _ string, progress func(string)) error {
		progress("asking")
		panic(http.ErrAbortHandler) // as good as a crash: the connection closes
	}})
	if err := local.Join(t.Context(), "10.0.0.1:7400", func(string) {}); err == nil {
		t.Error("a broken stream passed for success")
	}
}

func TestLocalWithoutDaemon(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	stale := filepath.Join(t.TempDir(), "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	for _, socket := range []string{missing, stale} {
		_, err := api.NewLocal(socket).Status(t.Context())
		want := "no buoy daemon answers at " + socket + ": is it running? (systemctl status buoy)"
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestLocalHungDaemon: it accepts, because the kernel does, and says nothing.
func TestLocalHungDaemon(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = api.NewLocal(socket).Status(t.Context())
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "the buoy daemon at "+socket+" hangs") {
		t.Errorf("got %v", err)
	}
}

// slowly is a connection to p over which a test writes what no client of ours would.
func slowly(t *testing.T, p *pipes, request string) *bufio.Reader {
	t.Helper()
	c, err := p.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(c)
}

// TestSlowRequestsEnd: headers that never end, and a body that never comes.
func TestSlowRequestsEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		request string
		after   time.Duration
	}{
		"headers": {"GET /status HTTP/1.1\r\nHost: buoy\r\n", 2 * time.Second},
		"body":    {"POST /transfer HTTP/1.1\r\nHost: buoy\r\nContent-Length: 9\r\n\r\n{", 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				node := &fakeNode{transfer: func(string) (string, error) { t.Error("served"); return "", nil }}
				begin := time.Now()
				answer := slowly(t, serve(t, api.LocalHandler(node, node)), tc.request)
				_, _ = io.Copy(io.Discard, answer) // ends when the server closes
				if took := time.Since(begin); took < tc.after || took > tc.after+5*time.Second {
					t.Errorf("ended after %v, want about %v", took, tc.after)
				}
			})
		})
	}
}

// TestLongJoinOutlivesTheReadTimeout: the bound on sending a request is none on the
// work that it asks for.
func TestLongJoinOutlivesTheReadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &fakeNode{join: func(ctx context.Context, _ string, _ func(string)) error {
			select {
			case <-time.After(20 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		body := `{"address":"10.0.0.1:7400"}`
		request := fmt.Sprintf("POST /join HTTP/1.1\r\nHost: buoy\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		answer := slowly(t, serve(t, api.LocalHandler(node, node)), request)
		resp, err := http.ReadResponse(answer, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if line, _ := bufio.NewReader(resp.Body).ReadString('\n'); line != "{\"done\":true}\n" {
			t.Errorf("got %q", line)
		}
	})
}

func TestPublicHandler(t *testing.T) {
	master, follower := sampleStatus(), sampleStatus()
	follower.Self = "lb2"
	claiming := sampleStatus()
	claiming.Members[0].State = api.StateClaiming
	for _, tc := range []struct {
		name         string
		node         fakeNode
		method, path string
		code         int
		body         string // prefix; not compared when empty
	}{
		{"leader", fakeNode{status: follower}, "GET", "/leader", 200, "lb1\n"},
		{"no leader", fakeNode{}, "GET", "/leader", 503, "no leader"},
		{"master", fakeNode{status: master}, "GET", "/master", 200, "master\n"},
		{"master by HEAD", fakeNode{status: master}, "HEAD", "/master", 200, ""},
		{"claiming is not master", fakeNode{status: claiming}, "GET", "/master", 503, "not the master"},
		{"follower is not master", fakeNode{status: follower}, "GET", "/master", 503, "not the master"},
		{"alive", fakeNode{}, "GET", "/healthz", 200, "ok\n"},
		{"stuck", fakeNode{stuck: true}, "GET", "/healthz", 503, "the daemon's loop"},
		{"status", fakeNode{status: master}, "GET", "/status", 200, "{\n  \"cluster\": \"web\""},
		{"unknown", fakeNode{}, "GET", "/peer/contact", 404, ""},
		{"root", fakeNode{}, "GET", "/", 404, ""},
		{"write", fakeNode{}, "POST", "/status", 405, ""},
		{"transfer", fakeNode{}, "POST", "/transfer", 404, ""},
		{"drain", fakeNode{}, "POST", "/drain", 404, ""},
		{"pause", fakeNode{}, "POST", "/pause", 404, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			api.PublicHandler(&tc.node).ServeHTTP(w, httptest.NewRequest(tc.method, tc.path, nil))
			if w.Code != tc.code || !strings.HasPrefix(w.Body.String(), tc.body) {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, tc.code, tc.body)
			}
		})
	}
}

func TestLargeHeadersAreRefused(t *testing.T) {
	server := httptest.NewUnstartedServer(api.PublicHandler(&fakeNode{}))
	server.Config = api.NewServer(server.Config.Handler, nil)
	server.Start()
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Big", strings.Repeat("x", 16<<10))
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %s", resp.Status)
	}
}
