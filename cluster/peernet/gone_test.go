package peernet

import (
	"io"
	"net"
	"testing"
	"time"
)

// read has somebody read from c, as raft does from every stream that it accepts.
func read(t *testing.T, c net.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, c)
	}()
	t.Cleanup(func() { _ = c.Close(); <-done })
}

// reset ends a connection of ours as a network does that has forgotten it.
func reset(t *testing.T, c net.Conn) {
	t.Helper()
	tcp := c.(*conn).NetConn().(*net.TCPConn)
	if err := tcp.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = tcp.Close()
}

// linked is a server with streams from lb2, and the names that OnGone was told.
func linked(t *testing.T, streams int) (server, client *testPort, dialled []net.Conn, told chan string) {
	t.Helper()
	server = newPort(t, newIdentity(t, "web", "lb1", keyB))
	client = newPort(t, newIdentity(t, "web", "lb2", keyB))
	told = make(chan string, 8)
	server.OnGone(func(id string) { told <- id })
	for range streams {
		conn, err := dial(t, client, protoRaft, server.addr, "lb1")
		if err != nil {
			t.Fatal(err)
		}
		read(t, accept(t, server.Raft()))
		dialled = append(dialled, conn)
	}
	return server, client, dialled, told
}

func TestGoneIsTheEndOfTheLastStream(t *testing.T) {
	server, client, streams, told := linked(t, 3)
	if !server.Linked("lb2") || server.Linked("lb3") || client.Linked("lb1") {
		t.Errorf("linked: lb2 %v, lb3 %v; at the dialling end %v; want true, false, false",
			server.Linked("lb2"), server.Linked("lb3"), client.Linked("lb1"))
	}
	_ = streams[0].Close()
	reset(t, streams[1])
	waitUntil(t, func() bool { return server.links.count("lb2") == 1 },
		func() string { return "the end of two streams was not noticed" })
	select {
	case id := <-told:
		t.Fatalf("%s is said to be gone with a stream open", id)
	default:
	}
	reset(t, streams[2])
	select {
	case id := <-told:
		if id != "lb2" {
			t.Errorf("%q is gone, want lb2", id)
		}
	case <-time.After(patience):
		t.Fatal("nobody was told that the last stream has ended")
	}
	if server.Linked("lb2") {
		t.Error("lb2 is still linked")
	}
}

// TestGoneWhenThePortCloses is how it looks when a daemon ends in order.
func TestGoneWhenThePortCloses(t *testing.T) {
	server, client, _, told := linked(t, 2)
	_ = client.Close()
	select {
	case <-told:
	case <-time.After(patience):
		t.Fatal("nobody was told")
	}
	if server.Linked("lb2") {
		t.Error("lb2 is still linked")
	}
}

// TestOtherConnectionsDoNotLink: only streams that the peer opened are read all the time.
func TestOtherConnectionsDoNotLink(t *testing.T) {
	server, client, _, told := linked(t, 0)
	conn, err := client.DialAPI(t.Context(), server.addr, "lb1")
	if err != nil {
		t.Fatal(err)
	}
	accepted := accept(t, server.API())
	if server.Linked("lb2") {
		t.Error("an API connection counts as a raft stream")
	}
	_ = conn.Close()
	_, _ = io.Copy(io.Discard, accepted)
	stream, err := client.Raft().Dial(StreamAddress("lb1", server.addr), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.Close()
	read(t, accept(t, server.Raft()))
	if id := <-told; id != "lb2" || len(told) != 0 {
		t.Errorf("told of %q and %d more, want lb2 once", id, len(told))
	}
}
