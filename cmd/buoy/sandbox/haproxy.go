package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// ErrNoHAProxy is returned by New when there is no haproxy program to run.
var ErrNoHAProxy = errors.New("haproxy is not installed; install it with: apt install haproxy")

// FindHAProxy returns the path of the haproxy program, "" if there is none. It also
// looks where Debian puts it, which is not in a user's PATH.
func FindHAProxy() string {
	for _, name := range []string{"haproxy", "/usr/sbin/haproxy", "/usr/local/sbin/haproxy"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// haproxyConfig is as short as a real one may be: what buoy looks at is the stats
// socket and the monitor-uri on the frontend that carries the traffic.
const haproxyConfig = `global
  stats socket %[1]s mode 600 level user
  maxconn 200

defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s

frontend www
  bind %[2]s
  monitor-uri /buoy-health
  monitor fail if { stopping } || { nbsrv(app) lt 1 }
  http-response set-header X-Served-By %[3]s
  default_backend app

backend app
  server app1 %[4]s check inter 1s
`

func (n *Node) haproxySocket() string { return filepath.Join(n.Dir, "haproxy.sock") }

// StartHAProxy starts the node's HAProxy and returns once it serves. It does nothing
// when it is running.
func (n *Node) StartHAProxy(ctx context.Context) error {
	if n.haproxy.Running() {
		return nil
	}
	path := filepath.Join(n.Dir, "haproxy.cfg")
	conf := fmt.Sprintf(haproxyConfig, n.haproxySocket(), n.web, n.Name, n.world.backend)
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		return err
	}
	var err error
	// -db: one process in the foreground.
	if n.haproxy, err = startProcess(n.haproxyLog(), n.world.haproxyPath, "-db", "-f", path); err != nil {
		return err
	}
	return n.awaitHAProxy(ctx)
}

func (n *Node) awaitHAProxy(ctx context.Context) error {
	return Poll(ctx, "HAProxy of "+n.Name+" to listen", func(ctx context.Context) error {
		if !n.haproxy.Running() {
			return errStop{fmt.Errorf("it ended; see %s", n.haproxyLog())}
		}
		dialer := net.Dialer{Timeout: time.Second}
		conn, err := dialer.DialContext(ctx, "tcp", n.web)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// KillHAProxy ends HAProxy at once, as a crash would.
func (n *Node) KillHAProxy() { n.haproxy.Kill() }

// StopHAProxy ends HAProxy as `systemctl stop haproxy` does, within ctx.
func (n *Node) StopHAProxy(ctx context.Context) error { return n.haproxy.Stop(ctx) }

// HangHAProxy stops HAProxy in its tracks: connections are still accepted by the
// kernel, nobody answers them.
func (n *Node) HangHAProxy() { n.haproxy.Signal(syscall.SIGSTOP) }

// ResumeHAProxy ends what HangHAProxy began.
func (n *Node) ResumeHAProxy() { n.haproxy.Signal(syscall.SIGCONT) }

// HAProxyPID is the process ID of the last start.
func (n *Node) HAProxyPID() int { return n.haproxy.PID() }

func (n *Node) haproxyLog() string { return filepath.Join(n.Dir, "haproxy.log") }
