package notify

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/mail"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/buoy-lb/buoy/fsm"
)

const (
	mailUser     = "alerts@example.com"
	mailPassword = "p@ss/word hush"
)

// mailServer is an SMTP server on loopback, of another author than the client. It takes mail from
// who has logged in inside TLS.
type mailServer struct {
	t     *testing.T
	roots *x509.CertPool
	addr  string
	open  bool // takes mail without a login

	mu      sync.Mutex
	letters []letter
}

// letter is a mail as it came in.
type letter struct {
	secure bool
	from   string
	to     []string
	data   string
}

// newMailServer listens; change may alter the server first.
func newMailServer(t *testing.T, implicit bool, change func(*mailServer, *smtp.Server)) *mailServer {
	t.Helper()
	m := &mailServer{t: t, roots: x509.NewCertPool()}
	cert := certificate(t, m.roots, "127.0.0.1")
	s := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &session{m: m, c: c}, nil
	}))
	s.Domain, s.TLSConfig, s.ErrorLog = "mail.example.com", &tls.Config{Certificates: []tls.Certificate{cert}}, quiet{}
	if change != nil {
		change(m, s)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.addr = l.Addr().String()
	if implicit {
		l = tls.NewListener(l, s.TLSConfig)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return m
}

// certificate makes a self-signed one for ip, which roots trust from then on.
func certificate(t *testing.T, roots *x509.CertPool, ip string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(ip)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// session is one connection to a mailServer.
type session struct {
	m      *mailServer
	c      *smtp.Conn
	in     bool
	letter letter
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != mailUser || password != mailPassword {
			return &smtp.SMTPError{Code: 535, Message: "no such user " + user + " with " + password}
		}
		s.in = true
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if !s.in && !s.m.open {
		return smtp.ErrAuthRequired
	}
	_, s.letter.secure = s.c.TLSConnectionState()
	s.letter.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.letter.to = append(s.letter.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	s.letter.data = string(data)
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.letters = append(s.m.letters, s.letter)
	return err
}

func (s *session) Reset()        { s.letter = letter{} }
func (s *session) Logout() error { return nil }

// target is a URL's, which trusts the server's certificate.
func (m *mailServer) target(url string) *mailer {
	m.t.Helper()
	parsed, err := parse(strings.NewReplacer("HOST", m.addr, "USER", "alerts%40example.com", "PASSWORD", "p%40ss%2Fword%20hush").Replace(url))
	if err != nil {
		m.t.Fatal(err)
	}
	to := parsed.(*mailer)
	to.roots = m.roots
	return to
}

const mailURL = "smtp://USER:PASSWORD@HOST/?from=buoy@example.com&to=ops@example.com,on-call+web@example.com"

var testMessage = testIdentity.message(alert{
	event: fsm.Event{
		Kind: fsm.EventMoved, Subject: "203.0.113.10", From: "lb2", Reason: "lb2 ist tot – “Ausfall”", State: fsm.VRRPMaster,
		Term: 7, Leader: "lb1", At: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC),
	},
	times: 1, since: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC),
})

func TestMailByTLSWithAPassword(t *testing.T) {
	for _, implicit := range []bool{false, true} {
		m := newMailServer(t, implicit, nil)
		url := mailURL
		if implicit {
			url = strings.Replace(url, "smtp:", "smtps:", 1)
		}
		if err := m.target(url).send(t.Context(), testMessage); err != nil {
			t.Fatalf("implicit %v: %v", implicit, err)
		}
		if len(m.letters) != 1 {
			t.Fatalf("%d letters", len(m.letters))
		}
		got := m.letters[0]
		if !got.secure || got.from != "buoy@example.com" || strings.Join(got.to, " ") != "ops@example.com on-call+web@example.com" {
			t.Errorf("envelope %+v", got)
		}
		read, err := mail.ReadMessage(strings.NewReader(got.data))
		if err != nil {
			t.Fatal(err)
		}
		if s := read.Header.Get("Subject"); s != "buoy web: lb1 has taken 203.0.113.10 from lb2" {
			t.Errorf("subject %q", s)
		}
		for _, header := range []string{"Message-Id", "Date", "From", "To", "Auto-Submitted"} {
			if read.Header.Get(header) == "" {
				t.Errorf("no %s in\n%s", header, got.data)
			}
		}
		if !strings.Contains(got.data, "Why: lb2 ist tot") {
			t.Errorf("text\n%s", got.data)
		}
	}
}

// What must not happen to a password: to go to a server that cannot prove its name, or one
// without TLS, or into an error.
func TestMailKeepsThePassword(t *testing.T) {
	refused := func(name, url, want string, m *mailServer, trusted bool) {
		t.Helper()
		to := m.target(url)
		if !trusted {
			to.roots = nil
		}
		err := to.send(t.Context(), testMessage)
		if err == nil || !strings.Contains(err.Error(), want) || len(m.letters) > 0 {
			t.Errorf("%s: %v, want %q; %d letters", name, err, want, len(m.letters))
		}
		if err != nil && (strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "cEBzcy93b3JkIGh1c2g")) {
			t.Errorf("%s: the error holds the password: %v", name, err)
		}
	}
	refused("unknown issuer", mailURL, "certificate", newMailServer(t, false, nil), false)
	refused("unknown issuer, implicit", strings.Replace(mailURL, "smtp:", "smtps:", 1), "certificate", newMailServer(t, true, nil), false)
	refused("another's certificate", mailURL, "127.0.0.2", newMailServer(t, false, func(m *mailServer, s *smtp.Server) {
		s.TLSConfig.Certificates[0] = certificate(t, m.roots, "127.0.0.2")
	}), true)
	refused("no STARTTLS", mailURL, "STARTTLS", newMailServer(t, false, func(_ *mailServer, s *smtp.Server) {
		s.TLSConfig, s.AllowInsecureAuth = nil, true
	}), true)
	refused("wrong password", strings.Replace(mailURL, "PASSWORD", "PASSWORDhush", 1), "535", newMailServer(t, false, nil), true)
	refused("no password", "smtp://HOST/?from=buoy@example.com&to=ops@example.com", "authenticate", newMailServer(t, false, nil), true)
}

