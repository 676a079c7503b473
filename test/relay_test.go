package test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// relay is the network in front of one member's port: whoever dials the member dials the
// relay. It can do to connections what firewalls and routers do.
type relay struct {
	t      *testing.T
	target string

	mu       sync.Mutex
	listener net.Listener // nil while it rejects
	address  string
	conns    map[net.Conn]struct{} // of the dialling side
	wg       sync.WaitGroup
}

func newRelay(t *testing.T, target string) *relay {
	r := &relay{t: t, target: target, address: "127.0.0.1:0", conns: map[net.Conn]struct{}{}}
	r.admit()
	t.Cleanup(func() {
		r.reject()
		r.reset(len(r.conns))
		r.wg.Wait()
	})
	return r
}

// admit takes new connections, at the same address as ever.
func (r *relay) admit() {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	r.listener, r.address = l, l.Addr().String()
	r.mu.Unlock()
	r.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.wg.Go(func() { r.carry(c) })
		}
	})
}

// reject refuses new connections, as a firewall does that answers with a reset; those that
// exist go on.
func (r *relay) reject() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener != nil {
		r.listener.Close()
		r.listener = nil
	}
}

// reset ends n connections, in both directions, as a NAT does that has forgotten them.
func (r *relay) reset(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		if n--; n < 0 {
			return
		}
		abort(c)
	}
}

func (r *relay) open() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns)
}

func abort(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

func (r *relay) carry(from net.Conn) {
	defer from.Close()
	dialer := net.Dialer{Timeout: time.Second}
	to, err := dialer.DialContext(context.Background(), "tcp", r.target)
	if err != nil {
		abort(from)
		return
	}
	r.mu.Lock()
	r.conns[from] = struct{}{}
	r.mu.Unlock()
	var back sync.WaitGroup
	back.Go(func() { _, _ = io.Copy(from, to); abort(from) })
	_, err = io.Copy(to, from)
	if err != nil {
		abort(to)
	}
	to.Close()
	back.Wait()
	r.mu.Lock()
	delete(r.conns, from)
	r.mu.Unlock()
}
