package api_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/fsm"
)

// fakeNode is a node whose answers a test chooses. Nil functions succeed.
type fakeNode struct {
	status   api.Status
	stuck    bool // the loop does not turn over
	contact  fsm.Contact
	receive  func(fsm.Report) error
	selfTest func(context.Context) error
	// suspected is whom it finds gone, too.
	suspected fsm.Suspicion
	admit     func(fsm.Contact) error
	transfer  func(target string) (string, error)
	drain     func(member string, d time.Duration, force bool) error
	undrain   func(member string) error
	pause     func(by string) error
	resume    func() error
	initNode  func() error
	join      func(ctx context.Context, address string, progress func(string)) error
}

var (
	_ api.Viewer = (*fakeNode)(nil)
	_ api.Admin  = (*fakeNode)(nil)
	_ api.Peer   = (*fakeNode)(nil)
)

func (f *fakeNode) Status(context.Context) api.Status { return f.status }
func (f *fakeNode) View() api.Status                  { return f.status }
func (f *fakeNode) Alive() bool                       { return !f.stuck }
func (f *fakeNode) Contact() fsm.Contact              { return f.contact }

func (f *fakeNode) Receive(_ context.Context, r fsm.Report) error {
	if f.receive == nil {
		return nil
	}
	return f.receive(r)
}

func (f *fakeNode) Confirm(_ context.Context, q fsm.Suspicion) fsm.Testimony {
	return fsm.Testimony{Gone: q == f.suspected, Contact: f.Contact()}
}

func (f *fakeNode) SelfTest(ctx context.Context) error {
	if f.selfTest == nil {
		return nil
	}
	return f.selfTest(ctx)
}

func (f *fakeNode) Admit(_ context.Context, c fsm.Contact) error {
	if f.admit == nil {
		return nil
	}
	return f.admit(c)
}

func (f *fakeNode) Transfer(_ context.Context, target string) (string, error) {
	if f.transfer == nil {
		return target, nil
	}
	return f.transfer(target)
}

func (f *fakeNode) Drain(_ context.Context, member string, d time.Duration, force bool) error {
	if f.drain == nil {
		return nil
	}
	return f.drain(member, d, force)
}

func (f *fakeNode) Undrain(_ context.Context, member string) error {
	if f.undrain == nil {
		return nil
	}
	return f.undrain(member)
}

func (f *fakeNode) Pause(_ context.Context, by string) error {
	if f.pause == nil {
		return nil
	}
	return f.pause(by)
}

func (f *fakeNode) Resume(context.Context) error {
	if f.resume == nil {
		return nil
	}
	return f.resume()
}

func (f *fakeNode) Init(context.Context) error {
	if f.initNode == nil {
		return nil
	}
	return f.initNode()
}

func (f *fakeNode) Join(ctx context.Context, address string, progress func(string)) error {
	if f.join == nil {
		return nil
	}
	return f.join(ctx, address, progress)
}

// callerLB2 is a caller that the cluster knows.
func callerLB2(context.Context) (string, bool) { return "lb2-x", true }

// pipes is a listener whose connections are pipes in memory, so that servers and
// clients can live in a synctest bubble.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	dialed atomic.Int32
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		p.dialed.Add(1)
		return client, nil
	case <-p.closed:
		return nil, errors.New("nothing listens here")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve serves h on pipes until the test ends, and returns them.
func serve(t *testing.T, h http.Handler) *pipes {
	t.Helper()
	p := newPipes()
	server := api.NewServer(h, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(p); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return p
}

// peersOf returns a client whose every connection leads to p.
func peersOf(t *testing.T, p *pipes) *api.Peers {
	t.Helper()
	peers := api.NewPeers(func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx) })
	t.Cleanup(peers.Close)
	return peers
}
