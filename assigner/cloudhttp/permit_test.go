package cloudhttp

import (
	"errors"
	"io"
	"net"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func yes() error { return nil }

// TestPermitIsForOneConnection checks what no server can provoke reliably: net/http comes with a
// second connection after the first one has carried bytes.
func TestPermitIsForOneConnection(t *testing.T) {
	var first, second discard
	p := &Permit{check: yes}
	a, b := &guardedConn{Conn: &first}, &guardedConn{Conn: &second}
	arm(a, p)
	arm(b, p)
	if n, err := a.Write([]byte("POST")); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := b.Write([]byte("POST")); n != 0 || !errors.Is(err, errOver) || second.n != 0 {
		t.Errorf("second connection: %d, %v; want refused", n, err)
	}
	if _, err := a.Write([]byte(" / HTTP/1.1")); err != nil {
		t.Errorf("the rest of the request on the first connection: %v", err)
	}
	p.end(true)
	if _, err := a.Write([]byte("more")); !errors.Is(err, errOver) {
		t.Errorf("after the answer: %v; want refused", err)
	}
	arm(a, nil)
	if _, err := a.Write([]byte("GET")); err != nil {
		t.Errorf("a read on the same connection: %v", err)
	}
}

type discard struct {
	net.Conn
	n int
}

func (d *discard) Write(b []byte) (int, error) { d.n += len(b); return len(b), nil }

// TestUnguardableConnectionIsClosed: fail closed, should net/http ever hand out one we did not make.
func TestUnguardableConnectionIsClosed(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	arm(a, &Permit{check: yes})
	if _, err := a.Write([]byte("POST")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write: %v; want a closed connection", err)
	}
}

// TestNothingIsWrittenAfterTheEnd: a Write that blocks (a full socket buffer) is over when end
// returns, and no other follows.
func TestNothingIsWrittenAfterTheEnd(t *testing.T) {
	ours, theirs := net.Pipe() // unbuffered: Write blocks until it is read
	defer theirs.Close()
	p := &Permit{}
	c := &guardedConn{Conn: ours}
	arm(c, p)
	writing := make(chan struct{})
	p.check = func() error { close(writing); return nil }
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write([]byte("POST"))
		wrote <- err
	}()
	<-writing
	p.end(false)
	p.check = func() error { t.Error("checked after the end"); return nil }
	if _, err := c.Write([]byte("POST")); !errors.Is(err, errOver) {
		t.Errorf("write after the end: %v", err)
	}
	if err := <-wrote; err == nil {
		t.Error("the blocked write has succeeded")
	}
}
