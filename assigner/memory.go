package assigner

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"
)

// Memory is a cloud in this process's memory, for tests and for the examples. [Memory.As] is one
// node's view of it. The zero value is an empty cloud in which every address exists; set the fields
// before the first use. Safe for concurrent use. It has no goroutines and keeps time by package
// time alone, so it works within testing/synctest.
type Memory struct {
	// Latency is how long an accepted claim takes; the address is locked meanwhile and stays where
	// it was. 0 = at once.
	Latency time.Duration
	// Fail, if set, is asked before each operation ("self", "holder", "claim", "pending") of an
	// instance; its error is the answer. After an accepted claim it is asked for "reply": its error
	// then is the answer to a claim that takes effect.
	Fail func(op, instance string) error

	mu     sync.Mutex
	addrs  map[netip.Addr]*memoryAddr
	writes int
}

type memoryAddr struct {
	holder string
	next   string    // takes over at due
	due    time.Time // zero: nothing pending
}

// As returns the cloud as instance sees it.
func (m *Memory) As(instance string) Provider { return memoryNode{m, instance} }

// Assign moves the address behind everybody's back, at once.
func (m *Memory) Assign(ip netip.Addr, instance string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	*m.at(ip) = memoryAddr{holder: instance}
}

// Lock makes an action of somebody else pend on the address for d.
func (m *Memory) Lock(ip netip.Addr, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := m.at(ip)
	a.next, a.due = a.holder, time.Now().Add(d)
}

// Holder returns who holds the address, "" for nobody.
func (m *Memory) Holder(ip netip.Addr) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at(ip).holder
}

// Writes returns how many claims were accepted.
func (m *Memory) Writes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

// at returns the address with every action that is due applied. m.mu is held.
func (m *Memory) at(ip netip.Addr) *memoryAddr {
	if m.addrs == nil {
		m.addrs = make(map[netip.Addr]*memoryAddr)
	}
	a := m.addrs[ip.Unmap()]
	if a == nil {
		a = new(memoryAddr)
		m.addrs[ip.Unmap()] = a
	}
	if !a.due.IsZero() && !time.Now().Before(a.due) {
		*a = memoryAddr{holder: a.next}
	}
	return a
}

var errLocked = errors.New("the address already has a pending event")

// memoryNode is one instance's view.
type memoryNode struct {
	*Memory
	instance string
}

var _ Provider = memoryNode{}

func (n memoryNode) fail(ctx context.Context, op string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if n.Fail == nil {
		return nil
	}
	return n.Fail(op, n.instance)
}

// Self returns the name given to As.
func (n memoryNode) Self(ctx context.Context) (string, error) {
	return n.instance, n.fail(ctx, "self")
}

// Holder looks the address up.
func (n memoryNode) Holder(ctx context.Context, ip netip.Addr) (Holding, error) {
	if err := n.fail(ctx, "holder"); err != nil {
		return Holding{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.at(ip)
	return Holding{Instance: a.holder, Locked: !a.due.IsZero()}, nil
}

// Claim is refused with class Pending while the address is locked.
func (n memoryNode) Claim(ctx context.Context, ip netip.Addr, check func() error) (string, error) {
	if err := n.fail(ctx, "claim"); err != nil {
		return "", err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.at(ip)
	if err := check(); err != nil {
		return "", &Error{Class: NoRight, Op: "write", Err: err}
	}
	if !a.due.IsZero() {
		return "", &Error{Class: Pending, Err: errLocked}
	}
	n.writes++
	a.next, a.due = n.instance, time.Now().Add(n.Latency)
	if err := n.fail(ctx, "reply"); err != nil {
		return "", err
	}
	if n.Latency == 0 {
		return "", nil
	}
	return "assign", nil
}

// Pending reports whether the address is locked.
func (n memoryNode) Pending(ctx context.Context, ip netip.Addr, _ string) (bool, error) {
	if err := n.fail(ctx, "pending"); err != nil {
		return false, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.at(ip).due.IsZero(), nil
}
