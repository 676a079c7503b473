package cloudhttp

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// Permit is the right to write one request. It travels in the request's context to the transport,
// which arms the connection that the request is about to use (httptrace.GotConn: net/http has
// chosen it and not written yet; an HTTP/1.1 connection carries one request at a time). From then
// on every Write of that connection, below TLS and so as close to the socket as Go gets, first runs
// check.
//
//	      arm                 check ok             answer
//	free ─────▶ armed, unused ────────▶ in use ───────────▶ over; the next request arms the conn anew
//	                  │ check fails         │ any error
//	                  └─────────▶ over ◀────┘ closed, and never written to again
//
// net/http repeats a POST only if no byte of it was written (Transport, shouldRetryRequest), and
// then on a new connection, which is armed in turn; a second connection is refused once a first one
// has carried bytes. So one permit is one request, whatever net/http does.
type Permit struct {
	check    func() error
	stop     context.CancelCauseFunc     // ends the request, so that a refused one is not tried again
	armed    atomic.Pointer[guardedConn] // the connection chosen last
	answered atomic.Bool

	mu      sync.Mutex   // held over check and Write, so that end knows that nothing is on its way
	used    *guardedConn // has carried bytes
	over    bool
	refused error // the first refusal of check
}

var errOver = errors.New("the right to write this request is used up")

// ErrUnarmed is what a request gets that would change something and has no permit; nothing of it is
// sent.
var ErrUnarmed = errors.New("a request that changes something needs a permit")

// write runs the check and, if that allows it, writes.
func (p *Permit) write(c *guardedConn, b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused != nil {
		return 0, p.refused
	}
	if p.over || (p.used != nil && p.used != c) {
		return 0, errOver
	}
	if err := p.check(); err != nil {
		p.refused = err
		p.stop(err)
		return 0, err
	}
	p.used = c
	return c.Conn.Write(b)
}

// end withdraws the right when the request is answered or has failed. When it returns, no Write
// under this permit is running or will succeed.
func (p *Permit) end(answered bool) {
	p.answered.Store(answered)
	if c := p.armed.Load(); c != nil && !answered {
		_ = c.Close() // ends a Write that blocks
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
}

// Done frees what the permit's context holds.
func (p *Permit) Done() { p.stop(nil) }

// Begun reports whether bytes of the request have been written.
func (p *Permit) Begun() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used != nil
}

// Refusal returns why check refused the write, nil if it never did.
func (p *Permit) Refusal() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused
}

// guardedConn is a connection to the API, below TLS. While a permit is set every Write needs its
// consent; while none is set (handshakes, reads) writes pass. It hides the ReadFrom of
// *net.TCPConn, which would get round Write.
type guardedConn struct {
	net.Conn
	permit atomic.Pointer[Permit]
}

// Write asks the permit of the request that the connection carries, if it needs one.
func (c *guardedConn) Write(b []byte) (int, error) {
	if p := c.permit.Load(); p != nil {
		return p.write(c, b)
	}
	return c.Conn.Write(b)
}

// Close throws away what the kernel has not sent yet if the connection carries a write without an
// answer: after a network failure the kernel would deliver it minutes later, long after the right
// to write it has passed on.
func (c *guardedConn) Close() error {
	if p := c.permit.Load(); p != nil && !p.answered.Load() {
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	}
	return c.Conn.Close()
}

// arm makes conn, as net/http knows it, subject to p (nil: to nothing). A connection that cannot be
// guarded is closed.
func arm(conn net.Conn, p *Permit) {
	for inner := conn; ; {
		if c, ok := inner.(*guardedConn); ok {
			c.permit.Store(p)
			if p != nil {
				p.armed.Store(c)
			}
			return
		}
		layer, ok := inner.(interface{ NetConn() net.Conn }) // *tls.Conn
		if !ok {
			_ = conn.Close()
			return
		}
		inner = layer.NetConn()
	}
}

type permitKey struct{}

// WithPermit returns a context whose request may be written while check says so. The caller calls
// Done when the request is over.
func WithPermit(ctx context.Context, check func() error) (context.Context, *Permit) {
	ctx, stop := context.WithCancelCause(ctx)
	p := &Permit{check: check, stop: stop}
	return context.WithValue(ctx, permitKey{}, p), p
}

func permitOf(ctx context.Context) *Permit {
	p, _ := ctx.Value(permitKey{}).(*Permit)
	return p
}
