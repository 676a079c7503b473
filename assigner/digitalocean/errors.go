package digitalocean

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/digitalocean/godo"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/cloudhttp"
)

const (
	headerReset  = "Ratelimit-Reset"
	defaultRetry = time.Second
)

// apiError is an answer of the API that is not 2xx.
type apiError struct {
	status  int
	message string // truncated
	request string // the API's request ID
	remedy  string
}

// Error names status, the API's message, what to do, and the request ID that DigitalOcean's support
// asks for.
func (e *apiError) Error() string {
	s := fmt.Sprintf("the API answers %d", e.status)
	if e.message != "" {
		s += fmt.Sprintf(" %q", e.message)
	}
	if e.request != "" {
		s += " (request " + e.request + ")"
	}
	if e.remedy != "" {
		s += ": " + e.remedy
	}
	return s
}

// fault classes an error of godo. subject is what the request was about.
func fault(subject string, err error) error {
	var refused *godo.ErrorResponse
	var connect *cloudhttp.ConnectError
	var token *cloudhttp.TokenError
	switch {
	case errors.As(err, &refused) && refused.Response != nil:
		return status(subject, refused)
	case errors.As(err, &connect):
		return &assigner.Error{Class: assigner.Own, Err: connect}
	case errors.As(err, &token):
		return &assigner.Error{Class: assigner.Own, Err: token}
	}
	return &assigner.Error{Class: assigner.Shared, Err: err}
}

// status classes an answer by its status alone: the body's texts are not documented, and a
// gateway's are not even JSON.
func status(subject string, r *godo.ErrorResponse) error {
	e := &apiError{status: r.Response.StatusCode, message: cloudhttp.Truncate(r.Message), request: cloudhttp.Truncate(r.RequestID)}
	out := &assigner.Error{Class: assigner.Own, Err: e}
	switch s := e.status; {
	case s == http.StatusUnauthorized:
		e.remedy = "the token is wrong, expired or revoked; check token_file"
	case s == http.StatusForbidden:
		e.remedy = "the token lacks a scope; it needs reserved_ip:update, which brings reserved_ip:read, droplet:read and actions:read"
	case s == http.StatusProxyAuthRequired:
		e.remedy = "the proxy of HTTPS_PROXY or HTTP_PROXY wants a password, or another proxy"
	case s == http.StatusNotFound:
		e.remedy = "the token's account has no " + subject
	case s >= 300 && s < 400:
		e.remedy = "redirects are not followed; set api_url to " + strconv.Quote(cloudhttp.Truncate(r.Response.Header.Get("Location")))
	case s == http.StatusUnprocessableEntity || s == http.StatusConflict || s == http.StatusLocked:
		out.Class = assigner.Pending
	case s == http.StatusTooManyRequests:
		out.Class, out.RetryAfter = assigner.Shared, max(retryAfter(r.Response.Header, time.Now()), defaultRetry)
	case s >= 500 || s == http.StatusRequestTimeout:
		out.Class, out.RetryAfter = assigner.Shared, cloudhttp.RetryAfter(r.Response.Header)
	}
	return out
}

// retryAfter is how long a 429 wants to be left alone, at most a minute. Retry-After comes with a
// burst and is then the shorter, true figure; ratelimit-reset (Unix seconds) is when the oldest
// request of the last hour is forgotten.
// https://docs.digitalocean.com/reference/api/reference/rate-limit/
func retryAfter(h http.Header, now time.Time) time.Duration {
	if d := cloudhttp.RetryAfter(h); d > 0 {
		return d
	}
	reset, err := strconv.ParseInt(h.Get(headerReset), 10, 64)
	if err != nil || reset <= 0 {
		return 0
	}
	return min(max(time.Unix(reset, 0).Sub(now), 0), cloudhttp.MaxRetryAfter)
}

// nonsense is a 2xx whose content cannot be true.
func nonsense(format string, args ...any) error {
	return assigner.Errorf(assigner.Shared, "the API makes no sense: "+format, args...)
}