func TestMailToALocalRelay(t *testing.T) {
	m := newMailServer(t, false, func(m *mailServer, s *smtp.Server) { m.open, s.TLSConfig = true, nil })
	if err := m.target("smtp://HOST/?from=buoy@example.com&to=ops@example.com&starttls=no").send(t.Context(), testMessage); err != nil {
		t.Fatal(err)
	}
	if len(m.letters) != 1 || m.letters[0].secure {
		t.Errorf("got %+v", m.letters)
	}
}

// A server that accepts and then says nothing: the end of the context ends the attempt, and the
// connection is not left open.
func TestMailToAServerThatHangs(t *testing.T) {
	for _, url := range []string{"smtp://HOST/?from=a@example.com&to=b@example.com", "smtps://HOST/?from=a@example.com&to=b@example.com"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			c, err := l.Accept()
			if err == nil {
				defer c.Close()
				cancel()
				_, err = io.Copy(io.Discard, c)
			}
			ended <- err
		}()
		m := &mailServer{t: t, addr: l.Addr().String()}
		if err := m.target(url).send(ctx, testMessage); err == nil {
			t.Error("sent")
		}
		select {
		case err := <-ended:
			if err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Error("the connection is left open")
		}
		_ = l.Close()
	}
}

// A server that refuses and then waits: the connection is not left open either.
func TestMailToAServerThatRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			_, _ = io.WriteString(c, "220 mail\r\n")
			lines := bufio.NewScanner(c)
			for lines.Scan() {
				_, _ = io.WriteString(c, "554 not today\r\n")
			}
			err = lines.Err()
		}
		ended <- err
	}()
	m := &mailServer{t: t, addr: l.Addr().String()}
	if err := m.target(mailURL).send(t.Context(), testMessage); err == nil || !strings.Contains(err.Error(), "554") {
		t.Errorf("got %v", err)
	}
	var timeout net.Error
	if err := <-ended; errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the connection is left open")
	}
}

func TestMailToNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	m := &mailServer{t: t, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	if err := m.target(mailURL).send(t.Context(), testMessage); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v", err)
	}
}
