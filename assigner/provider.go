package assigner

import (
	"context"
	"net/netip"
	"time"
)

// Fence is called right before each write to the cloud and takes the right to make that one write,
// which may take a while.
//
// The provider runs check inside the write of the request (net.Conn.Write), or right before the act
// where there is no connection of ours to guard; nil means "may write now". done must be called
// exactly once, when the answer is in or nothing more of the request can be written. An error means
// "no right to write"; check and done are then nil.
type Fence func(ctx context.Context) (check func() error, done func(), err error)

// Holding is what the cloud says about one address.
type Holding struct {
	Instance string // who holds it, in the cloud's own words (a droplet ID, say); "" = nobody
	Locked   bool   // a change is under way: neither claimable now nor to be trusted
	Unknown  bool   // the provider has no means of telling; the other fields are then meaningless
}

// Provider is one technology that moves addresses. All methods are safe for concurrent use, return
// soon after ctx ends, bound their own waiting even if ctx has no deadline, and never retry. Their
// errors carry a [Class] by wrapping [*Error]; any other error counts as [Shared].
type Provider interface {
	// Self returns this node's name in the cloud's own words, comparable with Holding.Instance.
	Self(ctx context.Context) (instance string, err error)

	// Holder looks the address up.
	Holder(ctx context.Context, ip netip.Addr) (Holding, error)

	// Claim makes one request that the address point here, running check inside the write. Once
	// Claim has returned, with or without an error, no byte of the request can be written any more.
	// A nil error means accepted, not done: action names what is to be followed with Pending, "" if
	// there is nothing to follow. An error of class Shared or Pending leaves open whether the
	// address moves; Own and NoRight mean that it was not asked to.
	Claim(ctx context.Context, ip netip.Addr, check func() error) (action string, err error)

	// Pending reports whether the accepted action may still be under way. False only means that it
	// is time to look.
	Pending(ctx context.Context, ip netip.Addr, action string) (bool, error)
}

// SelfTester is what a provider implements that can prove more than "I know myself and can see the
// address" without writing.
type SelfTester interface {
	SelfTest(ctx context.Context, ip netip.Addr) error
}

// Preparer is what a provider implements that may have to wait before a claim.
type Preparer interface {
	// Prepare waits until ip may be claimed again, for its limits of pace. It is called before the
	// right to write is taken, so that none is held meanwhile. The error is the context's.
	Prepare(ctx context.Context, ip netip.Addr) error
}

// Diagnoser is what a provider implements whose refusals do not say what is the matter.
type Diagnoser interface {
	// Diagnose looks, without writing, why ip, which is elsewhere and at rest, was refused to this
	// instance: class Pending for what passes by itself, Own for what does not; nil if it finds
	// nothing.
	Diagnose(ctx context.Context, ip netip.Addr) error
}

// Action is one change of an address on the cloud's record.
type Action struct {
	ID   string // comparable with what Claim returns
	Kind string // in the cloud's own words
	At   time.Time
}

// Recorder is what a provider implements whose cloud keeps a record of the changes of an address.
type Recorder interface {
	// Actions lists the latest changes of ip, newest first. It is asked after a drift, to name the
	// change that nobody here has asked for.
	Actions(ctx context.Context, ip netip.Addr) ([]Action, error)
}

type routineKey struct{}

// WithRoutine marks ctx as that of a look for which there is no reason but the time of day, so that
// a provider may forgo it when its requests run low.
func WithRoutine(ctx context.Context) context.Context {
	return context.WithValue(ctx, routineKey{}, true)
}

// IsRoutine reports whether WithRoutine has marked ctx.
func IsRoutine(ctx context.Context) bool {
	routine, _ := ctx.Value(routineKey{}).(bool)
	return routine
}

type epochKey struct{}

// WithEpoch marks ctx with the epoch (the caller's term of leadership) that requests to the cloud
// are attributed to.
func WithEpoch(ctx context.Context, epoch uint64) context.Context {
	return context.WithValue(ctx, epochKey{}, epoch)
}

// Epoch returns what WithEpoch stored, 0 if nothing did.
func Epoch(ctx context.Context) uint64 {
	epoch, _ := ctx.Value(epochKey{}).(uint64)
	return epoch
}

// Hinter is what a provider implements that sees from this machine, without a request to the
// cloud's API, which addresses are here. What it sees may be late or wrong: it decides nothing and
// proves nothing, it is a reason to look.
type Hinter interface {
	// Hint lists the floating IPs that this machine seems to hold at present, in any order.
	Hint(ctx context.Context) ([]netip.Addr, error)
}

// Releaser is what a provider implements whose address is carried by this machine itself and not
// routed by a cloud: two machines that carry it at once are a fault. A cloud's address is never
// released.
type Releaser interface {
	// Release takes the address off this machine if it was claimed in Epoch(ctx) or earlier, or by
	// another process; epoch 0 means in whatever epoch. A claim of a later epoch stays: a release
	// may be overtaken. It is no error if the address is not here.
	Release(ctx context.Context, ip netip.Addr) error
}
