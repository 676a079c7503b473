package assigner

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Class says whose fault a failed attempt is, and so who may do better.
type Class int

const (
	// Shared is a fault that every node would meet: the cloud answers 5xx or 429, or something that
	// makes no sense. It is also what an error without a class counts as.
	Shared Class = iota + 1
	// Own is a fault of this node alone: its token, its route to the cloud, its instance. A peer
	// may do better.
	Own
	// Pending means that the cloud is at work on the address or on the instance and refuses further
	// changes: wait.
	Pending
	// NoRight means that nothing was written because the caller's right to write, or its context,
	// ended.
	NoRight
)

// String returns the class in the words of the log.
func (c Class) String() string {
	switch c {
	case Shared:
		return "shared fault"
	case Own:
		return "own fault"
	case Pending:
		return "pending"
	case NoRight:
		return "no right to write"
	}
	return fmt.Sprintf("class %d", int(c))
}

// Error is the failure of one attempt.
type Error struct {
	Class      Class
	Op         string        // what was attempted; may be empty
	RetryAfter time.Duration // the cloud's wish, 0 = none
	Err        error         // never nil
}

// Errorf returns an *Error of class c around fmt.Errorf.
func Errorf(c Class, format string, args ...any) error {
	return &Error{Class: c, Err: fmt.Errorf(format, args...)}
}

// Error returns operation, then cause.
func (e *Error) Error() string {
	if e.Op == "" {
		return e.Err.Error()
	}
	return e.Op + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// OwnFault reports whether a peer may do better than this node.
func (e *Error) OwnFault() bool { return e.Class == Own }

// RetryDelay returns how long the cloud asked to be left alone, 0 if it did not.
func (e *Error) RetryDelay() time.Duration { return e.RetryAfter }

// classify returns err as an *Error that names op. A context that has ended outweighs whatever the
// provider made of it.
func classify(ctx context.Context, op string, err error) *Error {
	if cause := context.Cause(ctx); cause != nil {
		if !errors.Is(err, cause) {
			err = fmt.Errorf("%w (%w)", cause, err)
		}
		return &Error{Class: NoRight, Op: op, Err: err}
	}
	var e *Error
	if errors.As(err, &e) {
		return &Error{Class: e.Class, Op: op, RetryAfter: e.RetryAfter, Err: err}
	}
	return &Error{Class: Shared, Op: op, Err: err}
}
