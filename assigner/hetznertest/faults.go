package hetznertest

import (
	"cmp"
	"net/http"
	"path"
	"slices"
	"time"
)

// Effect is what a fault does to a request.
type Effect int

// The effects. The last two let the request pass and spoil the action that it starts; the others
// replace the answer.
const (
	Pass     Effect = iota // no harm
	Refuse                 // answer Fault.Status (500 if 0) with an error of Fault.Code
	HTML                   // answer Fault.Status (502 if 0) with a gateway's page
	Empty                  // answer 200 {}
	Truncate               // answer half of the JSON
	Hang                   // never answer; ends when the client hangs up
	Drop                   // close the connection without an answer

	ActionError // the action ends in an error, the holder stays
	ActionGone  // the move completes, but the action's number answers 404
)

// Fault is a rule for requests to the API. Zero fields match anything.
type Fault struct {
	Method string // "POST"
	Path   string // pattern of path.Match: "/floating_ips/*/actions/assign"
	Count  int    // how many requests it hits before it is spent; 0: no end

	Effect     Effect
	Status     int           // of Refuse and HTML
	Code       string        // of Refuse; "" = "server_error"
	RetryAfter time.Duration // of Refuse; sent in whole seconds if over 0

	// Accepted: process the request first, and apply Effect to the answer only.
	Accepted bool
}

// Inject adds a rule. The first that matches a request is the one applied.
func (s *Server) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// ClearFaults takes out all rules.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

func (s *Server) takeFaultLocked(r *http.Request) Fault {
	for i, f := range s.faults {
		if f.Method != "" && f.Method != r.Method {
			continue
		}
		if ok, _ := path.Match(cmp.Or(f.Path, r.URL.Path), r.URL.Path); !ok {
			continue
		}
		if f.Count--; f.Count == 0 {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
		return *f
	}
	return Fault{}
}

// processes tells whether the request reaches the project at all.
func (f Fault) processes() bool {
	return f.Accepted || f.Effect == Pass || f.Effect == ActionError || f.Effect == ActionGone
}
