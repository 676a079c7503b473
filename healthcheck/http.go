package healthcheck

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// maxBody bounds what is read of a response, in bytes.
const maxBody = 64 << 10

// HTTP is the kind `http`: a GET of URL is answered with one of the wanted
// status codes. Redirects are answers, they are not followed; no proxy is
// used; certificates are verified.
type HTTP struct {
	URL    string
	Status []int // wanted; empty means 200 to 299
}

var _ Checker = HTTP{}

// Check sends one request on a connection of its own.
func (h HTTP) Check(ctx context.Context) Result {
	status, err := get(ctx, h.URL)
	switch {
	case classify(err) == silent:
		return Result{Cause: "no answer", Output: "GET " + h.URL + ": no answer within the timeout"}
	case err != nil:
		return Result{Cause: "refused", Output: err.Error()}
	}
	out := fmt.Sprintf("GET %s: status %d", h.URL, status)
	if slices.Contains(h.Status, status) || len(h.Status) == 0 && status/100 == 2 {
		return Result{State: Good, Output: out}
	}
	return Result{Cause: "status", Output: out}
}

// get sends one GET on a connection of its own and returns the status code,
// once the body has ended or maxBody has come. A kept connection would hide
// that nothing listens any more, and keep an old HAProxy worker alive.
// http.Transport is not used because it goes on dialling when the caller has
// given up, for as long as the kernel tries: against a firewall that drops,
// every look would leave a goroutine and a socket behind.
func get(ctx context.Context, target string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return 0, err
	}
	req.Close = true
	req.Header.Set("User-Agent", "buoy-healthcheck")
	status, err := roundTrip(ctx, req)
	if err != nil {
		return 0, fmt.Errorf("GET %s: %w", target, err)
	}
	return status, nil
}

func roundTrip(ctx context.Context, req *http.Request) (int, error) {
	conn, err := dialURL(ctx, req.URL)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := req.Write(conn); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, maxBody)), req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // cut at maxBody, or a sloppy server: the status has come
	}
	return resp.StatusCode, err
}

// dialURL connects to the server of an http or https URL.
func dialURL(ctx context.Context, u *url.URL) (net.Conn, error) {
	var plain net.Dialer
	switch u.Scheme {
	case "http":
		return plain.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80")))
	case "https":
		var d tls.Dialer
		return d.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")))
	default:
		return nil, fmt.Errorf("scheme %q: want http or https", u.Scheme)
	}
}
