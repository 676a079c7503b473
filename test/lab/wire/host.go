package wire

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespaces is where netns.NewNamed and ip-netns(8) mount what they name.
const namespaces = "/run/netns"

// errEnded is the result of a function that ended its goroutine, as t.FailNow does.
var errEnded = errors.New("the function ended its goroutine")

// Host is one machine: a network namespace with its loopback up. Its methods may be
// called concurrently, Close last.
type Host struct {
	Name string

	ns netns.NsHandle
	nl *netlink.Handle // a socket inside, so that commands need no switch of threads
}

// NewHost makes a host in a named namespace, /run/netns/NAME. One that an earlier run
// left under this name is removed first.
func NewHost(name string) (*Host, error) {
	if err := removeNamespace(name); err != nil {
		return nil, fmt.Errorf("make host %s: remove the old one: %w", name, err)
	}
	h := &Host{Name: name, ns: netns.None()}
	if err := onOwnThread(h.create); err != nil {
		return nil, errors.Join(fmt.Errorf("make host %s: %w", name, err), h.Close())
	}
	return h, nil
}

// create moves the calling thread into the new namespace.
func (h *Host) create() (err error) {
	if h.ns, err = netns.NewNamed(h.Name); err != nil {
		return err
	}
	if h.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	return h.up("lo")
}

// Do runs f inside the namespace, on a goroutine and a thread of its own. The thread is
// locked and never used again, so the namespace cannot leak into other goroutines.
// Sockets that f makes stay in the namespace wherever they are used afterwards; yet
// goroutines that f starts run outside (an http.Transport dials on one).
func (h *Host) Do(f func() error) error {
	return onOwnThread(func() error {
		if err := h.Enter(); err != nil {
			return err
		}
		return f()
	})
}

// Enter moves the calling thread, which must be locked, into the namespace, so that the
// child processes it starts live there. A child with Pdeathsig is killed when this
// thread ends, not when the process does.
func (h *Host) Enter() error {
	if err := netns.Set(h.ns); err != nil {
		return fmt.Errorf("enter host %s: %w", h.Name, err)
	}
	return nil
}

// Close removes the name; the kernel removes the rest when the last socket and process
// inside are gone.
func (h *Host) Close() error {
	if h.nl != nil {
		h.nl.Close()
	}
	if h.ns.IsOpen() {
		_ = h.ns.Close()
	}
	if err := removeNamespace(h.Name); err != nil {
		return fmt.Errorf("remove host %s: %w", h.Name, err)
	}
	return nil
}

// AddAddress gives link an address; one that it has already is no error.
func (h *Host) AddAddress(link string, prefix netip.Prefix) error {
	l, err := h.nl.LinkByName(link)
	if err == nil {
		err = h.nl.AddrReplace(l, &netlink.Addr{IPNet: ipNet(prefix)})
	}
	if err != nil {
		return fmt.Errorf("host %s: add %v to %s: %w", h.Name, prefix, link, err)
	}
	return nil
}

// Route sends what is bound for dst to via, from now on and instead of where it went
// before. The default route is 0.0.0.0/0.
func (h *Host) Route(dst netip.Prefix, via netip.Addr) error {
	err := h.nl.RouteReplace(&netlink.Route{Dst: ipNet(dst.Masked()), Gw: via.AsSlice()})
	if err != nil {
		return fmt.Errorf("host %s: route %v via %v: %w", h.Name, dst, via, err)
	}
	return nil
}

// Unroute removes the route to dst; that there is none is no error.
func (h *Host) Unroute(dst netip.Prefix) error {
	err := h.nl.RouteDel(&netlink.Route{Dst: ipNet(dst.Masked())})
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("host %s: unroute %v: %w", h.Name, dst, err)
	}
	return nil
}

// Sysctl sets a kernel parameter of the namespace, such as net.ipv4.ip_forward.
func (h *Host) Sysctl(key, value string) error {
	path := filepath.Join("/proc/sys", strings.ReplaceAll(key, ".", "/"))
	err := h.Do(func() error { return os.WriteFile(path, []byte(value), 0o644) })
	if err != nil {
		return fmt.Errorf("host %s: set %s to %s: %w", h.Name, key, value, err)
	}
	return nil
}

// Veth joins two hosts directly, without a switch, and sets both ends up.
func Veth(a *Host, nameA string, b *Host, nameB string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = nameA
	err := a.nl.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: nameB, PeerNamespace: netlink.NsFd(b.ns)})
	if err == nil {
		err = errors.Join(a.up(nameA), b.up(nameB))
	}
	if err != nil {
		return fmt.Errorf("join %s of %s to %s of %s: %w", nameA, a.Name, nameB, b.Name, err)
	}
	return nil
}

func (h *Host) up(link string) error {
	l, err := h.nl.LinkByName(link)
	if err != nil {
		return err
	}
	if err := h.nl.LinkSetUp(l); err != nil {
		return fmt.Errorf("set %s up: %w", link, err)
	}
	return nil
}

// onOwnThread runs f on a thread that ends with it, and waits for f.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errEnded
		defer func() { done <- err }()
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The runtime cannot end the process's first thread: it would stay inside for
			// ever, and /proc/self/net with it. Held here, it cannot be the next one's.
			err = onOwnThread(f)
			runtime.UnlockOSThread()
			return
		}
		err = f()
	}()
	return <-done
}

// removeNamespace unmounts and removes a name; that there is none is no error, nor that
// nothing is mounted there (EINVAL), as a run that was killed may leave it.
func removeNamespace(name string) error {
	path := filepath.Join(namespaces, name)
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
