package layer2

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/buoy-lb/buoy/assigner"
)

const (
	// lifetime is how long the kernel keeps an address that is not renewed: the shortest that it
	// can count (IFA_CACHEINFO is in whole seconds). The kernel is up to 0.3 s late.
	lifetime = time.Second
	// replyWait bounds the wait for an answer of the kernel.
	replyWait = time.Second
)

// link is the interface, by name: one that is made anew counts as the same.
type link struct {
	name string
	nl   *netlink.Handle
}

func openLink(name string) (*link, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	if err := nl.SetSocketTimeout(replyWait); err != nil {
		nl.Close()
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return &link{name, nl}, nil
}

func (l *link) close() { l.nl.Close() }

// attrs are the interface's present properties. All errors are this node's own fault.
func (l *link) attrs() (*netlink.LinkAttrs, error) {
	found, err := l.nl.LinkByName(l.name)
	if err != nil {
		return nil, assigner.Errorf(assigner.Own, "interface %s: %w", l.name, err)
	}
	return found.Attrs(), nil
}

// usable is attrs of an interface that can carry an address to its neighbours.
func (l *link) usable() (*netlink.LinkAttrs, error) {
	a, err := l.attrs()
	if err == nil {
		err = fault(a)
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// fault is what keeps an interface from being usable.
func fault(a *netlink.LinkAttrs) error {
	switch {
	case a.Flags&net.FlagUp == 0:
		return assigner.Errorf(assigner.Own, "interface %s is down", a.Name)
	case a.RawFlags&unix.IFF_RUNNING == 0:
		return assigner.Errorf(assigner.Own, "interface %s has no carrier", a.Name)
	}
	return nil
}

// addresses lists those of all interfaces.
func (l *link) addresses() ([]netlink.Addr, error) {
	for range 3 {
		list, err := l.nl.AddrList(nil, netlink.FAMILY_ALL)
		if err == nil {
			return list, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) { // somebody changed addresses meanwhile
			return nil, assigner.Errorf(assigner.Own, "list the addresses: %w", err)
		}
	}
	return nil, assigner.Errorf(assigner.Own, "list the addresses: they keep changing")
}

// find lists where this machine has ip.
func (l *link) find(ip netip.Addr) (found []netlink.Addr, err error) {
	list, err := l.addresses()
	for _, a := range list {
		if addressOf(a) == ip {
			found = append(found, a)
		}
	}
	return found, err
}

// carries reports whether the interface has ip.
func (l *link) carries(ip netip.Addr) (bool, error) {
	a, err := l.attrs()
	if err != nil {
		return false, err
	}
	found, err := l.find(ip)
	for _, f := range found {
		if f.LinkIndex == a.Index {
			return true, err
		}
	}
	return false, err
}

// vacant refuses an ip that somebody else has given to this machine, on whichever interface: it
// would be in two places for as long as another node leads.
func (l *link) vacant(ip netip.Addr) error {
	found, err := l.find(ip)
	if err != nil {
		return err
	}
	for _, f := range found {
		if foreign(f) {
			dev := l.nameOf(f.LinkIndex)
			return assigner.Errorf(assigner.Own,
				"%s is configured on %s by somebody else; buoy puts it on and off by itself: remove it there (ip address del %s dev %s, and in the network configuration)",
				ip, dev, f.IPNet, dev)
		}
	}
	return nil
}

func (l *link) nameOf(index int) string {
	found, err := l.nl.LinkByIndex(index)
	if err != nil {
		return fmt.Sprintf("interface %d", index)
	}
	return found.Attrs().Name
}

// linkLocal is the address that neighbour solicitations come from.
func (l *link) linkLocal() (netip.Addr, error) {
	a, err := l.attrs()
	if err != nil {
		return netip.Addr{}, err
	}
	list, err := l.addresses()
	for _, f := range list {
		ip := addressOf(f)
		if f.LinkIndex == a.Index && ip.Is6() && ip.IsLinkLocalUnicast() && foreign(f) && f.Flags&unix.IFA_F_TENTATIVE == 0 {
			return ip, nil
		}
	}
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.Addr{}, assigner.Errorf(assigner.Own, "interface %s has no IPv6 link-local address (yet): is IPv6 off there?", l.name)
}

// put gives the interface with this index ip for another lifetime. added says that it was not there
// before.
func (l *link) put(index int, ip netip.Addr) (added bool, err error) {
	addr := addressFor(index, ip)
	err = l.nl.AddrAdd(nil, addr)
	added = err == nil
	if errors.Is(err, unix.EEXIST) {
		err = l.nl.AddrReplace(nil, addr)
	}
	if err != nil {
		return false, assigner.Errorf(assigner.Own, "put %s on %s: %w", ip, l.name, err)
	}
	return added, nil
}

// takeOff removes ip from the interface, unless somebody else has put it there. removed says that
// it was there.
func (l *link) takeOff(ip netip.Addr) (removed bool, err error) {
	a, err := l.attrs()
	if err != nil {
		return false, err
	}
	found, err := l.find(ip)
	if err != nil {
		return false, err
	}
	for _, f := range found {
		if f.LinkIndex != a.Index || foreign(f) {
			continue
		}
		err := l.nl.AddrDel(nil, &f)
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) { // it has expired meanwhile
			return removed, assigner.Errorf(assigner.Own, "take %s off %s: %w", ip, l.name, err)
		}
		removed = true
	}
	return removed, nil
}

// addressFor is ip as we put it on.
//
// As a host address, like keepalived's: with the subnet's length it would become the subnet's first
// address where there is no other, bring a route, and take the others along when it goes.
//
// IPv6 without duplicate address detection, during which it could not be used for a second, and
// which a former holder that still answers would make fail. Deprecated from the first moment
// (preferred for 0 s), so that this machine does not choose it as the source of connections of its
// own (RFC 6724, section 5, rule 3); those that come in do not mind. IPv4 knows no such thing, and
// needs none: the first address of the interface is chosen.
func addressFor(index int, ip netip.Addr) *netlink.Addr {
	addr := &netlink.Addr{
		IPNet:     &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())},
		LinkIndex: index, ValidLft: int(lifetime / time.Second), PreferedLft: int(lifetime / time.Second),
	}
	if ip.Is6() {
		addr.PreferedLft = 0
		addr.Flags = unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE
	}
	return addr
}

// foreign tells an address that we have put on, or a predecessor of this process, from all others
// by its lifetime.
func foreign(a netlink.Addr) bool { return a.ValidLft > int(lifetime/time.Second) }

func addressOf(a netlink.Addr) netip.Addr {
	ip, _ := netip.AddrFromSlice(a.IP)
	return ip.Unmap()
}
