package peernet

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"sync"
	"time"
)

const (
	protoRaft = "buoy-raft/1"
	protoAPI  = "buoy-api/1"

	// caLabel separates this use of the secret from any later one. Changing it
	// locks out every node that runs the old version.
	caLabel = "buoy/1 cluster CA\x00"

	// serverName stands in every leaf beside the node's own name, so that the
	// standard verification runs in full even when the ID is not known yet. It
	// goes over the wire in clear and tells nothing.
	serverName = "buoy"

	leafLife    = 24 * time.Hour
	leafRenewal = 16 * time.Hour
	// leafBackdate is how far a peer's clock may be behind ours.
	leafBackdate = time.Hour
)

var (
	clusterPattern  = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
	serverIDPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
)

// Identity is what a node shows to its peers and what it accepts from them: a
// certificate for its ServerID, and the CAs of the cluster's secrets. It is safe
// for concurrent use and prints without its keys.
type Identity struct {
	cluster, serverID string

	caCert *x509.Certificate         // of the first secret
	caKey  func() ed25519.PrivateKey // a function for the reason given at Secrets
	roots  *x509.CertPool            // of every secret

	now func() time.Time // the wall clock; tests set it wrong

	mu     sync.Mutex
	leaf   *tls.Certificate
	issued time.Time
}

// NewIdentity derives the cluster's CAs from its secrets and prepares to issue
// certificates for serverID. Nodes with a common secret and the same cluster
// name accept each other. The cluster name matches [a-z0-9-]{1,32}; a ServerID
// has 1 to 63 letters, digits, dots, dashes or underscores and does not start
// with a mark.
func NewIdentity(s Secrets, cluster, serverID string) (*Identity, error) {
	if !clusterPattern.MatchString(cluster) {
		return nil, fmt.Errorf("cluster name %q: allowed are 1 to 32 of a-z, 0-9 and -", cluster)
	}
	if !serverIDPattern.MatchString(serverID) {
		return nil, fmt.Errorf("server ID %q: allowed are 1 to 63 letters, digits, dots, dashes and underscores, a letter or digit first", serverID)
	}
	if len(s.all()) == 0 {
		return nil, &SecretError{Problem: "is missing", Remedy: keygenHint}
	}
	id := &Identity{cluster: cluster, serverID: serverID, roots: x509.NewCertPool(), now: time.Now}
	for i, secret := range s.all() {
		cert, key, err := deriveCA(secret, cluster)
		if err != nil {
			return nil, fmt.Errorf("derive the cluster's certificate authority: %w", err)
		}
		id.roots.AddCert(cert)
		if i == 0 {
			id.caCert, id.caKey = cert, func() ed25519.PrivateKey { return key }
		}
	}
	if _, err := id.certificate(); err != nil {
		return nil, err
	}
	return id, nil
}

// Format prints who this is and none of the keys, whatever the verb.
func (id *Identity) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "%s of cluster %q", id.serverID, id.cluster)
}

// deriveCA makes the same key and certificate on every node: the validity has
// no beginning that a slow clock could miss, and nothing in it is random. HKDF
// is RFC 5869; Ed25519 takes its output as seed (RFC 8032 section 5.1.5).
func deriveCA(secret []byte, cluster string) (*x509.Certificate, ed25519.PrivateKey, error) {
	seed, err := hkdf.Key(sha256.New, secret, nil, caLabel+cluster, ed25519.SeedSize)
	if err != nil {
		return nil, nil, err
	}
	key := ed25519.NewKeyFromSeed(seed)
	public := key.Public().(ed25519.PublicKey)
	// Set by hand: the default differs between Go versions.
	keyID := sha256.Sum256(public)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "buoy cluster CA"},
		SubjectKeyId:          keyID[:20],
		NotBefore:             time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

// certificate returns our leaf, a new one once two thirds of its life are over.
func (id *Identity) certificate() (*tls.Certificate, error) {
	id.mu.Lock()
	defer id.mu.Unlock()
	// Without the monotonic reading: peers judge by the wall clock, and ours may
	// be set back after start, which leaves us with a leaf from the future.
	now := id.now().Round(0)
	if id.leaf != nil && !now.Before(id.issued) && now.Before(id.issued.Add(leafRenewal)) {
		return id.leaf, nil
	}
	leaf, err := id.issue(now)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate for %s: %w", id.serverID, err)
	}
	id.leaf, id.issued = leaf, now
	return leaf, nil
}

func (id *Identity) issue(now time.Time) (*tls.Certificate, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: id.serverID},
		DNSNames:    []string{id.dnsName(id.serverID), serverName},
		NotBefore:   now.Add(-leafBackdate),
		NotAfter:    now.Add(leafLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, id.caCert, public, id.caKey())
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, nil
}

func (id *Identity) dnsName(serverID string) string { return serverID + "." + id.cluster + ".buoy" }

// serverConfig is the listening end: nobody gets past it without a certificate
// of one of our CAs and one of our two protocols.
func (id *Identity) serverConfig() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{protoRaft, protoAPI},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              id.roots,
		SessionTicketsDisabled: true, // a resumed session would skip the certificate
		Time:                   id.now,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return id.certificate() },
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := id.verifyPeer(cs)
			return err
		},
	}
}

// clientConfig is the dialling end. It accepts only wantID, or with "" any member
// of the cluster; address is for the error.
func (id *Identity) clientConfig(proto, address, wantID string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{proto},
		RootCAs:    id.roots,
		ServerName: serverName,
		Time:       id.now,
		// Not Certificates: crypto/tls would withhold ours from a server that does
		// not list our CA, and its refusal would then be about the wrong thing.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return id.certificate() },
		VerifyConnection: func(cs tls.ConnectionState) error {
			got, err := id.verifyPeer(cs)
			if err == nil && wantID != "" && got != wantID {
				err = &WrongPeerError{Address: address, Want: wantID, Got: got}
			}
			return err
		},
	}
}

// verifyPeer runs after the standard verification at either end. It returns the
// peer's ServerID and checks what crypto/tls leaves open: that the name and the
// protocol are ours (a peer that offers no protocol at all passes its check).
func (id *Identity) verifyPeer(cs tls.ConnectionState) (string, error) {
	if cs.NegotiatedProtocol != protoRaft && cs.NegotiatedProtocol != protoAPI {
		return "", fmt.Errorf("protocol %q, expected %s or %s", cs.NegotiatedProtocol, protoRaft, protoAPI)
	}
	if len(cs.PeerCertificates) == 0 {
		return "", errors.New("no certificate")
	}
	leaf := cs.PeerCertificates[0]
	peer := leaf.Subject.CommonName
	if !serverIDPattern.MatchString(peer) || !slices.Contains(leaf.DNSNames, id.dnsName(peer)) {
		return "", fmt.Errorf("certificate of %q is not one for a member of cluster %q", peer, id.cluster)
	}
	return peer, nil
}

var _ fmt.Formatter = (*Identity)(nil)
