package layer2

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/buoy-lb/buoy/assigner"
)

// givingWay is how long after a claim another machine's answers are put down to a former holder that
// was killed: its kernel carries the address for a second, and some.
const givingWay = 3 * time.Second

// Options configure a Provider. Interface is required.
type Options struct {
	Interface string       // the Ethernet interface that carries the addresses
	IPs       []netip.Addr // those that will be claimed; New refuses where this machine has one already
	Logger    hclog.Logger // nil: silent
}

// Provider carries addresses on one interface. Safe for concurrent use. Each address that it holds
// has a goroutine, which ends with Release or Close.
type Provider struct {
	link *link
	send *sender
	log  hclog.Logger

	// changing holds one element while an address is put on or taken off.
	changing chan struct{}

	mu      sync.Mutex // guards what follows
	keepers map[netip.Addr]*keeper
	closed  bool
}

var (
	_ assigner.Provider   = (*Provider)(nil)
	_ assigner.SelfTester = (*Provider)(nil)
	_ assigner.Hinter     = (*Provider)(nil)
	_ assigner.Releaser   = (*Provider)(nil)
)

// New opens the interface and changes nothing. It refuses an interface that does not exist, is down
// or cannot have neighbours, a missing capability, and an address of o.IPs that somebody else has
// given to this machine. What no second try can mend is a [*SetupError]. A carrier need not be there
// yet.
func New(o Options) (_ *Provider, err error) {
	if o.Interface == "" {
		return nil, &SetupError{errors.New("interface: which one carries the address?")}
	}
	if err := capable(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	p := &Provider{log: o.Logger, changing: make(chan struct{}, 1), keepers: make(map[netip.Addr]*keeper)}
	if p.link, err = openLink(o.Interface); err != nil {
		return nil, err
	}
	if p.send, err = openSender(); err != nil {
		p.link.close()
		return nil, err
	}
	if err := p.fit(o.IPs); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// fit judges the interface for New.
func (p *Provider) fit(ips []netip.Addr) error {
	a, err := p.link.attrs()
	switch {
	case err != nil:
		return err
	case a.Flags&net.FlagLoopback != 0 || a.EncapType != "ether" || len(a.HardwareAddr) != len(broadcast):
		return &SetupError{fmt.Errorf("interface %s is no Ethernet interface (%s): it has no neighbours to tell", p.link.name, a.EncapType)}
	case a.Flags&net.FlagUp == 0:
		return fmt.Errorf("interface %s is down: ip link set %s up", p.link.name, p.link.name)
	}
	for _, ip := range ips {
		if err := p.link.vacant(ip.Unmap()); err != nil {
			return err
		}
	}
	return nil
}

// Close ends all renewals and takes the addresses off the interface: a daemon that has stopped
// leaves no second holder behind.
func (p *Provider) Close() {
	p.changing <- struct{}{}
	defer p.unlock()
	p.mu.Lock()
	closed, keepers := p.closed, p.keepers
	p.closed, p.keepers = true, make(map[netip.Addr]*keeper)
	p.mu.Unlock()
	if closed {
		return
	}
	for ip, k := range keepers {
		k.end()
		if err := p.takeOff(ip); err != nil {
			p.log.Warn("the address expires by itself", "ip", ip, "error", err)
		}
	}
	p.send.close()
	p.link.close()
}

// Self returns the interface's MAC address.
func (p *Provider) Self(context.Context) (string, error) {
	a, err := p.link.attrs()
	if err != nil {
		return "", err
	}
	return a.HardwareAddr.String(), nil
}

// Holder asks the wire: the MAC address of another machine that answers for ip, also if we have it
// as well; else our own if we keep it; else nobody. It takes 150 ms unless another machine answers.
// Locked means that we have just claimed it, and that the former holder may be about to lose it.
func (p *Provider) Holder(ctx context.Context, ip netip.Addr) (assigner.Holding, error) {
	ip = ip.Unmap()
	a, err := p.link.usable()
	if err != nil {
		return assigner.Holding{}, err
	}
	var source netip.Addr
	if ip.Is6() {
		if source, err = p.link.linkLocal(); err != nil {
			return assigner.Holding{}, err
		}
	}
	other, err := probe(ctx, a.Index, a.HardwareAddr, source, ip)
	if err != nil {
		return assigner.Holding{}, err
	}
	k := p.keeper(ip)
	switch {
	case other != nil:
		return assigner.Holding{Instance: other.String(), Locked: k != nil && boottime()-k.claimed < givingWay}, nil
	case k == nil: // if it is here, it is what a former process has left, and about to expire
		return assigner.Holding{}, nil
	}
	if carried, err := p.link.carries(ip); !carried || err != nil {
		return assigner.Holding{}, err
	}
	return assigner.Holding{Instance: a.HardwareAddr.String()}, nil
}

// Claim puts the address on the interface, announces it and begins to keep it. check runs right
// before and right after the address is put on; if it fails then, the address is taken off again
// unannounced.
func (p *Provider) Claim(ctx context.Context, ip netip.Addr, check func() error) (string, error) {
	ip = ip.Unmap()
	if err := p.lock(ctx); err != nil {
		return "", err
	}
	defer p.unlock()
	if err := p.SelfTest(ctx, ip); err != nil {
		return "", err
	}
	a, err := p.link.usable()
	if err != nil {
		return "", err
	}
	if err := check(); err != nil {
		return "", noRight(ip, err)
	}
	p.end(ip) // an earlier claim's keeper; the address stays
	now := boottime()
	if _, err := p.link.put(a.Index, ip); err != nil {
		return "", err
	}
	if err := check(); err != nil { // stopped in between
		return "", noRight(ip, errors.Join(err, p.takeOff(ip)))
	}
	k := p.keep(ip, assigner.Epoch(ctx), now)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keepers[ip] = k
	return "", nil
}

// Pending is never true: a claim is done when it returns.
func (p *Provider) Pending(context.Context, netip.Addr, string) (bool, error) { return false, nil }

// SelfTest proves that the interface is up and has a carrier, that the capabilities are there, and
// that nobody else has given ip to this machine.
func (p *Provider) SelfTest(ctx context.Context, ip netip.Addr) error {
	ip = ip.Unmap()
	if err := capable(); err != nil {
		return &assigner.Error{Class: assigner.Own, Err: err}
	}
	if _, err := p.link.usable(); err != nil {
		return err
	}
	if ip.Is6() {
		if _, err := p.link.linkLocal(); err != nil {
			return err
		}
	}
	if err := p.link.vacant(ip); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// Hint lists the addresses that we, or a predecessor of this process, have put on the interface.
// What is on an interface that is down or without a carrier is not here for anybody: there are none
// then, which is a reason to look at Holder's error.
func (p *Provider) Hint(context.Context) ([]netip.Addr, error) {
	a, err := p.link.usable()
	if err != nil {
		return nil, nil
	}
	list, err := p.link.addresses()
	if err != nil {
		return nil, err
	}
	var here []netip.Addr
	for _, f := range list {
		if f.LinkIndex == a.Index && !foreign(f) {
			here = append(here, addressOf(f))
		}
	}
	return here, nil
}

// Release ends the renewals and takes the address off the interface, as the interface Releaser says.
// If ctx has ended it still does what it can do without waiting.
func (p *Provider) Release(ctx context.Context, ip netip.Addr) error {
	ip = ip.Unmap()
	if err := p.lock(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	defer p.unlock()
	epoch := assigner.Epoch(ctx)
	if k := p.keeper(ip); k != nil && epoch != 0 && k.epoch > epoch {
		return nil
	}
	p.end(ip)
	return p.takeOff(ip)
}

func (p *Provider) takeOff(ip netip.Addr) error {
	removed, err := p.link.takeOff(ip)
	if removed {
		p.log.Info("address taken off", "ip", ip, "interface", p.link.name)
	}
	return err
}

// keeper returns the one that keeps ip, nil if none does.
func (p *Provider) keeper(ip netip.Addr) *keeper {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := p.keepers[ip]; k != nil && k.alive() {
		return k
	}
	return nil
}

// end ends the keeper of ip, if there is one.
func (p *Provider) end(ip netip.Addr) {
	p.mu.Lock()
	k := p.keepers[ip]
	delete(p.keepers, ip)
	p.mu.Unlock()
	if k != nil {
		k.end()
	}
}

// lock waits for its turn to change addresses.
func (p *Provider) lock(ctx context.Context) error {
	select {
	case p.changing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		<-p.changing
		return assigner.Errorf(assigner.NoRight, "the provider is closed")
	}
	if err := context.Cause(ctx); err != nil {
		<-p.changing
		return err
	}
	return nil
}

func (p *Provider) unlock() { <-p.changing }

func noRight(ip netip.Addr, err error) error {
	return &assigner.Error{Class: assigner.NoRight, Op: "put " + ip.String() + " on", Err: err}
}
