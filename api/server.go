package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/buoy-lb/buoy/fsm"
)

// What a request may cost before anything is known about its sender.
const (
	readHeaderTimeout = 2 * time.Second
	readTimeout       = 3 * time.Second  // of headers and body together
	idleTimeout       = 90 * time.Second // longer than a client keeps its connection
	maxHeader         = 8 << 10
	maxJoin           = 8 << 10
	maxReport         = 64 << 10
	maxSmall          = 1 << 10 // a name or an address
	maxProblem        = 16 << 10
	maxAnswer         = 4 << 20
)

// How long a handler works on a request. A client gives up a little later, so that
// the error it shows is the one that names the cause.
const (
	reportTimeout    = 2 * time.Second
	selfTestTimeout  = 2 * time.Second
	confirmTimeout   = time.Second // a few looks at a leader: see cluster
	admitTimeout     = 45 * time.Second
	transferTimeout  = 15 * time.Second
	drainTimeout     = 5 * time.Second
	pauseTimeout     = 5 * time.Second
	initTimeout      = 15 * time.Second
	localJoinTimeout = 2 * time.Minute
)

// Viewer shows the cluster. Its methods are called concurrently and return soon.
type Viewer interface {
	// Status is the cluster's view: the leader's if it answers, else the node's own.
	Status(ctx context.Context) Status
	// View is this node's own view. It asks nobody.
	View() Status
	// Alive says that the daemon's loop turned over lately.
	Alive() bool
}

// Mover carries out what an operator plans.
type Mover interface {
	// Transfer moves leadership to the member named target, or to the best other one
	// if target is empty, and returns the new leader's name once it leads.
	Transfer(ctx context.Context, target string) (to string, err error)
	// Drain marks the member as drained for d, or until undrained if d is 0, and returns
	// when that is committed. It is refused if nobody would be eligible, unless force is
	// set.
	Drain(ctx context.Context, member string, d time.Duration, force bool) error
	// Undrain ends the member's mark, if it has one.
	Undrain(ctx context.Context, member string) error
	// Pause forbids all members to write to the cloud until Resume, and returns when that is
	// committed and no claim is in flight. by names the member that an operator asked.
	Pause(ctx context.Context, by string) error
	// Resume ends a pause, if there is one.
	Resume(ctx context.Context) error
}

// Admin changes this node's place in the cluster at an operator's request.
type Admin interface {
	Mover
	// Init makes this node the first member of a new cluster.
	Init(ctx context.Context) error
	// Join makes it a voting member of the cluster to which address belongs and tells
	// progress on the way, one line a call.
	Join(ctx context.Context, address string, progress func(string)) error
}

// Peer answers the other members. No method asks a third node.
type Peer interface {
	Mover
	Contact() fsm.Contact
	// Confirm says whether this node, too, finds the leader gone.
	Confirm(ctx context.Context, q fsm.Suspicion) fsm.Testimony
	// Receive takes a member's health report into the log; only the leader can.
	Receive(ctx context.Context, r fsm.Report) error
	// SelfTest asks the provider whether this node could claim.
	SelfTest(ctx context.Context) error
	// Admit takes a joining node into the cluster; only the leader can.
	Admit(ctx context.Context, c fsm.Contact) error
}

// Caller tells who sent the request with this context, from the verified certificate,
// and whether that is a member of the cluster.
type Caller func(ctx context.Context) (id string, member bool)

// NewServer returns a server with the limits that suit a port which strangers reach.
// The caller owns it and must close it. A nil logger is silent.
func NewServer(h http.Handler, logger hclog.Logger) *http.Server {
	errorLog := log.New(io.Discard, "", 0)
	if logger != nil {
		errorLog = logger.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug})
	}
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          errorLog,
	}
}

// transferRequest and transferAnswer are the bodies of POST /transfer.
type (
	transferRequest struct {
		Target string `json:"target"`
	}
	transferAnswer struct {
		To string `json:"to"`
	}
)

// transfer serves POST /transfer for m.
func transfer(m Mover) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req transferRequest
		if err := readJSON(w, r, maxSmall, &req); err != nil {
			writeError(w, err)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), transferTimeout)
		defer cancel()
		to, err := m.Transfer(ctx, req.Target)
		if err != nil {
			writeError(w, err)
			return
		}
		writeJSON(w, http.StatusOK, transferAnswer{To: to})
	}
}

// drainRequest and undrainRequest are the bodies of POST /drain and /undrain.
type (
	drainRequest struct {
		Member string `json:"member"`
		// For is in nanoseconds; 0: until undrained.
		For   time.Duration `json:"for"`
		Force bool          `json:"force"`
	}
	undrainRequest struct {
		Member string `json:"member"`
	}
)

// drain serves POST /drain for m.
func drain(m Mover) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req drainRequest
		if err := readJSON(w, r, maxSmall, &req); err != nil {
			writeError(w, err)
			return
		}
		answer(w, r, drainTimeout, func(ctx context.Context) error { return m.Drain(ctx, req.Member, req.For, req.Force) })
	}
}

// undrain serves POST /undrain for m.
func undrain(m Mover) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req undrainRequest
		if err := readJSON(w, r, maxSmall, &req); err != nil {
			writeError(w, err)
			return
		}
		answer(w, r, drainTimeout, func(ctx context.Context) error { return m.Undrain(ctx, req.Member) })
	}
}

// pauseRequest is the body of POST /pause.
type pauseRequest struct {
	By string `json:"by"`
}

// pause serves POST /pause for m.
func pause(m Mover) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req pauseRequest
		if err := readJSON(w, r, maxSmall, &req); err != nil {
			writeError(w, err)
			return
		}
		answer(w, r, pauseTimeout, func(ctx context.Context) error { return m.Pause(ctx, req.By) })
	}
}

// resume serves POST /resume for m.
func resume(m Mover) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { answer(w, r, pauseTimeout, m.Resume) }
}

// readJSON decodes the body, at most limit bytes of it.
func readJSON(w http.ResponseWriter, r *http.Request, limit int64, v any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &badRequest{http.StatusRequestEntityTooLarge, fmt.Sprintf("the request is larger than %d bytes", limit)}
	case err != nil:
		return &badRequest{http.StatusBadRequest, "read the request: " + err.Error()}
	}
	if err := json.Unmarshal(body, v); err != nil {
		return &badRequest{http.StatusBadRequest, "the request is not the JSON expected: " + err.Error()}
	}
	return nil
}

// writeJSON answers with v. A client that has gone is no concern of the server's.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}
