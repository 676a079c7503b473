package lab

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"
)

// The addresses of the lab's network: a VPC (RFC 1918), the client's network and the
// floating IP (both for documentation, RFC 5737), and the usual one for metadata.
var (
	// FloatingIP is what the client asks for.
	FloatingIP = netip.MustParseAddr("203.0.113.10")
	router     = netip.MustParseAddr("10.114.0.1")
	metadataIP = netip.MustParseAddr("169.254.169.254")
	routerWAN  = netip.MustParseAddr("198.51.100.1")
	clientIP   = netip.MustParseAddr("198.51.100.2")
	everywhere = netip.MustParsePrefix("0.0.0.0/0")
)

const (
	vpcBits     = 24
	backendPort = "8080"
	region      = "nyc3"
	// metadataLag is how late, at most, the metadata shows who holds the address.
	metadataLag = time.Second
	// firstDroplet is added to a balancer's number to give its droplet's ID; stranger is
	// a machine outside of the cluster.
	firstDroplet = 100
	stranger     = 199
)

// apiURL is where the daemons find the cloud. It is HTTPS as in life: the ticket is
// checked below TLS.
var apiURL = "https://" + router.String() + "/"

// addressOf is a balancer's address in the VPC.
func addressOf(number int) netip.Addr {
	a := router.As4()
	a[3] += byte(number)
	return netip.AddrFrom4(a)
}

// serve serves h on the cloud's host until the world is closed; with TLS if conf is
// given.
func (w *World) serve(address string, conf *tls.Config, h http.Handler) error {
	var l net.Listener
	err := w.cloudHost.Do(func() (err error) {
		l, err = new(net.ListenConfig).Listen(context.Background(), "tcp", address)
		return err
	})
	if err != nil {
		return err
	}
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	if conf != nil {
		server.ConnState = w.connections.note
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // until Close
	}()
	w.onClose(func() {
		_ = server.Close()
		<-done
	})
	return nil
}

// connections are the open ones to the cloud's API.
type connections struct {
	mu   sync.Mutex
	open map[net.Conn]bool
}

func (c *connections) note(conn net.Conn, s http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s == http.StateClosed {
		delete(c.open, conn)
		return
	}
	c.open[conn] = true
}

// dropConnections closes every connection to the cloud's API.
func (w *World) dropConnections() {
	w.connections.mu.Lock()
	defer w.connections.mu.Unlock()
	for conn := range w.connections.open {
		conn.Close()
	}
}

// metadata answers each droplet with its own: it asks from its own address.
func (w *World) metadata(rw http.ResponseWriter, r *http.Request) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		http.NotFound(rw, r)
		return
	}
	droplet := firstDroplet + numberOf(from.Addr())
	if w.opts.NoHints {
		_, _ = fmt.Fprintf(rw, `{"droplet_id":%d,"region":%q}`, droplet, region)
		return
	}
	w.Cloud.Metadata(droplet).ServeHTTP(rw, r)
}

// numberOf is the inverse of addressOf.
func numberOf(a netip.Addr) int {
	return int(a.Unmap().As4()[3]) - int(router.As4()[3])
}

// certify makes the certificate of the cloud's API and writes it to file, for the
// daemons to trust.
func certify(file string) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	// A year on either side: the wall clock of a daemon may be stepped.
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the lab's cloud"},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().AddDate(1, 0, 0),
		IPAddresses: []net.IP{router.AsSlice()}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
	}, nil
}
