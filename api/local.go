package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/buoy-lb/buoy/fsm"
)

// joinRequest is the body of POST /join.
type joinRequest struct {
	Address string `json:"address"`
}

// joinLine is one line of the answer to POST /join: any number with Progress, then
// exactly one with Done or with an error.
type joinLine struct {
	Progress string `json:"progress,omitempty"`
	Done     bool   `json:"done,omitempty"`
	problem
}

// LocalHandler serves the unix socket, whose mode decides who may ask.
func LocalHandler(v Viewer, a Admin) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, v.Status(r.Context()))
	})
	mux.HandleFunc("GET /leader", func(w http.ResponseWriter, _ *http.Request) {
		leader, ok := v.View().Leader()
		if !ok {
			writeError(w, &fsm.NotLeaderError{})
			return
		}
		writeJSON(w, http.StatusOK, leader)
	})
	mux.HandleFunc("POST /init", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, initTimeout, a.Init)
	})
	mux.HandleFunc("POST /join", func(w http.ResponseWriter, r *http.Request) { join(w, r, a) })
	mux.HandleFunc("POST /transfer", transfer(a))
	mux.HandleFunc("POST /drain", drain(a))
	mux.HandleFunc("POST /undrain", undrain(a))
	mux.HandleFunc("POST /pause", pause(a))
	mux.HandleFunc("POST /resume", resume(a))
	return mux
}

// join streams one JSON document a line while the node joins. It ends early when the
// client goes away.
func join(w http.ResponseWriter, r *http.Request, a Admin) {
	var req joinRequest
	if err := readJSON(w, r, maxSmall, &req); err != nil {
		writeError(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), localJoinTimeout)
	defer cancel()
	w.Header().Set("Content-Type", "application/x-ndjson")
	rc, lines := http.NewResponseController(w), json.NewEncoder(w)
	send := func(l joinLine) {
		_ = lines.Encode(l) // a client that has gone cancels ctx, which ends Join
		_ = rc.Flush()
	}
	if err := a.Join(ctx, req.Address, func(s string) { send(joinLine{Progress: s}) }); err != nil {
		send(joinLine{problem: toProblem(err)})
		return
	}
	send(joinLine{Done: true})
}

// PublicHandler serves people, probes and load balancers, read-only:
//
//	GET /status   the cluster's Status
//	GET /leader   200 and the leader's name, 503 when none is known
//	GET /master   200 only on the confirmed holder of the address, else 503
//	GET /healthz  200 while the daemon's loop turns over, else 503
func PublicHandler(v Viewer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, v.Status(r.Context()))
	})
	mux.HandleFunc("GET /leader", func(w http.ResponseWriter, _ *http.Request) {
		leader, ok := v.View().Leader()
		writeText(w, ok, leader.ID, "no leader is known")
	})
	mux.HandleFunc("GET /master", func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, v.View().Master(), "master", "not the master")
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, v.Alive(), "ok", "the daemon's loop does not turn over")
	})
	return mux
}

// writeText answers 200 with yes, or 503 with no.
func writeText(w http.ResponseWriter, ok bool, yes, no string) {
	status, text := http.StatusOK, yes
	if !ok {
		status, text = http.StatusServiceUnavailable, no
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}
