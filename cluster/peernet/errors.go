package peernet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// remoteAlert is the net.OpError.Op of an alert that the peer sent. crypto/tls
// has no public type for which alert it was, only the text.
const remoteAlert = "remote error"

// WrongPeerError is returned when another node than the expected one answers.
// Nothing has been sent to it.
type WrongPeerError struct {
	Address   string
	Want, Got string // ServerIDs
}

func (e *WrongPeerError) Error() string {
	return fmt.Sprintf("at %s answers %s, expected %s (was that machine rebuilt, or its data directory wiped?)", e.Address, e.Got, e.Want)
}

func listenError(address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen on %s: another process has that port (is the daemon running already? see: ss -ltnp): %w", address, syscall.EADDRINUSE)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen on %s: this machine does not have that address (see: ip address): %w", address, syscall.EADDRNOTAVAIL)
	}
	return fmt.Errorf("listen on %s: %w", address, err)
}

// canceled tells the end of the caller's patience, or of the port, from a peer
// that does not answer in time.
func canceled(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

func timedOut(err error) bool {
	var ne net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &ne) && ne.Timeout()
}

func explainDial(ctx context.Context, address string, err error) error {
	switch {
	case canceled(ctx):
		return fmt.Errorf("dial %s: %w", address, ctx.Err())
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nothing answers at %s: is buoy running there, and does it listen on that address? (%w)", address, syscall.ECONNREFUSED)
	case timedOut(err):
		return fmt.Errorf("nothing answers at %s: the machine is down, or a firewall drops our packets (%w)", address, err)
	}
	return fmt.Errorf("nothing answers at %s: %w", address, err)
}

func (p *Port) explainHandshake(ctx context.Context, address string, err error) error {
	var (
		wrong   *WrongPeerError
		plain   tls.RecordHeaderError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	switch {
	case canceled(ctx):
		return fmt.Errorf("dial %s: %w", address, ctx.Err())
	case errors.As(err, &wrong):
		return wrong
	case errors.As(err, &plain):
		return fmt.Errorf("%s does not speak TLS: another service listens there (%w)", address, err)
	case errors.As(err, &unknown):
		return fmt.Errorf("%s is not a member of cluster %q or has another secret%s (%w)",
			address, p.identity.cluster, claimedCluster(unknown.Cert), err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("the certificate of %s is valid from %s to %s and our clock says %s: compare the clocks of both machines (%w)",
			address, stamp(invalid.Cert.NotBefore), stamp(invalid.Cert.NotAfter), stamp(p.identity.now()), err)
	case timedOut(err):
		return fmt.Errorf("%s takes connections but does not answer: the process there hangs, or is another service (%w)", address, err)
	case hungUp(err):
		return fmt.Errorf("%s closed the connection during the handshake: another service, or its connection limit is reached (%w)", address, err)
	}
	return fmt.Errorf("%s speaks TLS but is not a member of cluster %q: %w", address, p.identity.cluster, err)
}

func explainGreeting(ctx context.Context, address string, err error) error {
	var remote *net.OpError
	switch {
	case canceled(ctx):
		return fmt.Errorf("dial %s: %w", address, ctx.Err())
	case errors.As(err, &remote) && remote.Op == remoteAlert && strings.Contains(err.Error(), "expired certificate"):
		return fmt.Errorf("to %s our certificate is not valid at this time: compare the clocks of both machines (%w)", address, err)
	case errors.As(err, &remote) && remote.Op == remoteAlert:
		return fmt.Errorf("%s refused our certificate: the cluster secret or cluster name differs (%w)", address, err)
	case timedOut(err):
		return fmt.Errorf("%s takes connections but does not answer: the process there hangs (%w)", address, err)
	case hungUp(err):
		return fmt.Errorf("%s closed the connection before it accepted us: it is shutting down, or the cluster secret or cluster name differs (%w)", address, err)
	}
	return fmt.Errorf("greeting of %s: %w", address, err)
}

// explainAdmit says why an incoming handshake failed, for the log. A connection
// that ended before it said anything is left as io.EOF.
func (p *Port) explainAdmit(err error) error {
	var (
		remote  *net.OpError
		plain   tls.RecordHeaderError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &plain):
		return fmt.Errorf("it does not speak TLS: %w", err)
	case errors.As(err, &unknown):
		return fmt.Errorf("it has another secret or cluster name%s: %w", claimedCluster(unknown.Cert), err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("its certificate is valid from %s to %s, compare the clocks of both machines: %w",
			stamp(invalid.Cert.NotBefore), stamp(invalid.Cert.NotAfter), err)
	case timedOut(err):
		return fmt.Errorf("no handshake within %s: %w", handshakeTimeout, err)
	case errors.As(err, &remote) && remote.Op == remoteAlert:
		return fmt.Errorf("it refused our certificate: its secret or cluster name differs, or it expects another node here: %w", err)
	}
	return err
}

func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// claimedCluster reads the cluster out of a certificate that we do not trust. It
// is good for a hint in an error, nothing else.
func claimedCluster(cert *x509.Certificate) string {
	if cert == nil {
		return ""
	}
	for _, name := range cert.DNSNames {
		rest, found := strings.CutSuffix(name, ".buoy")
		if cluster := rest[strings.LastIndexByte(rest, '.')+1:]; found && clusterPattern.MatchString(cluster) {
			return fmt.Sprintf(" (it says that it belongs to cluster %q)", cluster)
		}
	}
	return ""
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
