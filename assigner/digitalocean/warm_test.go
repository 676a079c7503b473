package digitalocean

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/cloudhttp"
)

// TestSelfTestKeepsTheConnectionWarm: a follower proves itself each 5 minutes; should it be elected,
// its claim goes out over the connection of the last proof. One that the server has closed meanwhile
// costs a new one, and nothing else.
func TestSelfTestKeepsTheConnectionWarm(t *testing.T) {
	for name, c := range map[string]struct {
		idle  time.Duration // after which the server hangs up
		dials int32
	}{
		"kept":                 {-1, 1},
		"closed by the server": {4 * time.Minute, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newTrial(t, ip, func(o *Options) { o.DropletID = lb1 })
				var dials atomic.Int32
				api := serveOverPipes(t, &http.Server{Handler: r.API(), IdleTimeout: c.idle, ErrorLog: log.New(io.Discard, "", 0)})
				r.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
					dials.Add(1)
					return api(ctx, network, addr)
				}
				claimer := assigner.New(r.p, nil)
				if err := claimer.SelfTest(t.Context(), ip); err != nil {
					t.Fatal(err)
				}
				time.Sleep(5*time.Minute - time.Second)
				checks, begun := 0, time.Now()
				fence := func(context.Context) (func() error, func(), error) {
					return func() error { checks++; return nil }, func() {}, nil
				}
				out, err := claimer.Ensure(t.Context(), assigner.Request{IP: ip, Fence: fence, Epoch: 7, Believed: "102"})
				if err != nil || !out.Moved || out.Accepted.Sub(begun) != 0 {
					t.Errorf("%+v, %v; want moved, accepted in no time", out, err)
				}
				if got := dials.Load(); got != c.dials {
					t.Errorf("%d connections; want %d", got, c.dials)
				}
				if posts := len(r.Writes(begun)); posts != 1 || checks == 0 {
					t.Errorf("%d POSTs, %d checks", posts, checks)
				}
			})
		})
	}
}

// serveOverPipes runs s and returns how to dial it.
func serveOverPipes(t *testing.T, s *http.Server) cloudhttp.Dial {
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done })
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		select {
		case l.conns <- theirs:
			return ours, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error { close(l.closed); return nil }
func (*pipeListener) Addr() net.Addr { return &net.TCPAddr{} }
