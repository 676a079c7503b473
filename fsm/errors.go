package fsm

import "fmt"

// NotLeaderError answers a request that only the leader can serve. ID, Name and
// Address are empty when no leader is known.
type NotLeaderError struct {
	ID      string
	Name    string
	Address string
}

// Error says whom to ask instead.
func (e *NotLeaderError) Error() string {
	if e.ID == "" {
		return "no leader is known at present"
	}
	return fmt.Sprintf("not the leader: ask %s at %s", e.Name, e.Address)
}

// RefusedError answers a request that was understood and will not be carried out.
// Message says why, and what to do instead.
type RefusedError struct {
	Message string
}

// Error is the message alone.
func (e *RefusedError) Error() string { return e.Message }

// Refusef builds a RefusedError.
func Refusef(format string, args ...any) error {
	return &RefusedError{Message: fmt.Sprintf(format, args...)}
}
