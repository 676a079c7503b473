package lab

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// haproxyConfig is the one of examples/haproxy.cfg, less what a single frontend with one
// backend does not need.
const haproxyConfig = `global
  stats socket %[1]s mode 660 level user
  maxconn %[5]d

defaults
  mode http
  timeout connect 1s
  timeout client 5s
  timeout server 5s

frontend www
  bind :80
  monitor-uri /buoy-health
  monitor fail if { stopping } || { nbsrv(app) lt 1 }
  http-response set-header X-Served-By %[2]s
  default_backend app

backend app
  server app1 %[3]s:%[4]s check inter 1s
`

func (b *Balancer) haproxyProgram() string { return filepath.Join(b.Dir, "haproxy-"+b.Name) }
func (b *Balancer) haproxyFile() string    { return filepath.Join(b.Dir, "haproxy.cfg") }
func (b *Balancer) haproxySocket() string  { return filepath.Join(b.Dir, "haproxy.sock") }

func (b *Balancer) writeHAProxyConfig() error {
	text := fmt.Sprintf(haproxyConfig, b.haproxySocket(), b.Name, router, backendPort, haproxyMaxconn)
	return os.WriteFile(b.haproxyFile(), []byte(text), 0o644)
}

// haproxyMaxconn is more than the client ever needs.
const haproxyMaxconn = 2000

// breakHAProxyConfig makes the file one that HAProxy refuses, for its next reload.
func (b *Balancer) breakHAProxyConfig() error {
	return os.WriteFile(b.haproxyFile(), []byte("nonsense\n"), 0o644)
}

func dialOnce(address string) error {
	conn, err := (&net.Dialer{Timeout: time.Second}).Dial("tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}
