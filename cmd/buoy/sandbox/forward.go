package sandbox

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// forwarder stands in for the floating IP: it accepts connections and pipes each to
// the address that was set last. Connections that exist stay where they are, and with
// no address set new ones are closed at once.
type forwarder struct {
	listener net.Listener
	target   atomic.Pointer[string]
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	ended bool
}

func newForwarder(ctx context.Context, address string) (*forwarder, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	f := &forwarder{listener: l, conns: map[net.Conn]struct{}{}}
	f.wg.Go(f.accept)
	return f, nil
}

// set points new connections at address; "" at nobody.
func (f *forwarder) set(address string) { f.target.Store(&address) }

func (f *forwarder) accept() {
	for {
		conn, err := f.listener.Accept()
		if err != nil {
			return // closed
		}
		f.wg.Go(func() { f.serve(conn) })
	}
}

func (f *forwarder) serve(client net.Conn) {
	defer f.drop(client)
	target := f.target.Load()
	if !f.keep(client) || target == nil || *target == "" {
		return
	}
	dialer := net.Dialer{Timeout: time.Second}
	server, err := dialer.DialContext(context.Background(), "tcp", *target)
	if err != nil {
		return
	}
	defer f.drop(server)
	if !f.keep(server) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, server)
		f.drop(client) // the server has said all: end the other direction too
	})
	_, _ = io.Copy(server, client)
	if tcp, ok := server.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	back.Wait()
}

// keep remembers conn for close; false means that the forwarder has ended.
func (f *forwarder) keep(conn net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		f.conns[conn] = struct{}{}
	}
	return !f.ended
}

func (f *forwarder) drop(conn net.Conn) {
	f.mu.Lock()
	delete(f.conns, conn)
	f.mu.Unlock()
	conn.Close()
}

// close ends the listener and every connection, and waits for their goroutines.
func (f *forwarder) close() {
	f.listener.Close()
	f.mu.Lock()
	f.ended = true
	for conn := range f.conns {
		conn.Close()
	}
	f.mu.Unlock()
	f.wg.Wait()
}
