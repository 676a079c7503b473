package wire

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	mtu      = 1500
	maxFrame = 2048 // an Ethernet header, perhaps a VLAN tag, and mtu
)

// hardware is an Ethernet address as frames carry it.
type hardware [6]byte

// Port is where a host's link is plugged into a Switch.
type Port struct {
	host      *Host
	link      string
	address   hardware
	tap       *os.File
	unplugged atomic.Bool
}

// SetCarrier pulls the host's cable (false) or puts it back. While it is pulled, frames
// pass neither way. Those who watch the link learn of a return at once, yet of a loss
// up to a second late: the kernel collects such news, with hardware too.
func (p *Port) SetCarrier(up bool) error {
	p.unplugged.Store(!up)
	carrier := 0
	if up {
		carrier = 1
	}
	err := p.control(func(fd int) error { return unix.IoctlSetPointerInt(fd, unix.TUNSETCARRIER, carrier) })
	if err != nil {
		return fmt.Errorf("set carrier of %s of %s: %w", p.link, p.host.Name, err)
	}
	return nil
}

// write delivers a frame to the host. What it does not take is lost, as on any wire.
func (p *Port) write(frame []byte) {
	if !p.unplugged.Load() {
		_, _ = p.tap.Write(frame)
	}
}

// open makes the TAP and sets it up, without IPv6.
func (p *Port) open() error {
	if err := p.host.Do(p.create); err != nil {
		return err
	}
	err := p.host.Sysctl("net.ipv6.conf."+p.link+".disable_ipv6", "1")
	if errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
		err = nil
	}
	if err == nil {
		err = p.configure()
	}
	if err != nil {
		p.tap.Close()
	}
	return err
}

// create leaves the TAP to Go's poller, which takes it only once it is attached.
func (p *Port) create() error {
	request, err := unix.NewIfreq(p.link)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/net/tun: %w", err)
	}
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("make the TAP: %w", err)
	}
	p.tap = os.NewFile(uintptr(fd), "tap "+p.link)
	return nil
}

func (p *Port) configure() error {
	l, err := p.host.nl.LinkByName(p.link)
	if err != nil {
		return err
	}
	if err := p.host.nl.LinkSetHardwareAddr(l, p.address[:]); err != nil {
		return fmt.Errorf("set the hardware address: %w", err)
	}
	if err := p.host.nl.LinkSetMTU(l, mtu); err != nil {
		return fmt.Errorf("set the MTU: %w", err)
	}
	return p.host.up(p.link)
}

func (p *Port) introduce(address netip.Addr, at hardware) error {
	l, err := p.host.nl.LinkByName(p.link)
	if err != nil {
		return err
	}
	return p.host.nl.NeighSet(&netlink.Neigh{
		LinkIndex:    l.Attrs().Index,
		State:        netlink.NUD_PERMANENT,
		IP:           address.AsSlice(),
		HardwareAddr: bytes.Clone(at[:]),
	})
}

// control calls f with the TAP's descriptor, which (*os.File).Fd would make blocking.
func (p *Port) control(f func(fd int) error) error {
	conn, err := p.tap.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := conn.Control(func(fd uintptr) { result = f(int(fd)) }); err != nil {
		return err
	}
	return result
}

// hardwareAddress derives a locally administered address (02:...) from a link's names.
func hardwareAddress(host, link string) hardware {
	name := fnv.New64a()
	name.Write([]byte(host + "\x00" + link))
	h := hardware{0: 2}
	copy(h[1:], name.Sum(nil))
	return h
}
