package cloudhttp

import (
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// MaxRetryAfter bounds how long an API can make us wait.
const MaxRetryAfter = time.Minute

const maxMessage = 200 // characters of an API's own words that reach a log

// RetryAfter reads the header of that name in seconds (RFC 9110, 10.2.3; no API here uses dates): at
// most MaxRetryAfter, 0 if it is absent or senseless.
func RetryAfter(h http.Header) time.Duration {
	s, err := strconv.ParseInt(h.Get("Retry-After"), 10, 32)
	if err != nil || s <= 0 {
		return 0
	}
	return min(time.Duration(s)*time.Second, MaxRetryAfter)
}

// Truncate makes a stranger's text fit for a log line.
func Truncate(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if r := []rune(s); len(r) > maxMessage {
		return string(r[:maxMessage]) + "…"
	}
	return s
}
