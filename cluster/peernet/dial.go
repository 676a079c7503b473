package peernet

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// dialTimeout bounds a dial from the first packet to the greeting.
const dialTimeout = 5 * time.Second

// DialAPI connects to the API of the member at address (host:port), within ctx and
// 5 seconds. With a wantID any other node there is a *WrongPeerError; with "" any
// member of the cluster will do, and [PeerID] says which one it is. When it
// returns a connection the other end has accepted us; every error says in words
// what stands in the way.
func (p *Port) DialAPI(ctx context.Context, address, wantID string) (net.Conn, error) {
	return p.dial(ctx, protoAPI, address, wantID)
}

func (p *Port) dial(ctx context.Context, proto, address, wantID string) (net.Conn, error) {
	if !p.begin() {
		return nil, fmt.Errorf("dial %s: %w", address, net.ErrClosed)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()

	dialer := net.Dialer{KeepAliveConfig: keepAlive}
	raw, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		p.wg.Done()
		return nil, explainDial(ctx, address, err)
	}
	t := tls.Client(raw, p.identity.clientConfig(proto, address, wantID))
	if err := p.confirm(ctx, t, address); err != nil {
		_ = raw.Close()
		p.wg.Done()
		return nil, err
	}
	peer := t.ConnectionState().PeerCertificates[0].Subject.CommonName
	return newConn(p, t, proto, peer, func() {}), nil
}

// confirm does the handshake and waits for the greeting, see the package comment.
func (p *Port) confirm(ctx context.Context, t *tls.Conn, address string) error {
	if err := t.HandshakeContext(ctx); err != nil {
		return p.explainHandshake(ctx, address, err)
	}
	unwatch := context.AfterFunc(ctx, func() { _ = t.SetDeadline(time.Unix(1, 0)) })
	refusal, err := readGreeting(t)
	if !unwatch() && err == nil {
		err = ctx.Err()
	}
	switch {
	case err != nil:
		return explainGreeting(ctx, address, err)
	case refusal != "":
		return fmt.Errorf("%s refused us: %s", address, refusal)
	}
	return nil
}
