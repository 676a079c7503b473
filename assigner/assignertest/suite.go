package assignertest

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/assigner"
)

// Fault is a way for the cloud to misbehave.
type Fault int

// The faults. All but LostReply mean that nothing is changed.
const (
	None        Fault = iota // well again
	RateLimited              // too many requests
	Unavailable              // 5xx
	Refused                  // this node's credentials are bad
	Foreign                  // an answer that makes no sense, to reads and writes alike
	LostReply                // writes take effect, but their answer is lost
	Hang                     // no answer to writes, nothing is changed
)

// Cloud is a provider under test and the means to drive the cloud behind it. A nil function, or a
// fault that Fail reports as impossible, means that the technology has no such thing; what depends
// on it is then skipped, and the test says so.
type Cloud struct {
	Provider assigner.Provider
	IP       netip.Addr
	Self     string // the instance that Provider must claim for
	Other    string // an instance that exists as well

	SetHolder func(instance string) // behind the provider's back; "" = nobody
	Holder    func() string         // as the cloud itself records it
	Writes    func() int            // requests for change that have reached the cloud
	SetLocked func(locked bool)     // an action of somebody else pends on the address
	Fail      func(Fault) (possible bool)
}

// patience bounds what should take milliseconds, and impatience what is expected not to end: it is
// long enough for a provider under the race detector to look once.
const (
	patience   = 30 * time.Second
	impatience = time.Second
)

// Run checks a provider. newCloud makes a fresh, healthy cloud in which nobody holds the address.
func Run(t *testing.T, newCloud func(t *testing.T) *Cloud) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *Cloud)
	}{
		{"ours is left alone", testOurs},
		{"claims from nobody and from another", testClaims},
		{"claims at once when another is believed to hold it", testBelieved},
		{"believed wrongly", testBelievedWrongly},
		{"brings it back after a theft", testDrift},
		{"no right, no write", testNoRight},
		{"right lost before the write", testRightLost},
		{"cancelled", testCancelled},
		{"waits while an action is pending", testPending},
		{"faults", testFaults},
		{"lost reply is looked up", testLostReply},
		{"hang ends with the context", testHang},
		{"self-test", testSelfTest},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newCloud(t)) })
	}
}

func testOurs(t *testing.T, c *Cloud) {
	c.SetHolder(c.Self)
	f := newFence(t)
	out, err := c.ensure(t, f, "")
	if err != nil || f.taken != 0 || c.Writes() != 0 {
		t.Fatalf("Ensure = %+v, %v; %d rights, %d writes; want none", out, err, f.taken, c.Writes())
	}
	if out.Moved || out.Instance != c.Self || out.Confirmed.IsZero() {
		t.Errorf("outcome %+v; want confirmed by a look, not moved", out)
	}
}

func testClaims(t *testing.T, c *Cloud) {
	for i, from := range []string{"", c.Other} {
		c.SetHolder(from)
		c.mustMove(t, newFence(t), from, "", i+1)
	}
}

func testBelieved(t *testing.T, c *Cloud) {
	c.SetHolder(c.Other)
	c.mustMove(t, newFence(t), c.Other, c.Other, 1)
}

func testBelievedWrongly(t *testing.T, c *Cloud) {
	c.SetHolder(c.Self)
	out, err := c.ensure(t, newFence(t), c.Other)
	if err != nil || out.Confirmed.IsZero() || c.Holder() != c.Self {
		t.Errorf("Ensure = %+v, %v; holder %q; want confirmed here", out, err, c.Holder())
	}
}

func testDrift(t *testing.T, c *Cloud) {
	claimer := assigner.New(c.Provider, nil)
	for i := range 3 {
		c.SetHolder(c.Other)
		out, err := claimer.Ensure(c.context(t), assigner.Request{IP: c.IP, Fence: newFence(t).fence, Epoch: 7})
		if err != nil || !out.Moved || c.Holder() != c.Self || c.Writes() != i+1 {
			t.Fatalf("round %d: %+v, %v; holder %q, %d writes", i, out, err, c.Holder(), c.Writes())
		}
	}
}

func testNoRight(t *testing.T, c *Cloud) {
	c.SetHolder(c.Other)
	f := newFence(t)
	f.refuse = errors.New("not the leader")
	_, err := c.ensure(t, f, "")
	c.wantClass(t, err, assigner.NoRight)
	if !errors.Is(err, f.refuse) || c.Writes() != 0 {
		t.Errorf("error %v, %d writes; want the fence's error and no write", err, c.Writes())
	}
}

