package layer2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/buoy-lb/buoy/assigner"
)

// A probe asks three times. A neighbour's kernel answers in well under a millisecond, and at once
// even if the machine is busy; three, since a frame may be lost.
const (
	questions    = 3
	questionWait = 50 * time.Millisecond
)

// sender sends frames. It has a socket that stays open: the kernel takes milliseconds to close one.
type sender struct{ fd int }

// openSender returns a sender; its socket receives nothing.
func openSender() (*sender, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	return &sender{fd}, nil
}

func (s *sender) close() { _ = unix.Close(s.fd) }

// announce tells the neighbours on the interface with this index that mac has ip. It does not wait.
func (s *sender) announce(index int, mac net.HardwareAddr, ip netip.Addr) error {
	var errs []error
	for _, frame := range announcements(mac, ip) {
		errs = append(errs, unix.Sendto(s.fd, frame, unix.MSG_DONTWAIT, &unix.SockaddrLinklayer{
			Protocol: networkOrder(etherKind(ip)), Ifindex: index,
		}))
	}
	return errors.Join(errs...)
}

// probe asks the neighbours who has ip; nil = nobody has answered. It returns as soon as another
// machine than this one has, after 150 ms at the latest.
func probe(ctx context.Context, index int, mac net.HardwareAddr, source, ip netip.Addr) (net.HardwareAddr, error) {
	conn, err := listen(index, ip)
	if err != nil {
		return nil, assigner.Errorf(assigner.Own, "ask who has %s: %w", ip, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for range questions {
		// This may undo the deadline of a ctx that ended, hence the look at it below.
		if err := conn.SetReadDeadline(time.Now().Add(questionWait)); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if _, err := conn.Write(question(mac, source, ip)); err != nil {
			return nil, assigner.Errorf(assigner.Own, "ask who has %s: %w", ip, err)
		}
		other, err := hear(conn, mac, ip)
		if other != nil || err != nil {
			return other, err
		}
	}
	return nil, context.Cause(ctx)
}

// hear reads frames until one says that another machine has ip, or the deadline has passed.
func hear(conn *os.File, mac net.HardwareAddr, ip netip.Addr) (net.HardwareAddr, error) {
	frame := make([]byte, 256)
	for {
		n, err := conn.Read(frame)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, nil
		case err != nil:
			return nil, assigner.Errorf(assigner.Own, "hear who has %s: %w", ip, err)
		}
		if from, ok := answer(frame[:n], ip); ok && !bytes.Equal(from, mac) {
			return from, nil
		}
	}
}

// listen opens a socket that receives what may answer a question for ip.
func listen(index int, ip netip.Addr) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	conn := os.NewFile(uintptr(fd), "packet socket")
	if ip.Is6() {
		err = onlyAdvertisements(fd)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(etherKind(ip)), Ifindex: index})
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("bind a packet socket: %w", err)
	}
	return conn, nil
}

// onlyAdvertisements has the kernel drop all but neighbour advertisements, so that the interface's
// whole IPv6 traffic does not pass through here.
func onlyAdvertisements(fd int) error {
	const (
		loadByte  = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
		jumpEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret       = unix.BPF_RET | unix.BPF_K
	)
	program := []unix.SockFilter{
		{Code: loadByte, K: etherLen + 6}, // next header
		{Code: jumpEqual, K: protocolICMPv6, Jf: 3},
		{Code: loadByte, K: etherLen + ipv6Len}, // type
		{Code: jumpEqual, K: neighborAdvertisement, Jf: 1},
		{Code: ret, K: 256},
		{Code: ret, K: 0},
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

func etherKind(ip netip.Addr) uint16 {
	if ip.Is6() {
		return etherIPv6
	}
	return etherARP
}

// networkOrder is v as packet(7) wants it.
func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
