package notify

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Schemes are the kinds of alert URLs.
var Schemes = []string{"smtp", "smtps", "slack", "generic+https", "generic+http"}

// parse makes a target of an alert URL. Its error does not quote the URL: it may hold a password.
func parse(raw string) (target, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" {
		return nil, errors.New("not a URL; allowed are smtp://, smtps://, slack://, generic+https://; a character such as @ or / in a password is written as %40, %2F")
	}
	switch u.Scheme {
	case "smtp", "smtps":
		return parseMail(u)
	case "slack":
		return parseSlack(raw)
	case "generic+https", "generic+http":
		return parseGeneric(u)
	}
	return nil, fmt.Errorf("unknown scheme; allowed are %s", strings.Join(Schemes, ", "))
}

// parseMail reads smtp://[user:password@]host[:port]/?from=ADDRESS&to=ADDRESS[,ADDRESS].
func parseMail(u *url.URL) (target, error) {
	m := &mailer{host: u.Hostname(), tls: startTLS, port: 587}
	if u.Scheme == "smtps" {
		m.tls, m.port = implicitTLS, 465
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("what follows ? is not from=ADDRESS&to=ADDRESS")
	}
	for key, values := range query {
		if !slices.Contains([]string{"from", "to", "starttls"}, key) || len(values) != 1 {
			return nil, fmt.Errorf("allowed after ? are from, to, starttls, each once")
		}
	}
	switch value := query.Get("starttls"); {
	case value == "no" && u.Scheme == "smtp":
		m.tls = noTLS
	case value != "" && value != "yes":
		return nil, errors.New("starttls: allowed are yes, which is the default, and, with smtp://, no")
	}
	if m.port, err = port(u, m.port); err != nil {
		return nil, err
	}
	m.user = u.User.Username()
	m.password, _ = u.User.Password()
	switch {
	case m.host == "":
		return nil, errors.New("the host is missing: smtp://user:password@host:587/?from=ADDRESS&to=ADDRESS")
	case u.Path != "" && u.Path != "/":
		return nil, errors.New("allowed after the host are :port and /?from=ADDRESS&to=ADDRESS")
	case (m.user == "") != (m.password == ""):
		return nil, errors.New("a user goes with a password: smtp://user:password@host")
	case m.user != "" && m.tls == noTLS:
		return nil, errors.New("a password with starttls=no would cross the network readable by all; leave starttls out")
	}
	if m.from, err = address("from", query.Get("from")); err != nil {
		return nil, err
	}
	for _, text := range strings.Split(query.Get("to"), ",") {
		to, err := address("to", text)
		if err != nil {
			return nil, err
		}
		m.to = append(m.to, to)
	}
	m.hide = redactor(m.password, base64.StdEncoding.EncodeToString([]byte(m.password)),
		base64.StdEncoding.EncodeToString([]byte("\x00"+m.user+"\x00"+m.password)))
	return m, nil
}

// address wants a mail address alone. An unescaped + in a query means a space.
func address(key, text string) (string, error) {
	a, err := mail.ParseAddress(strings.ReplaceAll(text, " ", "+"))
	if err != nil || a.Name != "" {
		return "", fmt.Errorf("%s: missing or not a mail address; wanted is ?from=buoy@example.com&to=ops@example.com", key)
	}
	return a.Address, nil
}

func port(u *url.URL, def int) (int, error) {
	if u.Port() == "" {
		return def, nil
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || n == 0 {
		return 0, errors.New("the port is not 1..65535")
	}
	return int(n), nil
}

// slackToken is what a webhook of Slack consists of, in the forms slack://hook:T0-B0-X@webhook and
// slack://T0/B0/X.
var slackToken = regexp.MustCompile(`^slack://(?:hook:([A-Z0-9]+)-([A-Z0-9]+)-([A-Za-z0-9]+)@webhook/?|([A-Z0-9]+)/([A-Z0-9]+)/([A-Za-z0-9]+))$`)

// slackBase is where the webhooks of Slack are.
const slackBase = "https://hooks.slack.com/services/"

func parseSlack(raw string) (target, error) {
	m := slackToken.FindStringSubmatch(raw)
	if m == nil {
		return nil, errors.New("wanted is slack://T000/B000/XXXX for the webhook https://hooks.slack.com/services/T000/B000/XXXX")
	}
	parts := m[1:4]
	if parts[0] == "" {
		parts = m[4:7]
	}
	address := slackBase + strings.Join(parts, "/")
	return newWebhook("slack://hooks.slack.com", address, slackBody, redactor(append(parts, address)...)), nil
}

func parseGeneric(u *url.URL) (target, error) {
	if u.Hostname() == "" || u.Fragment != "" {
		return nil, errors.New("wanted is generic+https://host/path")
	}
	if _, err := port(u, 443); err != nil {
		return nil, err
	}
	name := u.Scheme + "://" + u.Host
	to := *u
	to.Scheme = strings.TrimPrefix(u.Scheme, "generic+")
	// What may be secret: all but the scheme and the host.
	secrets := []string{to.String(), to.RequestURI(), strings.Trim(to.Path, "/"), to.RawQuery}
	secrets = append(secrets, strings.Split(to.EscapedPath(), "/")...)
	for _, values := range to.Query() {
		secrets = append(secrets, values...)
	}
	if password, ok := u.User.Password(); ok {
		secrets = append(secrets, password, u.User.String())
	}
	return newWebhook(name, to.String(), genericBody, redactor(secrets...)), nil
}

// redactor replaces secrets in the errors of others, who quote what they like. What is shorter
// than four bytes would match anything.
func redactor(secrets ...string) func(error) error {
	var pairs []string
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	for _, s := range secrets {
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s)} {
			if len(form) >= 4 {
				pairs = append(pairs, form, "[redacted]")
			}
		}
	}
	r := strings.NewReplacer(pairs...)
	return func(err error) error {
		var wrapped *url.Error // "Post "URL": cause"
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return errors.New(r.Replace(err.Error()))
	}
}

// hostPort joins what a dialer wants.
func (m *mailer) hostPort() string { return net.JoinHostPort(m.host, strconv.Itoa(m.port)) }
