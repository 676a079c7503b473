package api

import (
	"context"
	"net/http"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

// PeerHandler serves the members' TLS port. Whoever has the cluster secret gets this
// far: anybody may probe, look and ask to join, the rest is for members. Nothing here
// is passed on to a third node, so requests cannot go round in circles.
func PeerHandler(p Peer, v Viewer, caller Caller) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, v.View())
	})
	mux.HandleFunc("GET /peer/contact", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, p.Contact())
	})
	mux.HandleFunc("POST /peer/join", func(w http.ResponseWriter, r *http.Request) {
		var c fsm.Contact
		if err := readJSON(w, r, maxJoin, &c); err != nil {
			writeError(w, err)
			return
		}
		if id, _ := caller(r.Context()); c.ID != id {
			writeError(w, fsm.Refusef("node %q cannot ask to join in the name of %q", id, c.ID))
			return
		}
		answer(w, r, admitTimeout, func(ctx context.Context) error { return p.Admit(ctx, c) })
	})
	mux.HandleFunc("POST /peer/confirm", membersOnly(caller, func(w http.ResponseWriter, r *http.Request) {
		var q fsm.Suspicion
		if err := readJSON(w, r, maxSmall, &q); err != nil {
			writeError(w, err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), confirmTimeout)
		defer cancel()
		writeJSON(w, http.StatusOK, p.Confirm(ctx, q))
	}))
	mux.HandleFunc("POST /peer/report", membersOnly(caller, func(w http.ResponseWriter, r *http.Request) {
		var report fsm.Report
		if err := readJSON(w, r, maxReport, &report); err != nil {
			writeError(w, err)
			return
		}
		if id, _ := caller(r.Context()); report.Member != id {
			writeError(w, fsm.Refusef("node %q cannot report for %q", id, report.Member))
			return
		}
		answer(w, r, reportTimeout, func(ctx context.Context) error { return p.Receive(ctx, report) })
	}))
	mux.HandleFunc("POST /peer/selftest", membersOnly(caller, func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, selfTestTimeout, p.SelfTest)
	}))
	mux.HandleFunc("POST /peer/transfer", membersOnly(caller, transfer(p)))
	mux.HandleFunc("POST /peer/drain", membersOnly(caller, drain(p)))
	mux.HandleFunc("POST /peer/undrain", membersOnly(caller, undrain(p)))
	mux.HandleFunc("POST /peer/pause", membersOnly(caller, pause(p)))
	mux.HandleFunc("POST /peer/resume", membersOnly(caller, resume(p)))
	return mux
}

// membersOnly refuses callers that the raft configuration does not know.
func membersOnly(caller Caller, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, member := caller(r.Context())
		if !member {
			writeError(w, fsm.Refusef("node %q is not a member of this cluster", id))
			return
		}
		next(w, r)
	}
}

// answer runs do within timeout and answers with {} or with its error.
func answer(w http.ResponseWriter, r *http.Request, timeout time.Duration, do func(context.Context) error) {
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	if err := do(ctx); err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, struct{}{})
}
