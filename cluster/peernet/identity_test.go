package peernet

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Every node and every version must derive the same CA, or a rolling upgrade
// splits the cluster. The number was computed once, by this code.
func TestDerivedCAStaysTheSame(t *testing.T) {
	id := newIdentity(t, "web", "lb1", keyB)
	const want = "d0586e18304f505907d5003688565b14037709d4ed7d1aba1ad82a6ec27a23df"
	if got := fmt.Sprintf("%x", sha256.Sum256(slices.Concat(id.caCert.RawSubject, id.caCert.RawSubjectPublicKeyInfo))); got != want {
		t.Errorf("CA name and key %s, want %s", got, want)
	}
	if other := newIdentity(t, "web2", "lb1", keyB); other.caKey().Equal(id.caKey()) {
		t.Error("two clusters with the same CA key")
	}
}

func TestNewIdentityRefusesNames(t *testing.T) {
	s, err := ParseSecrets([]byte(keyB))
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 63)
	if _, err := NewIdentity(s, "-"+long[:31], long); err != nil {
		t.Errorf("longest names: %v", err)
	}
	for _, c := range []struct{ cluster, id, want string }{
		{"", "lb1", `cluster name ""`},
		{"Web", "lb1", `cluster name "Web"`},
		{long[:33], "lb1", "cluster name"},
		{"web", "", `server ID ""`},
		{"web", "lb1|10.0.0.1", "server ID"},
		{"web", "lb1\n", "server ID"},
		{"web", long + "x", "server ID"},
	} {
		_, err := NewIdentity(s, c.cluster, c.id)
		wantError(t, err, c.want)
	}
	_, err = NewIdentity(Secrets{}, "web", "lb1")
	wantError(t, err, "is missing")
}

func TestLeafIsRenewed(t *testing.T) {
	id := newIdentity(t, "web", "lb1-7f3a2c", keyB)
	start := time.Now()
	now := start
	id.now = func() time.Time { return now }
	id.leaf = nil
	at := func(d time.Duration) *x509.Certificate {
		t.Helper()
		now = start.Add(d)
		leaf, err := id.certificate()
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(leaf.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
			if _, err := cert.Verify(x509.VerifyOptions{
				DNSName: "lb1-7f3a2c.web.buoy", Roots: id.roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
			}); err != nil {
				t.Fatalf("after %s: %v", d, err)
			}
		}
		return cert
	}
	first := at(0)
	if !at(leafRenewal - time.Minute).Equal(first) {
		t.Error("renewed before two thirds of its life")
	}
	second := at(leafRenewal)
	if second.Equal(first) {
		t.Error("not renewed after two thirds of its life")
	}
	if at(-48 * time.Hour).Equal(second) {
		t.Error("not renewed after the clock was set back: it is from the future")
	}
}
