package cloudhttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/buoy-lb/buoy/assigner"
)

const (
	connectTimeout = 1500 * time.Millisecond // TCP and TLS each; under any read's timeout, so that the cause is named
	// idleTimeout keeps connections over the nodes' self-tests every 5 minutes, so that a new
	// leader's POST finds one.
	idleTimeout = 6 * time.Minute
	maxBody     = 1 << 20 // bytes of an answer
)

// Dial is the form of [net.Dialer.DialContext].
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// Transport sends the requests of a cloud's SDK: each with its User-Agent, those that change something only
// with a permit. It tells a request that found no connection from one that may have arrived, and it
// bounds answers.
type Transport struct {
	*http.Transport
	version, node string // for the User-Agent

	// Dial and Answered may be replaced before the first request. Answered sees the headers of
	// each answer.
	Dial     Dial
	Answered func(*http.Response)
}

// NewTransport returns a transport through the proxies of the environment.
func NewTransport(version, node string) *Transport {
	dialer := &net.Dialer{
		Timeout: connectTimeout,
		// A dead peer is found in half a minute, before somebody wants to POST over the connection.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	// HTTP/2 would carry several requests on one connection, and the permit belongs to the
	// connection.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	t := &Transport{version: version, node: node, Dial: dialer.DialContext, Answered: func(*http.Response) {}}
	t.Transport = &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := t.Dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &guardedConn{Conn: c}, nil
		},
		Protocols:              &protocols,
		TLSHandshakeTimeout:    connectTimeout,
		MaxIdleConnsPerHost:    2,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: 64 << 10,
	}
	return t
}

// RoundTrip sends one request. One that finds no connection gets a [*ConnectError].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	p := permitOf(req.Context())
	if p == nil && req.Method != http.MethodGet && req.Method != http.MethodHead {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, ErrUnarmed
	}
	var connected atomic.Bool
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		connected.Store(true)
		arm(i.Conn, p)
	}})
	req = req.Clone(ctx)
	req.Header.Set("User-Agent", fmt.Sprintf("buoy/%s (node=%s; epoch=%d)", t.version, t.node, assigner.Epoch(ctx)))

	resp, err := t.Transport.RoundTrip(req)
	if p != nil {
		p.end(err == nil)
	}
	if err != nil && !connected.Load() {
		return nil, &ConnectError{err}
	}
	if err != nil {
		return nil, err
	}
	t.Answered(resp)
	resp.Body = &body{limit: io.LimitReader(resp.Body, maxBody), ReadCloser: resp.Body}
	return resp, nil
}

// ConnectError is a request that did not even get a connection: DNS, route, proxy, TLS.
type ConnectError struct{ err error }

// Error names the usual suspects.
func (e *ConnectError) Error() string {
	return fmt.Sprintf("no connection to the API (check route, DNS, proxy and clock): %v", e.err)
}

// Unwrap returns what net/http said.
func (e *ConnectError) Unwrap() error { return e.err }

// body bounds an answer and reads it to its end when closed: net/http keeps only connections whose
// last answer was read completely, and the JSON decoder stops at the closing brace.
type body struct {
	io.ReadCloser
	limit io.Reader
}

// Read reads at most maxBody bytes in all.
func (b *body) Read(p []byte) (int, error) { return b.limit.Read(p) }

// Close drains, then closes.
func (b *body) Close() error {
	_, drain := io.Copy(io.Discard, b.limit)
	return errors.Join(drain, b.ReadCloser.Close())
}
