package peernet

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"testing"
	"time"
)

// dial opens a stream of either protocol.
func dial(t *testing.T, p *testPort, proto, addr, wantID string) (net.Conn, error) {
	t.Helper()
	c, err := p.dial(t.Context(), proto, addr, wantID)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

func TestHandshake(t *testing.T) {
	for _, c := range []struct {
		name           string
		client, server *Identity
		want           string // the dialler's error, "" = accepted
		log            string // the server's log
	}{
		{
			"same secret", newIdentity(t, "web", "lb2", keyB), newIdentity(t, "web", "lb1", keyB), "", "",
		}, {
			"another secret", newIdentity(t, "web", "lb2", keyC), newIdentity(t, "web", "lb1", keyB),
			`is not a member of cluster "web" or has another secret (it says that it belongs to cluster "web")`,
			"it refused our certificate",
		}, {
			"another cluster", newIdentity(t, "db", "lb2", keyB), newIdentity(t, "web", "lb1", keyB),
			`is not a member of cluster "db" or has another secret (it says that it belongs to cluster "web")`,
			"it refused our certificate",
		}, {
			"rotation, new secret added at the server", newIdentity(t, "web", "lb2", keyB), newIdentity(t, "web", "lb1", keyB, keyC), "", "",
		}, {
			"rotation, new secret added at the client", newIdentity(t, "web", "lb2", keyB, keyC), newIdentity(t, "web", "lb1", keyB), "", "",
		}, {
			"rotation, new secret first at the server", newIdentity(t, "web", "lb2", keyB, keyC), newIdentity(t, "web", "lb1", keyC, keyB), "", "",
		}, {
			"rotation, new secret first at the client", newIdentity(t, "web", "lb2", keyC, keyB), newIdentity(t, "web", "lb1", keyB, keyC), "", "",
		}, {
			"rotation, old secret dropped at the server", newIdentity(t, "web", "lb2", keyB, keyC), newIdentity(t, "web", "lb1", keyC),
			"refused our certificate: the cluster secret or cluster name differs",
			`it has another secret or cluster name (it says that it belongs to cluster \"web\")`,
		}, {
			"rotation, old secret dropped at the client", newIdentity(t, "web", "lb2", keyC), newIdentity(t, "web", "lb1", keyB, keyC),
			"or has another secret", "it refused our certificate",
		}, {
			"client certificate expired", withLeaf(newIdentity(t, "web", "lb2", keyB), -48*time.Hour), newIdentity(t, "web", "lb1", keyB),
			"our certificate is not valid at this time: compare the clocks", "its certificate is valid from",
		}, {
			"client certificate from the future", withLeaf(newIdentity(t, "web", "lb2", keyB), 2*time.Hour), newIdentity(t, "web", "lb1", keyB),
			"our certificate is not valid at this time: compare the clocks", "its certificate is valid from",
		}, {
			"server certificate expired", newIdentity(t, "web", "lb2", keyB), withLeaf(newIdentity(t, "web", "lb1", keyB), -48*time.Hour),
			"compare the clocks of both machines", "it refused our certificate",
		}, {
			"clocks half an hour apart", withLeaf(newIdentity(t, "web", "lb2", keyB), -30*time.Minute), withLeaf(newIdentity(t, "web", "lb1", keyB), 30*time.Minute), "", "",
		}, {
			"certificate for another name", withForged(t, newIdentity(t, "web", "lb2", keyB), "lb3", "lb2.web.buoy", x509.ExtKeyUsageClientAuth), newIdentity(t, "web", "lb1", keyB),
			"refused our certificate", `certificate of \"lb3\" is not one for a member`,
		}, {
			"certificate for servers only", withForged(t, newIdentity(t, "web", "lb2", keyB), "lb2", "lb2.web.buoy", x509.ExtKeyUsageServerAuth), newIdentity(t, "web", "lb1", keyB),
			"refused our certificate", "incompatible key usage",
		},
	} {
		for _, proto := range []string{protoRaft, protoAPI} {
			t.Run(c.name+", "+proto, func(t *testing.T) {
				client, server := newPort(t, c.client), newPort(t, c.server)
				conn, err := dial(t, client, proto, server.addr, "lb1")
				if c.want != "" {
					wantError(t, err, c.want)
					wantError(t, err, server.addr)
					server.log.waitFor(t, c.log)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				checkStream(t, conn, accept(t, server.layerOf(proto)))
			})
		}
	}
}

// checkStream sends a word both ways and asks both ends who the other one is.
func checkStream(t *testing.T, client, server net.Conn) {
	t.Helper()
	if id, ok := PeerID(client); !ok || id != "lb1" {
		t.Errorf("PeerID of the dialled end %q, %v", id, ok)
	}
	if id, ok := PeerID(server); !ok || id != "lb2" {
		t.Errorf("PeerID of the accepted end %q, %v", id, ok)
	}
	for _, dir := range []struct{ from, to net.Conn }{{client, server}, {server, client}} {
		if _, err := io.WriteString(dir.from, "ahoy"); err != nil {
			t.Fatal(err)
		}
		_ = dir.to.SetReadDeadline(time.Now().Add(patience))
		got := make([]byte, 4)
		if _, err := io.ReadFull(dir.to, got); err != nil || string(got) != "ahoy" {
			t.Fatalf("read %q, %v", got, err)
		}
	}
}

// withLeaf gives id a certificate that was issued when the clock was off.
func withLeaf(id *Identity, off time.Duration) *Identity {
	leaf, err := id.issue(time.Now().Add(off))
	if err != nil {
		panic(err)
	}
	id.leaf, id.issued = leaf, time.Now()
	return id
}

// withForged gives id a certificate that no buoy issues, signed with the real secret.
func withForged(t *testing.T, id *Identity, name, dns string, usage x509.ExtKeyUsage) *Identity {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{dns, serverName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}, id.caCert, public, id.caKey())
	if err != nil {
		t.Fatal(err)
	}
	id.leaf, id.issued = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, time.Now()
	return id
}

func TestHandshakeRefusesOtherClients(t *testing.T) {
	member := newIdentity(t, "web", "lb2", keyB)
	ours := func(change func(*tls.Config)) *tls.Config {
		c := member.clientConfig(protoRaft, "", "")
		change(c)
		return c
	}
	for _, c := range []struct {
		name   string
		config *tls.Config
		log    string
	}{
		{"no certificate", ours(func(c *tls.Config) { c.GetClientCertificate = nil }), "didn't provide a certificate"},
		{"unknown protocol", ours(func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} }), "unsupported application protocols"},
		{"no protocol", ours(func(c *tls.Config) { c.NextProtos, c.VerifyConnection = nil, nil }), `protocol \"\", expected`},
		{"TLS 1.2", ours(func(c *tls.Config) { c.MinVersion, c.MaxVersion = 0, tls.VersionTLS12 }), "unsupported versions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := newPort(t, newIdentity(t, "web", "lb1", keyB))
			conn := tls.Client(dialRaw(t, "127.0.0.1", server.addr), c.config)
			// The refusal may come as late as the first read.
			if b, err := io.ReadAll(conn); err == nil || len(b) > 0 {
				t.Errorf("read %q, %v; want a refusal", b, err)
			}
			_ = conn.Close()
			server.log.waitFor(t, c.log)
		})
	}
}

