package peernet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// closeGrace is how long a close waits for the peer to take the TLS goodbye,
	// without which it would report a broken stream.
	closeGrace = 250 * time.Millisecond

	greetingOK      = "ok"
	greetingRefused = "refused: "
	maxGreeting     = 256
)

// address is a host:port as a net.Addr.
type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// layer is the listener for one protocol of the port.
type layer struct {
	addr   address
	accept chan *conn
	ctx    context.Context // ends with Close, or with the port
	cancel context.CancelFunc
}

func newLayer(ctx context.Context, addr string) *layer {
	l := &layer{addr: address(addr), accept: make(chan *conn)}
	l.ctx, l.cancel = context.WithCancel(ctx)
	return l
}

// Accept returns the next connection that passed its handshake, or net.ErrClosed.
func (l *layer) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.ctx.Done():
		return nil, fmt.Errorf("accept: %w", net.ErrClosed)
	}
}

// Addr returns the advertised address.
func (l *layer) Addr() net.Addr { return l.addr }

// Close ends Accept. The error is always nil.
func (l *layer) Close() error {
	l.cancel()
	return nil
}

// deliver waits for an Accept, for as long as a handshake may take.
func (l *layer) deliver(c *conn) bool {
	timer := time.NewTimer(handshakeTimeout)
	defer timer.Stop()
	select {
	case l.accept <- c:
		return true
	case <-timer.C:
	case <-l.ctx.Done():
	}
	return false
}

// raftLayer adds the dialling that raft.StreamLayer asks for.
type raftLayer struct {
	*layer
	port *Port
}

var _ raft.StreamLayer = (*raftLayer)(nil)

// Dial opens a raft stream to the node that a StreamAddress names, and to no
// other: a raft request does not say for whom it is, so a wiped node that
// answers at an old member's address would be filled and would vote in its place.
func (l *raftLayer) Dial(target raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	serverID, hostport, err := splitStreamAddress(target)
	if err != nil {
		return nil, err
	}
	if timeout <= 0 {
		timeout = dialTimeout
	}
	ctx, cancel := context.WithTimeout(l.ctx, timeout)
	defer cancel()
	return l.port.dial(ctx, protoRaft, hostport, serverID)
}

// StreamAddress is the address to dial for a member, "ID|host:port". Raft's Dial
// gets nothing but an address, so a raft.ServerAddressProvider returns this for
// each member. (For the own ID it should return the plain address: raft asks it
// for that too, and announces the answer as the leader's address.)
func StreamAddress(serverID, hostport string) raft.ServerAddress {
	return raft.ServerAddress(serverID + "|" + hostport)
}

func splitStreamAddress(a raft.ServerAddress) (serverID, hostport string, err error) {
	serverID, hostport, found := strings.Cut(string(a), "|")
	if !found || serverID == "" {
		return "", "", fmt.Errorf("dial %q: the address does not say which node is expected there, want ID|host:port", a)
	}
	if host, port, err := net.SplitHostPort(hostport); err != nil || host == "" || port == "" {
		return "", "", fmt.Errorf("dial %q: want ID|host:port", a)
	}
	return serverID, hostport, nil
}

// conn is a connection that both ends have accepted. It ends with its Close, with
// the port, or, for raft's, with raft's layer.
type conn struct {
	*tls.Conn
	port        *Port
	proto, peer string
	release     func() // frees what the connection occupies in the port
	unlink      func() // counts an accepted raft stream as ended; may be called again
	unwatch     func() bool

	once sync.Once
	err  error
}

// newConn wraps t. The caller has counted it in the port's WaitGroup.
func newConn(p *Port, t *tls.Conn, proto, peer string, release func()) *conn {
	c := &conn{Conn: t, port: p, proto: proto, peer: peer, release: release, unlink: func() {}}
	life := p.ctx
	if proto == protoRaft {
		life = p.raft.ctx // raft's transport does not close what it has pooled
	}
	c.unwatch = context.AfterFunc(life, c.shut)
	return c
}

// Read notes the end of the stream as soon as it shows.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil && !timedOut(err) {
		c.unlink()
	}
	return n, err
}

// Close says goodbye to the peer and closes the connection. It may be called again.
func (c *conn) Close() error {
	c.unwatch()
	c.shut()
	return c.err
}

func (c *conn) shut() {
	c.once.Do(func() {
		// crypto/tls waits up to 5 s for a peer that does not read.
		timer := time.AfterFunc(closeGrace, func() { _ = c.NetConn().Close() })
		defer timer.Stop()
		c.err = c.Conn.Close()
		c.unlink()
		c.release()
		c.port.wg.Done()
	})
}

// PeerID returns the ServerID of the other end of a connection of ours, from its
// verified certificate. It is false for any other connection.
func PeerID(c net.Conn) (string, bool) {
	pc, ok := c.(*conn)
	if !ok {
		return "", false
	}
	return pc.peer, true
}

type peerKey struct{}

// ConnContext is for http.Server.ConnContext: it puts the peer's ServerID into
// the context of each request.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if id, ok := PeerID(c); ok {
		return context.WithValue(ctx, peerKey{}, id)
	}
	return ctx
}

// PeerIDFromContext returns what ConnContext has put there.
func PeerIDFromContext(ctx context.Context) (string, bool) {
	id, ok := ctx.Value(peerKey{}).(string)
	return id, ok
}

func writeGreeting(w io.Writer, refusal error) error {
	line := greetingOK
	if refusal != nil {
		line = greetingRefused + refusal.Error()
	}
	_, err := io.WriteString(w, line[:min(len(line), maxGreeting)]+"\n")
	return err
}

// errNoGreeting is returned for a peer that speaks TLS with our secret and sends
// something else than a greeting.
var errNoGreeting = errors.New("no greeting: not a buoy of this version")

// readGreeting reads byte by byte, for what follows belongs to raft or HTTP.
func readGreeting(r io.Reader) (refusal string, err error) {
	var line []byte
	for b := make([]byte, 1); len(line) <= maxGreeting; line = append(line, b[0]) {
		if _, err := io.ReadFull(r, b); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			break
		}
	}
	if string(line) == greetingOK {
		return "", nil
	}
	refusal, ok := strings.CutPrefix(string(line), greetingRefused)
	if !ok {
		return "", errNoGreeting
	}
	return refusal, nil
}
