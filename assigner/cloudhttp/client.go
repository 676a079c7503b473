package cloudhttp

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/oauth2"
)

// NewClient returns what an SDK sends its requests with: the token as it is at that moment, and no
// redirects, since 307 and 308 would send a POST again.
func NewClient(base *Transport, token *TokenFile) *http.Client {
	// Not oauth2.NewClient: it would cache the token for ever (ReuseTokenSource), and a new file
	// would never be seen.
	return &http.Client{
		Transport:     &oauth2.Transport{Source: token, Base: base},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// BaseURL parses the URL given for key in the configuration, or def if none is. Its path ends in a
// slash, without which godo would drop the last element of a prefix. The error shows no password.
func BaseURL(key, given, def string) (*url.URL, error) {
	if given == "" {
		given = def
	}
	u, err := url.Parse(given)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%s %q: want http(s)://HOST[:PORT]/[PREFIX/]", key, redact(given))
	}
	if !strings.HasSuffix(u.Path, "/") {
		u.Path += "/"
	}
	return u, nil
}

// redact drops what may be a password in a URL.
func redact(u string) string {
	if _, host, ok := strings.Cut(u, "@"); ok {
		return "…@" + host
	}
	return u
}
