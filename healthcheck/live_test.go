package healthcheck

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// haproxy is a real HAProxy of the test's own: its processes, its frontend
// www, and the one server behind it.
type haproxy struct {
	t       testing.TB
	dir     string
	host    string // a loopback address that nobody else uses, so that ports are free
	socket  string
	monitor string
	cmd     *exec.Cmd
	log     *syncBuffer
	backend *http.Server
}

var hosts atomic.Int32

// startHAProxy runs HAProxy in the foreground with the given arguments ("-db"
// for a single process, "-W" for master-worker) and waits until a check of it is good. extra is added to
// the configuration's global section.
func startHAProxy(t testing.TB, extra string, args ...string) *haproxy {
	t.Helper()
	if _, err := exec.LookPath("haproxy"); err != nil {
		t.Skip("needs haproxy (apt install haproxy):", err)
	}
	pid := os.Getpid()
	h := &haproxy{t: t, dir: t.TempDir(), log: &syncBuffer{}}
	h.host = fmt.Sprintf("127.%d.%d.%d", 1+(pid>>8)%254, pid&0xff, hosts.Add(1)%254+1)
	h.socket = filepath.Join(h.dir, "s")
	h.monitor = "http://" + h.host + ":8080/buoy-health"
	h.startBackend()
	h.configure(extra)
	h.cmd = h.run(args...)
	h.waitGood()
	return h
}

func (h *haproxy) startBackend() {
	l, err := net.Listen("tcp", h.host+":8081")
	if err != nil {
		h.t.Fatal(err)
	}
	h.backend = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			<-r.Context().Done() // until the client goes
		}
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = h.backend.Serve(l) }()
	h.t.Cleanup(func() { h.backend.Close(); <-done })
}

func (h *haproxy) configure(extra string) {
	text := fmt.Sprintf(`global
  stats socket %s mode 600 level admin expose-fd listeners
  nbthread 1
  %s
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 60s
frontend www
  bind %s:8080
  monitor-uri /buoy-health
  monitor fail if { stopping } || { nbsrv(app) lt 1 }
  default_backend app
backend app
  server a %s:8081 check inter 100ms
`, h.socket, extra, h.host, h.host)
	if err := os.WriteFile(filepath.Join(h.dir, "cfg"), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *haproxy) run(args ...string) *exec.Cmd {
	h.t.Helper()
	if !slices.Contains(args, "-db") {
		args = append(args, "-S", h.masterSocket())
	}
	cmd := exec.Command("haproxy", append(args, "-f", filepath.Join(h.dir, "cfg"))...)
	cmd.Stdout, cmd.Stderr = h.log, h.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = cmd.Wait() }() // reaps, as an init would
	h.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-done
		if h.t.Failed() {
			h.t.Logf("haproxy said:\n%s", h.log)
		}
	})
	return cmd
}

func (h *haproxy) masterSocket() string { return filepath.Join(h.dir, "m") }

func (h *haproxy) waitGood() {
	h.t.Helper()
	c := NewHAProxy(h.socket, h.monitor, 0)
	defer c.Close()
	h.eventually("HAProxy is up", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return c.Check(ctx).State == Good
	})
}

func (h *haproxy) eventually(what string, ok func() bool) {
	h.t.Helper()
	eventually(h.t, what, ok)
}

// worker is the process that answers at the socket; 0 if none does.
func (h *haproxy) worker() int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	in, err := showInfo(ctx, h.socket)
	if err != nil || in.stopping {
		return 0
	}
	return in.pid
}

func (h *haproxy) signal(pid int, sig syscall.Signal) {
	h.t.Helper()
	if err := syscall.Kill(pid, sig); err != nil || pid <= 0 {
		h.t.Fatalf("kill %d with %v: %v", pid, sig, err)
	}
}