func testRightLost(t *testing.T, c *Cloud) {
	c.SetHolder(c.Other)
	// With a look before it, and without: the second finds no connection open, if there are any.
	for _, believed := range []string{"", c.Other} {
		f := newFence(t)
		f.lost = errors.New("the ticket has expired")
		_, err := c.ensure(t, f, believed)
		c.wantClass(t, err, assigner.NoRight)
		if !errors.Is(err, f.lost) || c.Writes() != 0 || f.checks == 0 {
			t.Errorf("error %v, %d checks, %d writes; want the check's error and no write", err, f.checks, c.Writes())
		}
	}
	c.mustMove(t, newFence(t), c.Other, "", 1)
}

func testCancelled(t *testing.T, c *Cloud) {
	c.SetHolder(c.Other)
	deposed := errors.New("deposed")
	ctx, cancel := context.WithCancelCause(c.context(t))
	f := newFence(t)
	f.onTaken = func() { cancel(deposed) }
	_, err := assigner.New(c.Provider, nil).Ensure(ctx, assigner.Request{IP: c.IP, Fence: f.fence})
	c.wantClass(t, err, assigner.NoRight)
	if !errors.Is(err, deposed) || c.Writes() != 0 {
		t.Errorf("error %v, %d writes; want the context's cause and no write", err, c.Writes())
	}
}

func testPending(t *testing.T, c *Cloud) {
	if c.SetLocked == nil {
		t.Skip("this technology knows no pending actions")
	}
	c.SetHolder(c.Self) // locked and ours is not ours yet: a move away may be running
	c.SetLocked(true)
	ctx, cancel := context.WithTimeout(c.context(t), impatience)
	defer cancel()
	f := newFence(t)
	out, err := assigner.New(c.Provider, nil).Ensure(ctx, assigner.Request{IP: c.IP, Fence: f.fence})
	if err == nil || f.taken != 0 || c.Writes() != 0 {
		t.Fatalf("Ensure = %+v, %v; %d rights, %d writes; want it to wait", out, err, f.taken, c.Writes())
	}
	c.SetLocked(false)
	c.SetHolder(c.Other)
	c.mustMove(t, newFence(t), c.Other, "", 1)
}

// testFaults has the cloud refuse in every way; no answer may pass for success, and a cloud that is
// well again must find the procedure well, too.
func testFaults(t *testing.T, c *Cloud) {
	for name, f := range map[string]struct {
		fault Fault
		class assigner.Class
	}{
		"rate limit":     {RateLimited, assigner.Shared},
		"server error":   {Unavailable, assigner.Shared},
		"credentials":    {Refused, assigner.Own},
		"foreign answer": {Foreign, assigner.Shared},
	} {
		t.Run(name, func(t *testing.T) {
			c.SetHolder(c.Other)
			if !c.Fail(f.fault) {
				t.Skip("this technology cannot fail so")
			}
			for _, believed := range []string{"", c.Other} { // the fault meets the look; the claim
				out, err := c.ensure(t, newFence(t), believed)
				if err == nil {
					t.Fatalf("Ensure = %+v without an error while %q holds the address", out, c.Holder())
				}
				c.wantClass(t, err, f.class)
			}
			if err := assigner.New(c.Provider, nil).SelfTest(c.context(t), c.IP); err == nil {
				t.Error("the self-test sees nothing wrong")
			}
			c.Fail(None)
			c.mustMove(t, newFence(t), c.Other, "", c.Writes()+1)
		})
	}
}

func testLostReply(t *testing.T, c *Cloud) {
	c.SetHolder(c.Other)
	if !c.Fail(LostReply) {
		t.Skip("this technology cannot lose a reply")
	}
	c.mustMove(t, newFence(t), c.Other, "", 1)
}

func testHang(t *testing.T, c *Cloud) {
	c.SetHolder(c.Other)
	if !c.Fail(Hang) {
		t.Skip("this technology cannot hang")
	}
	ctx, cancel := context.WithTimeout(c.context(t), impatience)
	defer cancel()
	begun := time.Now()
	_, err := assigner.New(c.Provider, nil).Ensure(ctx, assigner.Request{IP: c.IP, Fence: newFence(t).fence, Believed: c.Other})
	c.wantClass(t, err, assigner.NoRight)
	if took := time.Since(begun); took > impatience+patience/2 {
		t.Errorf("Ensure outlived its context by %v", took-impatience)
	}
	if c.Holder() != c.Other {
		t.Errorf("the holder is %q, although nothing was answered", c.Holder())
	}
}

func testSelfTest(t *testing.T, c *Cloud) {
	for _, holder := range []string{"", c.Other, c.Self} {
		c.SetHolder(holder)
		if err := assigner.New(c.Provider, nil).SelfTest(c.context(t), c.IP); err != nil {
			t.Errorf("held by %q: %v", holder, err)
		}
	}
	if c.Writes() != 0 {
		t.Errorf("the self-test has written %d times", c.Writes())
	}
}
