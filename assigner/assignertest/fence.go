package assignertest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/buoy-lb/buoy/assigner"
)

// fence is an assigner.Fence that counts and refuses on demand. At the end of the test it insists
// that every right was given back exactly once.
type fence struct {
	refuse  error  // no right is given
	lost    error  // every check fails
	onTaken func() // called when a right is given

	mu                  sync.Mutex
	taken, done, checks int
}

func newFence(t *testing.T) *fence {
	f := &fence{}
	t.Cleanup(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.taken != f.done {
			t.Errorf("%d rights to write were taken, done was called %d times", f.taken, f.done)
		}
	})
	return f
}

func (f *fence) fence(context.Context) (check func() error, done func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return nil, nil, f.refuse
	}
	f.taken++
	if f.onTaken != nil {
		f.onTaken()
	}
	ended := false
	check = func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.checks++
		if ended {
			return errors.New("check was called after done")
		}
		return f.lost
	}
	done = func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.done++
		ended = true
	}
	return check, done, nil
}

// context returns a context that ends with the test, or when it takes absurdly long.
func (c *Cloud) context(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// ensure runs a fresh Claimer once.
func (c *Cloud) ensure(t *testing.T, f *fence, believed string) (assigner.Outcome, error) {
	t.Helper()
	return assigner.New(c.Provider, nil).Ensure(c.context(t),
		assigner.Request{IP: c.IP, Fence: f.fence, Believed: believed})
}

// mustMove insists that Ensure moves the address from another instance here, under one right that
// was checked, and that the cloud has then seen writes requests for change.
func (c *Cloud) mustMove(t *testing.T, f *fence, from, believed string, writes int) {
	t.Helper()
	out, err := c.ensure(t, f, believed)
	if err != nil {
		t.Fatalf("Ensure: %v", err)
	}
	if !out.Moved || out.From != from || out.Instance != c.Self || out.Writes != 1 || out.Confirmed.IsZero() {
		t.Errorf("outcome %+v; want one write, moved from %q to %q, confirmed", out, from, c.Self)
	}
	if f.taken != 1 || f.checks == 0 {
		t.Errorf("%d rights taken, %d checks; want one right, checked", f.taken, f.checks)
	}
	if c.Holder() != c.Self || c.Writes() != writes {
		t.Errorf("the cloud has it at %q after %d writes; want %q, %d", c.Holder(), c.Writes(), c.Self, writes)
	}
}

func (c *Cloud) wantClass(t *testing.T, err error, want assigner.Class) {
	t.Helper()
	var e *assigner.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T); want an *assigner.Error", err, err)
	}
	if e.Class != want {
		t.Errorf("%v is classed %q; want %q", err, e.Class, want)
	}
	if e.OwnFault() != (want == assigner.Own) || e.RetryDelay() != e.RetryAfter {
		t.Errorf("OwnFault and RetryDelay of %v disagree with its fields", err)
	}
}
