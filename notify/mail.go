package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"github.com/wneessen/go-mail"
)

// tlsMode is how a connection to a mail server is protected.
type tlsMode int

const (
	startTLS    tlsMode = iota // demanded, not merely tried
	implicitTLS                // from the first byte
	noTLS                      // never with a password
)

// mailer sends alerts as mail.
type mailer struct {
	host           string
	port           int
	tls            tlsMode
	user, password string
	from           string
	to             []string
	hide           func(error) error
	roots          *x509.CertPool // nil: the system's
}

func (m *mailer) name() string {
	scheme := "smtp"
	if m.tls == implicitTLS {
		scheme = "smtps"
	}
	return scheme + "://" + m.hostPort()
}

// send makes one mail to all recipients.
func (m *mailer) send(ctx context.Context, alert message) error {
	letter, err := m.letter(alert)
	if err != nil {
		return m.hide(err)
	}
	// The library leaves the connection open on some errors, and bounds the conversation, yet not
	// by ctx: the connection is ours.
	hangUp := func() {}
	defer func() { hangUp() }()
	dial := func(_ context.Context, network, address string) (net.Conn, error) {
		conn, err := m.dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		hangUp = func() { stop(); _ = conn.Close() }
		return conn, nil
	}
	client, err := mail.NewClient(m.host, append(m.options(), mail.WithDialContextFunc(dial))...)
	if err != nil {
		return m.hide(err)
	}
	if err := client.DialAndSendWithContext(ctx, letter); err != nil {
		return m.hide(fmt.Errorf("%s: %w", m.name(), err))
	}
	return nil
}

// letter is the mail.
func (m *mailer) letter(alert message) (*mail.Msg, error) {
	letter := mail.NewMsg()
	letter.Subject(alert.Title)
	letter.SetDate()
	letter.SetMessageID()
	letter.SetGenHeader("Auto-Submitted", "auto-generated") // no answers from the absent (RFC 3834)
	letter.SetBodyString(mail.TypeTextPlain, alert.Text)
	return letter, errors.Join(letter.From(m.from), letter.To(m.to...))
}

func (m *mailer) options() []mail.Option {
	options := []mail.Option{mail.WithPort(m.port), mail.WithTimeout(sendBound), mail.WithTLSConfig(m.tlsConfig())}
	switch m.tls {
	case noTLS:
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	case startTLS:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	case implicitTLS:
		options = append(options, mail.WithSSL())
	}
	if m.user != "" { // always inside TLS, where a plain password is what every server takes
		options = append(options, mail.WithUsername(m.user), mail.WithPassword(m.password),
			mail.WithOpportunisticSMTPAuth(mail.SMTPAuthPlain, mail.SMTPAuthLogin, mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthCramMD5))
	}
	return options
}

func (m *mailer) tlsConfig() *tls.Config {
	return &tls.Config{ServerName: m.host, MinVersion: tls.VersionTLS12, RootCAs: m.roots}
}

// dial connects; with implicit TLS the server has proved its name when it returns.
func (m *mailer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if m.tls == implicitTLS {
		return (&tls.Dialer{Config: m.tlsConfig()}).DialContext(ctx, network, address)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}