func TestHandshakeRefusesWhatIsNotTLS(t *testing.T) {
	random := make([]byte, maxDrain/2)
	_, _ = rand.Read(random)
	for name, sent := range map[string][]byte{
		"random bytes": random,
		"HTTP":         []byte("GET / HTTP/1.1\r\nHost: lb1\r\n\r\n"),
		"raft":         {0, 0x82, 0xa4},
		"silence":      nil, // waits for the handshake's deadline
		"half a hello": {0x16, 0x03, 0x01, 0x02, 0x00, 0x01},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newPort(t, newIdentity(t, "web", "lb1", keyB))
			c := dialRaw(t, "127.0.0.1", server.addr)
			if _, err := c.Write(sent); err != nil {
				t.Fatal(err)
			}
			// The end must be orderly: a reset may overtake the alert that says why.
			if _, err := io.ReadAll(c); err != nil {
				t.Fatalf("read %v, want the server to close the connection", err)
			}
			_ = c.Close()
			server.log.waitFor(t, "refused a peer: from=127.0.0.1 count=1")
		})
	}
}

// A stranger with 200 silent connections occupies the slots of his own address;
// the members' streams are accepted meanwhile.
func TestSilentStrangersDoNotLockMembersOut(t *testing.T) {
	server := newPort(t, newIdentity(t, "web", "lb1", keyB))
	client := newPort(t, newIdentity(t, "web", "lb2", keyB))
	for range 200 {
		dialRaw(t, "127.0.0.9", server.addr)
	}
	server.log.waitFor(t, "too many handshakes")
	for _, proto := range []string{protoRaft, protoAPI} {
		conn, err := dial(t, client, proto, server.addr, "lb1")
		if err != nil {
			t.Fatal(err)
		}
		checkStream(t, conn, accept(t, server.layerOf(proto)))
	}
}

// The handshake's deadline must not outlive the handshake.
func TestStreamsMayBeIdle(t *testing.T) {
	t.Parallel()
	server := newPort(t, newIdentity(t, "web", "lb1", keyB))
	client := newPort(t, newIdentity(t, "web", "lb2", keyB))
	conn, err := dial(t, client, protoRaft, server.addr, "lb1")
	if err != nil {
		t.Fatal(err)
	}
	accepted := accept(t, server.Raft())
	<-time.After(handshakeTimeout + 100*time.Millisecond) // let it pass
	checkStream(t, conn, accepted)
}
