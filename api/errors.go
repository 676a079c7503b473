package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/buoy-lb/buoy/fsm"
)

// problem is an error on the wire. The HTTP status, or Code in a stream whose status
// was sent long before, tells the Go type.
type problem struct {
	Error         string `json:"error,omitempty"`
	Code          int    `json:"code,omitempty"`
	LeaderID      string `json:"leader_id,omitempty"`
	LeaderName    string `json:"leader_name,omitempty"`
	LeaderAddress string `json:"leader_address,omitempty"`
}

// badRequest is a request that could not be understood; status is the HTTP status.
type badRequest struct {
	status  int
	message string
}

func (e *badRequest) Error() string { return e.message }

// toProblem is the wire form of err.
func toProblem(err error) problem {
	p := problem{Error: err.Error(), Code: http.StatusInternalServerError}
	var notLeader *fsm.NotLeaderError
	var refused *fsm.RefusedError
	var bad *badRequest
	switch {
	case errors.As(err, &notLeader):
		p.Code = http.StatusMisdirectedRequest
		p.LeaderID, p.LeaderName, p.LeaderAddress = notLeader.ID, notLeader.Name, notLeader.Address
	case errors.As(err, &refused):
		p.Code, p.Error = http.StatusConflict, refused.Message
	case errors.As(err, &bad):
		p.Code = bad.status
	case errors.Is(err, context.DeadlineExceeded):
		p.Code = http.StatusGatewayTimeout
	}
	return p
}

// toError is the Go error that toProblem was made from, as far as its type matters.
func (p problem) toError() error {
	switch p.Code {
	case http.StatusMisdirectedRequest:
		return &fsm.NotLeaderError{ID: p.LeaderID, Name: p.LeaderName, Address: p.LeaderAddress}
	case http.StatusConflict:
		return &fsm.RefusedError{Message: p.Error}
	case http.StatusGatewayTimeout:
		return &remoteError{message: p.Error, cause: context.DeadlineExceeded}
	default:
		return &remoteError{message: p.Error}
	}
}

// remoteError is an error that happened at the other end.
type remoteError struct {
	message string
	cause   error // what errors.Is should find; may be nil
}

func (e *remoteError) Error() string { return e.message }
func (e *remoteError) Unwrap() error { return e.cause }

// writeError answers with err.
func writeError(w http.ResponseWriter, err error) {
	p := toProblem(err)
	writeJSON(w, p.Code, p)
}

// readError is the error in a response that is not 200.
func readError(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	var p problem
	if json.Unmarshal(body, &p) != nil || p.Error == "" {
		p.Error = strings.TrimSpace("unexpected answer " + resp.Status + ": " + string(body))
	}
	p.Code = resp.StatusCode
	return p.toError()
}
