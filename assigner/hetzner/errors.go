package hetzner

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/cloudhttp"
)

// codeAlreadyAssigned is what the assign of an address that is here already gets, according to the
// API's reference; hcloud-go has no constant for it.
const codeAlreadyAssigned hcloud.ErrorCode = "floating_ip_assigned"

// apiError is an answer of the API that is not 2xx.
type apiError struct {
	status  int
	code    hcloud.ErrorCode // "" if the answer had none
	message string           // truncated
	request string           // the API's correlation ID
	remedy  string
}

// Error names status, code, the API's message, what to do, and the correlation ID that Hetzner's
// support asks for.
func (e *apiError) Error() string {
	s := fmt.Sprintf("the API answers %d", e.status)
	if e.code != "" {
		s += " " + cloudhttp.Truncate(string(e.code))
	}
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

// fault classes an error of hcloud-go, or an answer that is neither an error nor a 2xx. subject is
// what the request was about.
func fault(subject string, resp *hcloud.Response, err error) error {
	var connect *cloudhttp.ConnectError
	var refused hcloud.Error
	var network net.Error
	answered := resp != nil && resp.Response != nil
	switch {
	case errors.As(err, &connect):
		return &assigner.Error{Class: assigner.Own, Err: connect}
	case answered && resp.StatusCode/100 != 2:
		errors.As(err, &refused) // not all have a body that says more
		return status(subject, resp.Response, refused)
	case err == nil:
		return nonsense("no answer and no error about %s", subject)
	case answered && !errors.As(err, &network):
		return nonsense("%s", cloudhttp.Truncate(err.Error())) // it may quote the answer at any length
	}
	return &assigner.Error{Class: assigner.Shared, Err: err}
}

// status classes an answer by the API's code, or by its status if the code says nothing: a
// gateway's answers have none.
func status(subject string, r *http.Response, refused hcloud.Error) error {
	e := &apiError{
		status: r.StatusCode, code: refused.Code, message: cloudhttp.Truncate(refused.Message),
		request: cloudhttp.Truncate(r.Header.Get("X-Correlation-Id")),
	}
	out := &assigner.Error{Class: classOf(e.code, e.status), RetryAfter: cloudhttp.RetryAfter(r.Header), Err: e}
	if out.Class == assigner.Own || out.Class == assigner.Pending {
		out.RetryAfter = 0
	}
	if limited(e.code, e.status) {
		out.RetryAfter = max(out.RetryAfter, refill(r.Header))
	}
	switch {
	case e.status == http.StatusUnauthorized:
		e.remedy = "the token is wrong or deleted; check token_file"
	case e.status == http.StatusForbidden:
		e.remedy = "the token must be one for read & write"
	case e.status == http.StatusNotFound:
		e.remedy = "the token's project has no " + subject
	case e.status == http.StatusProxyAuthRequired:
		e.remedy = "the proxy of HTTPS_PROXY or HTTP_PROXY wants a password, or another proxy"
	case e.status/100 == 3:
		e.remedy = "redirects are not followed; set api_url to " + strconv.Quote(cloudhttp.Truncate(r.Header.Get("Location")))
	}
	return out
}

func classOf(code hcloud.ErrorCode, status int) assigner.Class {
	switch code {
	case hcloud.ErrorCodeUnauthorized, hcloud.ErrorCodeForbidden, hcloud.ErrorCodeNotFound,
		hcloud.ErrorCodeInvalidInput, hcloud.ErrorCodeJSONError, hcloud.ErrorUnsupportedError,
		hcloud.ErrorCodeProtected:
		return assigner.Own
	case hcloud.ErrorCodeConflict, hcloud.ErrorCodeLocked, hcloud.ErrorCodeResourceLocked,
		hcloud.ErrorCodeMaintenance, codeAlreadyAssigned:
		return assigner.Pending
	case hcloud.ErrorCodeRateLimitExceeded, hcloud.ErrorCodeServiceError, hcloud.ErrorCodeServerError,
		hcloud.ErrorCodeBadGateway, hcloud.ErrorCodeTimeout, hcloud.ErrorCodeResourceUnavailable,
		hcloud.ErrorCodeUnknownError:
		return assigner.Shared
	default:
		return classOfStatus(status)
	}
}

func classOfStatus(status int) assigner.Class {
	switch status {
	case http.StatusConflict, http.StatusUnprocessableEntity, http.StatusLocked:
		return assigner.Pending
	case http.StatusTooManyRequests, http.StatusRequestTimeout:
		return assigner.Shared
	}
	if status >= 500 {
		return assigner.Shared
	}
	return assigner.Own
}

func limited(code hcloud.ErrorCode, status int) bool {
	return code == hcloud.ErrorCodeRateLimitExceeded || status == http.StatusTooManyRequests
}

// refill is how long the API takes to grant one more request, 1 s to a minute. RateLimit-Reset is no
// use for that: it is when the whole hour's worth is back.
func refill(h http.Header) time.Duration {
	perHour, err := strconv.Atoi(h.Get("RateLimit-Limit"))
	if err != nil || perHour < 1 {
		return time.Second
	}
	return min(max(time.Hour/time.Duration(perHour), time.Second), cloudhttp.MaxRetryAfter)
}

// nonsense is a 2xx whose content cannot be true.
func nonsense(format string, args ...any) error {
	return assigner.Errorf(assigner.Shared, "the API makes no sense: "+format, args...)
}
