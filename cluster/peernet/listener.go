package peernet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	// handshakeTimeout bounds all that happens before a connection is handed on,
	// at the accepting end.
	handshakeTimeout = 2 * time.Second

	// Handshakes under way. A stranger can occupy slots for handshakeTimeout
	// each; the limit for one source keeps him from occupying all of them.
	maxHandshakes          = 64
	maxHandshakesPerSource = 16

	// Established connections, all of them from holders of the secret. A peer
	// uses less than ten; all daemons of a demonstration share one source.
	maxStreams          = 256
	maxStreamsPerSource = 64

	// maxDrain bounds what is read from a peer after its handshake has failed.
	maxDrain = 64 << 10
)

// keepAlive ends connections to machines that vanished, after 25 seconds. Raft
// and the API notice sooner by their own deadlines; this frees what they hold.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}

// Config says where a Port listens and as whom.
type Config struct {
	Listen    string       // host:port
	Advertise string       // host:port under which the peers reach us; "" = where we listen
	Identity  *Identity    // required
	Logger    hclog.Logger // nil = silent
}

// Port is the port between members. Its methods are safe for concurrent use.
type Port struct {
	identity *Identity
	logger   hclog.Logger
	listener net.Listener
	raft     *raftLayer
	api      *layer

	allowRaft  atomic.Pointer[func(serverID string) bool]
	refusals   *refusalLog
	handshakes *limiter
	streams    *limiter
	links      links

	// ctx ends with Close; so does everything that belongs to the port.
	ctx    context.Context
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool           // no more begin
	wg     sync.WaitGroup // the accept loop, handshakes, dials, open connections
}

// Listen opens the port and begins to accept. ctx bounds the opening only: the
// port must outlive a cancelled daemon long enough to hand leadership over, and
// ends with Close. Errors name the address and what is in its way.
func Listen(ctx context.Context, c Config) (*Port, error) {
	if c.Identity == nil {
		return nil, errors.New("peernet: Config.Identity is missing")
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	l, err := lc.Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return nil, listenError(c.Listen, err)
	}
	if c.Advertise == "" {
		c.Advertise = l.Addr().String()
	}
	p := &Port{
		identity:   c.Identity,
		logger:     c.Logger,
		listener:   l,
		refusals:   newRefusalLog(c.Logger),
		handshakes: newLimiter(maxHandshakes, maxHandshakesPerSource),
		streams:    newLimiter(maxStreams, maxStreamsPerSource),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.api = newLayer(p.ctx, c.Advertise)
	p.raft = &raftLayer{layer: newLayer(p.ctx, c.Advertise), port: p}
	p.wg.Go(p.acceptLoop)
	return p, nil
}

// Raft returns the layer for raft.NewNetworkTransport. Accept hands on streams
// whose handshake is finished, Dial takes a [StreamAddress], Addr is the address
// that we advertise, Close ends raft's streams in both directions.
func (p *Port) Raft() raft.StreamLayer { return p.raft }

// API returns the listener for an http.Server; see [ConnContext] for who is at the
// other end. Closing it stops accepting and leaves open connections alone, so
// that the server's Shutdown can finish them.
func (p *Port) API() net.Listener { return p.api }

// AllowRaft sets who may open raft streams to us; nil allows everyone with the
// secret. It is asked for each new stream, from many goroutines, and must answer
// at once. Streams that are open already stay open.
func (p *Port) AllowRaft(allow func(serverID string) bool) {
	if allow == nil {
		p.allowRaft.Store(nil)
		return
	}
	p.allowRaft.Store(&allow)
}

// Close ends the port: listening, handshakes, dials and every connection that it
// handed out. It returns when all of them are gone, nearly at once, and may be
// called again. The error is always nil.
func (p *Port) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	_ = p.listener.Close()
	p.wg.Wait()
	return nil
}

// begin counts something that Close must wait for; the caller then owes a
// wg.Done. It says no once the port is closed.
func (p *Port) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.wg.Add(1)
	return true
}

