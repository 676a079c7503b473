package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// cloud holds the addresses and the record of every write.
type cloud struct {
	w *world

	mu      sync.Mutex
	latency time.Duration
	// slow are addresses whose moves take longer than that.
	slow    map[netip.Addr]time.Duration
	faults  map[string]error     // by node
	broken  map[netip.Addr]error // by address
	moves   []move
	journal []write
	rights  []right
	looks   []time.Duration
	// hints says that machines can tell what they hold, hintLag how late they know, unless
	// hintFault keeps them from it.
	hints     bool
	hintLag   time.Duration
	hintFault map[string]error // by node
	hintHangs atomic.Bool
	hinting   atomic.Int64 // how many are being read
	// carried are the machines that carry the address themselves, and since which epoch.
	carried  map[string]uint64
	releases []release
	// releaseHangs has Release take for ever.
	releaseHangs atomic.Bool
}

// move is a change of holder.
type move struct {
	ip netip.Addr
	to string
	at time.Time
}

// release is a call of Release.
type release struct {
	node  string
	epoch uint64
	at    time.Time
}

// write is one accepted request to move the address.
type write struct {
	node  string
	epoch uint64
	at    time.Duration
	ip    netip.Addr
}

// right is a stretch of time in which a node's ticket was seen to be valid.
type right struct {
	node     string
	from, to time.Duration
}

func newCloud(w *world) *cloud {
	return &cloud{
		w: w, faults: map[string]error{}, broken: map[netip.Addr]error{}, slow: map[netip.Addr]time.Duration{},
		carried: map[string]uint64{}, hintFault: map[string]error{},
	}
}

func (c *cloud) holder() string { return c.holderOf(testIP) }

func (c *cloud) holderOf(ip netip.Addr) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heldAt(ip, time.Now())
}

// heldAt is who held ip at a time.
func (c *cloud) heldAt(ip netip.Addr, at time.Time) string {
	held := ""
	for _, m := range c.moves {
		if m.ip == ip && !m.at.After(at) {
			held = m.to
		}
	}
	return held
}

func (c *cloud) steal(name string) { c.stealOf(testIP, name) }

func (c *cloud) stealOf(ip netip.Addr, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moves = append(c.moves, move{ip, name, time.Now()})
}

func (c *cloud) fail(name string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults[name] = err
}

// breaks has every request about ip fail.
func (c *cloud) breaks(ip netip.Addr, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken[ip] = err
}

func (c *cloud) setLatency(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latency = d
}

// slows has moves of ip take d longer than those of others.
func (c *cloud) slows(ip netip.Addr, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slow[ip] = d
}

// tells lets machines know what they hold, late by lag.
func (c *cloud) tells(lag time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hints, c.hintLag = true, lag
}

// mutes keeps a machine from telling, or lets it again.
func (c *cloud) mutes(name string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hintFault[name] = err
}

func (c *cloud) writes() []write {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.journal)
}

// looked counts the looks so far.
func (c *cloud) looked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.looks)
}

// attempts counts the writes begun.
func (c *cloud) attempts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.rights)
}

// released are the calls of Release by a node.
func (c *cloud) released(node string) []release {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.releases), func(r release) bool { return r.node != node })
}

// carriers are the machines that carry the address themselves.
func (c *cloud) carriers() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for name := range c.carried {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// overlap is the longest time for which two nodes had the right to write at once.
func (c *cloud) overlap() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	var worst time.Duration
	for i, a := range c.rights {
		for _, b := range c.rights[:i] {
			if a.node != b.node {
				worst = max(worst, min(a.to, b.to)-max(a.from, b.from))
			}
		}
	}
	return worst
}

// disciplined fails the test if the record shows a write that must not have been.
func (c *cloud) disciplined(t *testing.T) {
	t.Helper()
	if o := c.overlap(); o > 0 {
		t.Errorf("two nodes had tickets for %v at once", o)
	}
	owner := map[uint64]string{}
	var last uint64
	arrived := c.writes()
	slices.SortStableFunc(arrived, func(a, b write) int { return cmp.Compare(a.at, b.at) })
	for _, w := range arrived {
		if w.epoch < last {
			t.Errorf("%s wrote under epoch %d after epoch %d had", w.node, w.epoch, last)
		}
		last = w.epoch
		if o, ok := owner[w.epoch]; ok && o != w.node {
			t.Errorf("%s and %s both wrote under epoch %d", o, w.node, w.epoch)
		}
		owner[w.epoch] = w.node
	}
}

