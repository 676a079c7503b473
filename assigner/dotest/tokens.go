package dotest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// token is one API token and what it has spent of its limits.
type token struct {
	label   string
	scopes  []string // nil: full access
	revoked bool
	spent   []time.Time // requests of the last hour, oldest first
}

// AssignScopes is the least that a token for buoy needs: reserved_ip:update
// and the scopes that DigitalOcean's console adds to it
// (https://docs.digitalocean.com/reference/api/scopes/).
func AssignScopes() []string {
	return []string{"reserved_ip:update", "reserved_ip:read", "droplet:read", "regions:read", "sizes:read", "actions:read", "image:read"}
}

// AddToken lets clients in that present secret. The journal calls it by its
// label. Without scopes it has full access, as DigitalOcean's own "full access"
// tokens; with scopes it has exactly those. Adding a known secret again
// replaces its label and scopes and restores it if it was revoked.
func (s *Server) AddToken(label, secret string, scopes ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[secret] = &token{label: label, scopes: slices.Clone(scopes)}
}

// RevokeToken makes the API answer 401 to all tokens with this label.
func (s *Server) RevokeToken(label string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tokens {
		if t.label == label {
			t.revoked = true
		}
	}
}

// identifyLocked finds the token of an Authorization header. An unknown one is
// a fresh token that is already revoked, so that it has a label for the journal.
func (s *Server) identifyLocked(authorization string) *token {
	secret, ok := strings.CutPrefix(authorization, "Bearer ")
	if !ok || secret == "" {
		return &token{label: "none", revoked: true}
	}
	if t, ok := s.tokens[secret]; ok {
		return t
	}
	return &token{label: "unknown", revoked: true}
}

func (s *Server) valid(t *token) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !t.revoked
}

// may tells whether the token has the scope; every token has the empty scope.
func (t *token) may(scope string) bool {
	return scope == "" || t.scopes == nil || slices.Contains(t.scopes, scope)
}

// rate is the state of a token's limits after a request.
type rate struct {
	limit      int
	remaining  int
	reset      time.Time // when the oldest request expires
	refused    bool
	retryAfter int // seconds, only when the limit of the minute refused it
}

// spend counts a request. Both limits slide: each request expires an hour (a
// minute) after it was made. A refused request is not counted; whether it is
// in reality is not documented.
func (t *token) spend(now time.Time, l Limits) rate {
	t.spent = t.spent[expired(t.spent, now.Add(-time.Hour)):]
	minute := t.spent[expired(t.spent, now.Add(-time.Minute)):]
	r := rate{limit: l.Hour, reset: now}
	switch {
	case len(t.spent) >= l.Hour:
		r.refused = true
	case len(minute) >= l.Minute:
		r.refused = true
		r.retryAfter = int(minute[0].Add(time.Minute).Sub(now)/time.Second) + 1
	default:
		t.spent = append(t.spent, now)
		r.remaining = l.Hour - len(t.spent)
	}
	if len(t.spent) > 0 {
		r.reset = t.spent[0].Add(time.Hour)
	}
	return r
}

// expired counts the leading times that are not after limit.
func expired(times []time.Time, limit time.Time) int {
	n, _ := slices.BinarySearchFunc(times, limit, func(t, limit time.Time) int {
		if t.After(limit) {
			return 1
		}
		return -1
	})
	return n
}

// describe sets the three headers that every answer carries.
func (r rate) describe(h http.Header) {
	h.Set("ratelimit-limit", strconv.Itoa(r.limit))
	h.Set("ratelimit-remaining", strconv.Itoa(r.remaining))
	h.Set("ratelimit-reset", strconv.FormatInt(r.reset.Unix(), 10))
}
