package assigner

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// lockWait is how long one Ensure waits for somebody else's action on the address before its
	// caller gets a say.
	lockWait = 15 * time.Second
	// followWait is how long an accepted claim is followed. Clouds take 1 to 12 s; what takes a
	// minute has gone wrong.
	followWait = time.Minute
	// busyGrace is how long refusals of an unlocked address count as "wait": DigitalOcean refuses
	// while an action runs on the droplet (a snapshot, a volume), and after that long a peer does
	// better.
	busyGrace = 10 * time.Second
	// guardWindow is how long after a claim every look matters: a late write of another node may
	// still come.
	guardWindow = 45 * time.Second
)

// Claimer runs the claim procedure over one provider. It is safe for concurrent use; writes go out
// one at a time.
type Claimer struct {
	p     Provider
	log   hclog.Logger
	write chan struct{} // holds one element while a claim is on its way

	mu    sync.Mutex
	known map[netip.Addr]track
}

// track is what one epoch's attempts for an address leave for the next of them.
type track struct {
	epoch        uint64
	atHome       bool      // it was here when last seen, or was claimed and nobody can tell
	since        time.Time // when it was first seen here, or last brought here
	action       string    // of the last claim that was accepted; "" if none was
	failed       bool      // the last attempt failed: trust no record, look first
	refusedSince time.Time // first of an unbroken series of refusals; zero if the last attempt met none
}

// New returns a Claimer over p. A nil logger is silent.
func New(p Provider, log hclog.Logger) *Claimer {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	return &Claimer{p: p, log: log, write: make(chan struct{}, 1), known: make(map[netip.Addr]track)}
}

// Request asks for one address.
type Request struct {
	IP    netip.Addr
	Fence Fence
	// Epoch is the caller's term of leadership: it goes out with every request, and a provider that
	// cannot tell the holder is asked to claim once an epoch. 0 = none.
	Epoch uint64
	// Believed names the instance that holds the address according to the caller's record, if it
	// has one. If that is another node, the first look is saved and the claim goes out at once. It
	// is ignored after a failed attempt.
	Believed string
	// Suspect says that there is a reason to look, a hint for instance: it is then no routine look
	// that a provider may forgo.
	Suspect bool
}

// Outcome is what one Ensure found and did. Times are zero for what did not happen.
type Outcome struct {
	Moved      bool   // this run's write brought the address here
	Unverified bool   // the provider cannot tell the holder: claimed, but not proved
	From       string // who held it before, as far as known; "" = nobody or not known
	Instance   string // this node's name in the cloud's words
	Accepted   time.Time
	Confirmed  time.Time // when the look that proved it returned
	Writes     int       // requests handed to the provider with a right to write: 0 or 1
}

// Ensure brings the address here, or proves that it is here already: it looks, and unless the
// address is ours and at rest it claims, follows and looks again. It returns nil only if the cloud
// says "yours, nothing pending" (or cannot say, see Outcome.Unverified).
//
// It writes at most once, blocks for as long as the cloud takes (15 s for a foreign action, then a
// minute for its own), and ends with ctx. The error is an [*Error]; when to try again is the
// caller's business. The Outcome is valid beside an error too.
func (c *Claimer) Ensure(ctx context.Context, r Request) (Outcome, error) {
	r.IP = r.IP.Unmap()
	a := attempt{Claimer: c, Request: r, begun: time.Now(), last: c.recall(r.IP, r.Epoch)}
	a.next = track{epoch: r.Epoch, atHome: a.last.atHome, since: a.last.since, action: a.last.action}
	ctx = WithEpoch(ctx, r.Epoch)
	err := a.run(ctx)
	a.next.failed = err != nil
	c.remember(r.IP, a.next)
	if err != nil {
		return a.out, classify(ctx, "claim "+r.IP.String(), err)
	}
	return a.out, nil
}

// SelfTest proves, by reads alone, that this node could claim the address: it knows itself, its
// credentials work, the address is visible. The error is an [*Error].
func (c *Claimer) SelfTest(ctx context.Context, ip netip.Addr) error {
	ip = ip.Unmap()
	if err := c.selfTest(ctx, ip); err != nil {
		return classify(ctx, "self-test for "+ip.String(), err)
	}
	return nil
}

func (c *Claimer) selfTest(ctx context.Context, ip netip.Addr) error {
	if t, ok := c.p.(SelfTester); ok {
		return t.SelfTest(ctx, ip)
	}
	if _, err := c.p.Self(ctx); err != nil {
		return fmt.Errorf("find out who this node is: %w", err)
	}
	if _, err := c.p.Holder(ctx, ip); err != nil {
		return fmt.Errorf("look up the holder: %w", err)
	}
	return nil
}

func (c *Claimer) recall(ip netip.Addr, epoch uint64) track {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.known[ip]; t.epoch == epoch {
		return t
	}
	return track{}
}

func (c *Claimer) remember(ip netip.Addr, t track) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[ip] = t
}

// Hint lists the addresses that this machine seems to hold, as a [Hinter] tells them;
// errors.ErrUnsupported for a provider that is none.
func (c *Claimer) Hint(ctx context.Context) ([]netip.Addr, error) {
	if h, ok := c.p.(Hinter); ok {
		return h.Hint(ctx)
	}
	return nil, errors.ErrUnsupported
}

// Release takes ip off this machine, if it was claimed in epoch or earlier, where that is for a
// [Releaser] to do; elsewhere it does nothing.
func (c *Claimer) Release(ctx context.Context, ip netip.Addr, epoch uint64) error {
	r, ok := c.p.(Releaser)
	if !ok {
		return nil
	}
	return r.Release(WithEpoch(ctx, epoch), ip.Unmap())
}
