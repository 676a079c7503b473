package dotest

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// metadataHost is where a droplet finds its metadata service.
const metadataHost = "169.254.169.254"

// Dialer returns what a droplet has for a network: a connection to 169.254.169.254 leads to its
// metadata service, every other to the API, both in the clear. The connections are pipes within
// this process, so that real HTTP clients and servers run within testing/synctest. They end with
// the server.
func (s *Server) Dialer(dropletID int) func(ctx context.Context, network, addr string) (net.Conn, error) {
	api, metadata := s.servePipes(s.API()), s.servePipes(s.Metadata(dropletID))
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		if host, _, err := net.SplitHostPort(addr); err == nil && host == metadataHost {
			return metadata.dial(ctx)
		}
		return api.dial(ctx)
	}
}

func (s *Server) servePipes(h http.Handler) *pipes {
	l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	// Without an idle timeout: who closes first is for the client to choose.
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: -1, ErrorLog: log.New(io.Discard, "", 0)}
	s.spawn(func() {
		stop := context.AfterFunc(s.ctx, func() { _ = server.Close() })
		defer stop()
		_ = server.Serve(l) // ends with ErrServerClosed
	})
	return l
}

// pipes is a listener whose connections come from dial.
type pipes struct {
	conns  chan net.Conn
	close  sync.Once
	closed chan struct{}
}

func (l *pipes) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "pipe", Err: net.ErrClosed}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept returns the next connection.
func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and dial.
func (l *pipes) Close() error {
	l.close.Do(func() { close(l.closed) })
	return nil
}

// Addr is that of a pipe.
func (*pipes) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