// acceptLoop never waits for a peer: whatever a connection needs happens in a
// goroutine of its own.
func (p *Port) acceptLoop() {
	failing := false
	for {
		raw, err := p.listener.Accept()
		if p.ctx.Err() != nil {
			if err == nil {
				_ = raw.Close()
			}
			return
		}
		if err != nil {
			if !failing {
				p.logger.Error("cannot accept connections from peers, retrying", "error", err)
			}
			failing = true
			p.pause(100 * time.Millisecond) // out of file descriptors, most likely
			continue
		}
		failing = false
		source := sourceOf(raw)
		if !p.handshakes.acquire(source) {
			p.refusals.add(source, errors.New("too many handshakes at a time"))
			_ = raw.Close()
			continue
		}
		p.wg.Go(func() { p.handle(raw, source) })
	}
}

func (p *Port) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ctx.Done():
	}
}

// handle takes a connection from the first byte to its layer.
func (p *Port) handle(raw net.Conn, source netip.Addr) {
	c, err := p.admit(raw, source)
	p.handshakes.release(source)
	if err != nil {
		_ = raw.Close()
		// A connection without a single byte is a port probe or our own end.
		if p.ctx.Err() == nil && !errors.Is(err, io.EOF) {
			p.refusals.add(source, err)
		}
		return
	}
	if !p.layerOf(c.proto).deliver(c) {
		_ = c.Close()
	}
}

// admit does the handshake, decides and tells the peer, all within
// handshakeTimeout.
func (p *Port) admit(raw net.Conn, source netip.Addr) (*conn, error) {
	defer context.AfterFunc(p.ctx, func() { _ = raw.Close() })()
	if err := raw.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, err
	}
	t := tls.Server(raw, p.identity.serverConfig())
	if err := t.HandshakeContext(p.ctx); err != nil {
		drain(raw)
		return nil, p.explainAdmit(err)
	}
	state := t.ConnectionState()
	proto, peer := state.NegotiatedProtocol, state.PeerCertificates[0].Subject.CommonName
	refusal := p.refuse(proto, peer)
	if refusal == nil && !p.streams.acquire(source) {
		refusal = errors.New("too many connections from this address")
	}
	if err := writeGreeting(t, refusal); err != nil || refusal != nil {
		if refusal == nil {
			p.streams.release(source)
			return nil, fmt.Errorf("greet %s: %w", peer, err)
		}
		_ = t.Close()
		return nil, fmt.Errorf("%s: %w", peer, refusal)
	}
	_ = raw.SetDeadline(time.Time{})
	p.wg.Add(1) // no begin: our own goroutine counts, so Wait is not over
	c := newConn(p, t, proto, peer, func() { p.streams.release(source) })
	if proto == protoRaft {
		p.links.add(peer)
		c.unlink = sync.OnceFunc(func() { p.links.remove(peer) })
	}
	return c, nil
}

// refuse says why a peer with a good certificate is turned away, nil if it is not.
func (p *Port) refuse(proto, peer string) error {
	if p.layerOf(proto).ctx.Err() != nil {
		return errors.New("shutting down")
	}
	if proto != protoRaft {
		return nil
	}
	if peer == p.identity.serverID {
		return fmt.Errorf("both ends are %s (was a data directory copied?)", peer)
	}
	if allow := p.allowRaft.Load(); allow != nil && !(*allow)(peer) {
		return fmt.Errorf("%s is not a member of this cluster", peer)
	}
	return nil
}

func (p *Port) layerOf(proto string) *layer {
	if proto == protoRaft {
		return p.raft.layer
	}
	return p.api
}

// drain reads on for a moment after a failed handshake. Closing with unread data
// makes the kernel reset the connection, which can overtake the alert that tells
// the peer what was wrong.
func drain(raw net.Conn) {
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	_, _ = io.CopyN(io.Discard, raw, maxDrain)
}
