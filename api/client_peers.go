package api

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

// Dialer opens an authenticated connection to the member wantID at address (host:port);
// an empty wantID accepts any member of the cluster.
type Dialer func(ctx context.Context, address, wantID string) (net.Conn, error)

// Peers asks other members over their TLS port. Connections are kept for reuse, each
// only for the ID and address it was opened for. Every call has a deadline of its own
// besides that of its context: 2 s if nothing else is said. Safe for concurrent use.
type Peers struct {
	transport *http.Transport
	client    *http.Client
}

// NewPeers returns a client that connects with dial.
func NewPeers(dial Dialer) *Peers {
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, hostport string) (net.Conn, error) {
			// The transport lets a dial outlive its request; this ends it.
			ctx, cancel := context.WithTimeout(ctx, quickTimeout)
			defer cancel()
			id, address, err := splitHost(hostport)
			if err != nil {
				return nil, err
			}
			return dial(ctx, address, id)
		},
		DisableCompression:  true,
		MaxConnsPerHost:     8,
		MaxIdleConns:        32,
		MaxIdleConnsPerHost: 2,
		IdleConnTimeout:     60 * time.Second,
	}
	return &Peers{transport: t, client: &http.Client{Transport: t}}
}

// Close closes idle connections.
func (p *Peers) Close() { p.transport.CloseIdleConnections() }

// Probe asks the member who it is and where it stands.
func (p *Peers) Probe(ctx context.Context, id, address string) (fsm.Contact, error) {
	var c fsm.Contact
	err := p.do(ctx, id, address, http.MethodGet, "/peer/contact", nil, quickTimeout, &c)
	return c, err
}

// Confirm asks the member whether it, too, finds the leader gone.
func (p *Peers) Confirm(ctx context.Context, id, address string, q fsm.Suspicion) (fsm.Testimony, error) {
	var t fsm.Testimony
	err := p.do(ctx, id, address, http.MethodPost, "/peer/confirm", q, quickTimeout, &t)
	return t, err
}

// Forward hands this node's report to the leader; *fsm.NotLeaderError if it is none.
func (p *Peers) Forward(ctx context.Context, id, address string, r fsm.Report) error {
	return p.do(ctx, id, address, http.MethodPost, "/peer/report", r, reportTimeout+grace, &struct{}{})
}

// SelfTest asks the member whether it could claim: its provider looks within 2 s.
func (p *Peers) SelfTest(ctx context.Context, id, address string) error {
	return p.do(ctx, id, address, http.MethodPost, "/peer/selftest", nil, selfTestTimeout+grace, &struct{}{})
}

// Join asks the leader to admit the node that c describes, within 45 s.
func (p *Peers) Join(ctx context.Context, id, address string, c fsm.Contact) error {
	return p.do(ctx, id, address, http.MethodPost, "/peer/join", c, admitTimeout+grace, &struct{}{})
}

// Transfer asks the leader to move leadership to the member named target, or to the
// best other one, within 15 s, and returns the new leader's name.
func (p *Peers) Transfer(ctx context.Context, id, address, target string) (string, error) {
	var answer transferAnswer
	err := p.do(ctx, id, address, http.MethodPost, "/peer/transfer", transferRequest{Target: target}, transferTimeout+grace, &answer)
	return answer.To, err
}

// Drain asks the leader to mark a member as drained, within 5 s; see Local.Drain.
func (p *Peers) Drain(ctx context.Context, id, address, member string, d time.Duration, force bool) error {
	return p.do(ctx, id, address, http.MethodPost, "/peer/drain", drainRequest{member, d, force}, drainTimeout+grace, &struct{}{})
}

// Undrain asks the leader to end a member's mark, within 5 s.
func (p *Peers) Undrain(ctx context.Context, id, address, member string) error {
	return p.do(ctx, id, address, http.MethodPost, "/peer/undrain", undrainRequest{member}, drainTimeout+grace, &struct{}{})
}

// Pause asks the leader to forbid all writes to the cloud, within 5 s; see Mover.
func (p *Peers) Pause(ctx context.Context, id, address, by string) error {
	return p.do(ctx, id, address, http.MethodPost, "/peer/pause", pauseRequest{by}, pauseTimeout+grace, &struct{}{})
}

// Resume asks the leader to end a pause, within 5 s.
func (p *Peers) Resume(ctx context.Context, id, address string) error {
	return p.do(ctx, id, address, http.MethodPost, "/peer/resume", nil, pauseTimeout+grace, &struct{}{})
}

// Status asks for the member's own view of the cluster.
func (p *Peers) Status(ctx context.Context, id, address string) (Status, error) {
	var s Status
	err := p.do(ctx, id, address, http.MethodGet, "/status", nil, quickTimeout, &s)
	return s, err
}

func (p *Peers) do(ctx context.Context, id, address, method, path string, body any, timeout time.Duration, out any) error {
	return do(ctx, p.client, call{
		method: method, url: "http://" + joinHost(id, address) + path, host: address, body: body, timeout: timeout,
	}, out)
}

// joinHost packs the ID and the address into one host name, because that is what
// net/http keeps idle connections by: one opened for whoever is at an address must not
// later pass for a certain member.
func joinHost(id, address string) string { return hex.EncodeToString([]byte(id + "|" + address)) }

// splitHost undoes joinHost on what net/http dials: the host name and a port.
func splitHost(hostport string) (id, address string, err error) {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return "", "", fmt.Errorf("split the peer's host: %w", err)
	}
	packed, err := hex.DecodeString(host)
	if err != nil {
		return "", "", fmt.Errorf("unpack the peer's host: %w", err)
	}
	id, address, _ = strings.Cut(string(packed), "|")
	return id, address, nil
}
