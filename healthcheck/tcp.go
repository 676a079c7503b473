package healthcheck

import (
	"context"
	"net"
)

// TCP is the kind `tcp`: Address (host:port) accepts a connection. The kernel
// accepts for a process that hangs, so this shows only that something listens.
type TCP struct {
	Address string
}

var _ Checker = TCP{}

// Check connects and resets, which leaves nothing in TIME_WAIT.
func (t TCP) Check(ctx context.Context) Result {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", t.Address)
	switch {
	case classify(err) == silent:
		return Result{Cause: "no answer", Output: "connect to " + t.Address + ": no answer within the timeout"}
	case err != nil:
		return Result{Cause: "refused", Output: err.Error()}
	}
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0) // best effort: close sends RST instead of FIN
	}
	conn.Close()
	return Result{State: Good, Output: "connected to " + t.Address}
}