// admin sends a command to the statistics socket.
func (h *haproxy) admin(command string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	reply, err := ask(ctx, h.socket, command)
	if err != nil || strings.TrimSpace(reply) != "" {
		h.t.Fatalf("%s: %q, %v", command, reply, err)
	}
}

// hold opens n connections to the network address that stay open until the
// test ends, each sending text.
func (h *haproxy) hold(n int, network, address, text string) {
	h.t.Helper()
	for range n {
		conn, err := net.Dial(network, address)
		if err != nil {
			h.t.Fatal(err)
		}
		h.t.Cleanup(func() { conn.Close() })
		if _, err := conn.Write([]byte(text)); err != nil {
			h.t.Fatal(err)
		}
	}
}

// observed is a check of a haproxy by a Monitor with the default rules, which
// remembers its looks.
type observed struct {
	*HAProxy
	t testing.TB
	h *haproxy
	m *Monitor

	mu    sync.Mutex
	looks []Result
}

// observe runs a Monitor over h until the test ends and waits until it is OK.
func (h *haproxy) observe() *observed {
	h.t.Helper()
	o := &observed{HAProxy: NewHAProxy(h.socket, h.monitor, -20), t: h.t, h: h}
	o.m = NewMonitor([]Spec{{
		Name: "haproxy", Interval: 200 * time.Millisecond, Timeout: 250 * time.Millisecond,
		Rise: 2, Fall: 2, Checker: o,
	}}, hclog.NewNullLogger())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- o.m.Run(ctx) }()
	h.t.Cleanup(func() { cancel(); <-done })
	o.becomes("ok", func(s Status) bool { return s.OK })
	return o
}

// Check looks and remembers.
func (o *observed) Check(ctx context.Context) Result {
	r := o.HAProxy.Check(ctx)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.looks = append(o.looks, r)
	return r
}

func (o *observed) status() Status { return o.m.Verdict().Checks[0] }

// becomes waits for a status.
func (o *observed) becomes(what string, is func(Status) bool) Status {
	o.t.Helper()
	for deadline := time.After(20 * time.Second); ; {
		if s := o.status(); is(s) {
			return s
		}
		select {
		case <-o.m.Changes():
		case <-deadline:
			o.t.Fatalf("not %s within 20 s: %+v", what, o.status())
		}
	}
}

func fault(s Status) bool { return s.Fault }
func ok(s Status) bool    { return s.OK }

// failsBy waits for FAULT and says how long it took.
func (o *observed) failsBy(cause string) {
	o.t.Helper()
	s := o.becomes("fault", fault)
	if !strings.HasPrefix(s.Output, cause+": ") {
		o.t.Errorf("%q, want %s", s.Output, cause)
	}
	o.t.Logf("%s: detected in %s", cause, s.Detect)
}

// dies waits for FAULT by the death of a process that was watched.
func (o *observed) dies() {
	o.t.Helper()
	o.failsBy(causeGone)
	o.h.eventually("a look is certain of the death", func() bool { return o.count(certain) > 0 })
}

// count is how many looks so far satisfy is.
func (o *observed) count(is func(Result) bool) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range o.looks {
		if is(r) {
			n++
		}
	}
	return n
}

func each(Result) bool      { return true }
func isHard(r Result) bool  { return r.State == Hard }
func certain(r Result) bool { return r.Now }
func because(cause string) func(Result) bool {
	return func(r Result) bool { return r.Cause == cause }
}

// undisturbed runs f and then ten more looks, and fails if the verdict changed
// meanwhile.
func (o *observed) undisturbed(f func()) {
	o.t.Helper()
	before := o.status()
	f()
	n := o.count(each)
	o.h.eventually("ten more looks", func() bool { return o.count(each) >= n+10 })
	if after := o.status(); !after.Equal(before) || !after.OK {
		o.t.Errorf("the verdict changed: %+v, was %+v", after, before)
	}
	o.t.Logf("%d looks, %d of them hard, no change of verdict", o.count(each), o.count(isHard))
}

// syncBuffer may be written and read at the same time.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