// claimer is a node's way to the cloud.
type claimer struct{ b *box }

// testFault is a cloud error of either kind.
type testFault struct{ own bool }

func (e testFault) Error() string  { return fmt.Sprintf("cloud fault (own: %v)", e.own) }
func (e testFault) OwnFault() bool { return e.own }

func (c *claimer) look(ip netip.Addr) (string, error) {
	cl := c.b.w.cloud
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.looks = append(cl.looks, time.Since(c.b.w.start))
	return cl.heldAt(ip, time.Now()), cmp.Or(cl.faults[c.b.name], cl.broken[ip])
}

func (c *claimer) SelfTest(context.Context) error {
	cl := c.b.w.cloud
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if err := cl.faults[c.b.name]; err != nil || len(cl.broken) == 0 {
		return err
	}
	var errs []error
	for _, ip := range c.b.ips {
		errs = append(errs, cl.broken[ip])
	}
	if err := errors.Join(errs...); err != nil && slices.Contains(errs, nil) {
		return testPartial{err}
	}
	return errors.Join(errs...)
}

// testPartial is a self-test that failed for one address of several.
type testPartial struct{ error }

func (testPartial) Partial() bool { return true }

func (e testPartial) Unwrap() error { return e.error }

func (c *claimer) Holder(_ context.Context, ip netip.Addr) (string, error) {
	held, err := c.look(ip)
	c.b.w.mu.Lock()
	defer c.b.w.mu.Unlock()
	for _, b := range c.b.w.boxes {
		if b.name == held {
			return b.member.Instance, err
		}
	}
	return held, err
}

func (c *claimer) Hint(ctx context.Context) ([]netip.Addr, error) {
	cl := c.b.w.cloud
	cl.hinting.Add(1)
	defer cl.hinting.Add(-1)
	if cl.hintHangs.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	switch {
	case !cl.hints:
		return nil, errors.ErrUnsupported
	case cl.hintFault[c.b.name] != nil:
		return nil, cl.hintFault[c.b.name]
	}
	var here []netip.Addr
	for _, ip := range c.b.ips {
		if cl.heldAt(ip, time.Now().Add(-cl.hintLag)) == c.b.name {
			here = append(here, ip)
		}
	}
	return here, nil
}

func (c *claimer) Release(ctx context.Context, epoch uint64) error {
	cl := c.b.w.cloud
	if cl.releaseHangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.releases = append(cl.releases, release{c.b.name, epoch, time.Now()})
	if epoch == 0 || cl.carried[c.b.name] <= epoch {
		delete(cl.carried, c.b.name)
	}
	return nil
}

func (c *claimer) Ensure(ctx context.Context, e Ensure, fence Fence) (Outcome, error) {
	held, err := c.look(e.IP)
	out := Outcome{Instance: c.b.member.Instance}
	if err != nil {
		return out, err
	}
	if out.From = held; held == c.b.name {
		out.From, out.Confirmed = out.Instance, time.Now()
		return out, nil
	}
	check, done, err := fence(ctx)
	if err != nil {
		return out, err
	}
	err = c.write(ctx, e, check)
	done()
	if err != nil {
		return out, err
	}
	out.Moved, out.Accepted = true, time.Now()
	c.b.w.cloud.mu.Lock()
	slow := c.b.w.cloud.slow[e.IP]
	c.b.w.cloud.mu.Unlock()
	if slow > 0 {
		if err := sleep(ctx, slow); err != nil {
			return out, err
		}
	}
	out.Confirmed = time.Now()
	return out, nil
}

// write holds the right to write for as long as the cloud takes, and records it.
func (c *claimer) write(ctx context.Context, e Ensure, check func() error) error {
	cl := c.b.w.cloud
	if err := check(); err != nil {
		return err
	}
	cl.mu.Lock()
	began, latency := time.Since(c.b.w.start), cl.latency
	cl.rights = append(cl.rights, right{c.b.name, began, began})
	i := len(cl.rights) - 1
	cl.mu.Unlock()
	for end := time.Now().Add(latency); time.Now().Before(end); {
		if err := sleep(ctx, time.Millisecond); err != nil {
			return err
		}
		if check() == nil {
			cl.mu.Lock()
			cl.rights[i].to = time.Since(c.b.w.start)
			cl.mu.Unlock()
		}
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.moves = append(cl.moves, move{e.IP, c.b.name, time.Now()})
	cl.carried[c.b.name] = e.Epoch
	cl.journal = append(cl.journal, write{c.b.name, e.Epoch, began, e.IP})
	return nil
}
