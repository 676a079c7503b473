package dotest

import (
	"cmp"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"time"
)

// Effect is what a fault does to a request.
type Effect int

// The effects. The last three let the request pass and spoil the action that
// it starts; the others replace the answer.
const (
	Pass     Effect = iota // no harm (a Fault with only a Delay)
	Refuse                 // answer Fault.Status (500 if 0) with the API's error body
	HTML                   // answer Fault.Status (502 if 0) with a gateway's HTML page
	Empty                  // answer 200 {}
	Truncate               // answer half of the JSON
	Hang                   // never answer; ends when the client hangs up
	Drop                   // close the connection without an answer

	ActionErrored // the action ends as errored, the holder stays
	ActionGone    // the move completes, but the action's ID answers 404 for ever (terraform-provider-digitalocean #1557)
	ActionDone    // the move completes, with the undocumented status "done" (same project, #711)
)

// Fault is a rule for requests to the API: those that match, at most Count of
// them, are held for Delay and then suffer Effect. Zero fields match anything.
type Fault struct {
	Method  string // "POST"
	Path    string // pattern of path.Match: "/v2/*/*/actions"
	Token   string // label
	Node    string // as the User-Agent names it
	Droplet int    // target of the assign

	// Count is how many requests the rule hits before it is spent; 0: it stays
	// until removed.
	Count int

	// Delay holds the request before anything is decided about it, and goes on
	// when the client has hung up: the request is processed all the same.
	Delay time.Duration

	Effect     Effect
	Status     int           // of Refuse and HTML
	RetryAfter time.Duration // of Refuse; sent in whole seconds if over 0

	// Accepted: process the request first, so that a change takes its course,
	// and apply Effect to the answer only.
	Accepted bool
}

// Inject adds a rule. The first rule in order of injection that matches a
// request is the one applied. The returned function takes it out again. A
// malformed Path is a bug of the caller and panics.
func (s *Server) Inject(f Fault) (remove func()) {
	if _, err := path.Match(f.Path, ""); err != nil {
		panic(fmt.Sprintf("dotest: fault path %q: %v", f.Path, err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rule := &f
	s.faults = append(s.faults, rule)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.dropFaultLocked(rule)
	}
}

// ClearFaults takes out all rules. Requests already held stay held.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

func (s *Server) dropFaultLocked(rule *Fault) {
	s.faults = slices.DeleteFunc(s.faults, func(f *Fault) bool { return f == rule })
}

// takeFault returns the rule for this request, counted; the zero Fault if none.
func (s *Server) takeFault(c *call) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rule := range s.faults {
		if !rule.matches(c) {
			continue
		}
		hit := *rule
		if rule.Count > 0 {
			if rule.Count--; rule.Count == 0 {
				s.dropFaultLocked(rule)
			}
		}
		return hit
	}
	return Fault{}
}

func (f *Fault) matches(c *call) bool {
	if f.Path != "" {
		if ok, _ := path.Match(f.Path, c.r.URL.Path); !ok { // the pattern was checked by Inject
			return false
		}
	}
	return (f.Method == "" || f.Method == c.r.Method) &&
		(f.Token == "" || f.Token == c.token.label) &&
		(f.Node == "" || f.Node == c.node) &&
		(f.Droplet == 0 || f.Droplet == int(c.body.DropletID))
}

// processes tells whether the request reaches the account at all.
func (f *Fault) processes() bool {
	switch f.Effect {
	case Pass, ActionErrored, ActionGone, ActionDone:
		return true
	default:
		return f.Accepted
	}
}

// spoil turns the true answer (the zero reply if the request was not
// processed) into what the client gets.
func (f *Fault) spoil(c *call, rep reply) reply {
	switch f.Effect {
	case Refuse:
		rep = failure(cmp.Or(f.Status, http.StatusInternalServerError), "")
		if secs := int(f.RetryAfter / time.Second); secs > 0 {
			c.header.Set("retry-after", strconv.Itoa(secs))
		}
	case HTML:
		rep = reply{status: cmp.Or(f.Status, http.StatusBadGateway), html: true}
	case Empty:
		rep = reply{status: http.StatusOK, body: struct{}{}}
	case Truncate:
		if rep.body == nil {
			rep = reply{status: http.StatusOK, body: map[string]any{"action": map[string]any{"id": firstActionID}}}
		}
		rep.truncate = true
	default: // the answer itself stays as it is
	}
	return rep
}
