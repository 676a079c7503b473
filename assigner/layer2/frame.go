package layer2

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
)

// The numbers of the protocols, in the words of their RFCs.
const (
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	arpRequest = 1 // RFC 826
	arpReply   = 2

	protocolICMPv6        = 58 // RFC 4443
	neighborSolicitation  = 135
	neighborAdvertisement = 136
	sourceLinkLayer       = 1 // RFC 4861, section 4.6.1
	targetLinkLayer       = 2
	flagOverride          = 0x20000000 // section 4.4
	neighborHopLimit      = 255        // a packet that was forwarded has less

	etherLen = 14
	arpLen   = 28
	ipv6Len  = 40
	ndLen    = 32 // type to target, and one link-layer option
)

var (
	broadcast   = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	noMAC       = net.HardwareAddr{0, 0, 0, 0, 0, 0}
	allNodes    = netip.MustParseAddr("ff02::1")
	unspecified = netip.IPv4Unspecified()
)

// announcements are the frames that tell the neighbours that mac has ip: for IPv4 a gratuitous ARP
// request and a reply (RFC 5944, section 4.6: some heed only the one, some only the other), for IPv6
// an unsolicited neighbour advertisement with the override flag (RFC 4861, section 7.2.6).
func announcements(mac net.HardwareAddr, ip netip.Addr) [][]byte {
	if ip.Is6() {
		return [][]byte{nd(mac, ip, allNodes, neighborAdvertisement, flagOverride, ip)}
	}
	return [][]byte{
		arp(arpRequest, mac, ip, noMAC, ip),
		arp(arpReply, mac, ip, mac, ip),
	}
}

// question asks who has ip. An ARP probe's sender address is empty, so that it changes nobody's
// neighbour table (RFC 5227, section 2.1.1). source is the interface's own link-local IPv6 address,
// so that the answer comes to us alone: the answer to a solicitation from "::" goes to all nodes and
// would turn them to a former holder that still answers.
func question(mac net.HardwareAddr, source, ip netip.Addr) []byte {
	if ip.Is6() {
		return nd(mac, source, solicitedNode(ip), neighborSolicitation, 0, ip)
	}
	return arp(arpRequest, mac, unspecified, noMAC, ip)
}

// answer reads a received frame: the MAC address of the machine that says it has ip.
func answer(frame []byte, ip netip.Addr) (net.HardwareAddr, bool) {
	if ip.Is6() {
		return answerND(frame, ip)
	}
	return answerARP(frame, ip)
}

func ether(dst, src net.HardwareAddr, kind uint16, size int) []byte {
	b := make([]byte, 0, etherLen+size)
	b = append(append(b, dst...), src...)
	return binary.BigEndian.AppendUint16(b, kind)
}

// arp is a broadcast ARP packet for IPv4 over Ethernet (RFC 826).
func arp(op uint16, senderMAC net.HardwareAddr, sender netip.Addr, targetMAC net.HardwareAddr, target netip.Addr) []byte {
	b := ether(broadcast, senderMAC, etherARP, arpLen)
	b = append(b, 0, 1, 8, 0, 6, 4) // Ethernet, IPv4, the lengths of their addresses
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(append(b, senderMAC...), sender.AsSlice()...)
	return append(append(b, targetMAC...), target.AsSlice()...)
}

func answerARP(frame []byte, ip netip.Addr) (net.HardwareAddr, bool) {
	if len(frame) < etherLen+arpLen || !bytes.Equal(frame[12:20], []byte{8, 6, 0, 1, 8, 0, 6, 4}) {
		return nil, false
	}
	mac, sender := net.HardwareAddr(frame[22:28]), netip.AddrFrom4([4]byte(frame[28:32]))
	return mac, sender == ip // whether request or reply: the sender has it
}

// nd is a neighbour discovery message of this kind about target (RFC 4861, sections 4.3 and 4.4)
// with the link-layer address option that belongs to it, to a multicast address.
func nd(mac net.HardwareAddr, src, dst netip.Addr, kind byte, flags uint32, target netip.Addr) []byte {
	group := dst.As16()
	b := ether(append(net.HardwareAddr{0x33, 0x33}, group[12:]...), mac, etherIPv6, ipv6Len+ndLen)
	b = append(b, 0x60, 0, 0, 0, 0, ndLen, protocolICMPv6, neighborHopLimit)
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	option := byte(targetLinkLayer)
	if kind == neighborSolicitation {
		option = sourceLinkLayer
	}
	b = append(b, kind, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, flags)
	b = append(b, target.AsSlice()...)
	b = append(append(b, option, 1), mac...) // its length is 1 x 8 bytes
	binary.BigEndian.PutUint16(b[etherLen+ipv6Len+2:], checksum(b[etherLen:]))
	return b
}

// answerND leaves the checksum to the kernel: a frame that never left this machine has none yet.
func answerND(frame []byte, ip netip.Addr) (net.HardwareAddr, bool) {
	const body = etherLen + ipv6Len
	if len(frame) < body+24 || binary.BigEndian.Uint16(frame[12:]) != etherIPv6 ||
		frame[etherLen+6] != protocolICMPv6 || frame[etherLen+7] != neighborHopLimit ||
		frame[body] != neighborAdvertisement || frame[body+1] != 0 ||
		netip.AddrFrom16([16]byte(frame[body+8:body+24])) != ip {
		return nil, false
	}
	if o := frame[body+24:]; len(o) >= 8 && o[0] == targetLinkLayer && o[1] == 1 {
		return net.HardwareAddr(o[2:8]), true
	}
	return net.HardwareAddr(frame[6:12]), true
}

// solicitedNode is the multicast group of ip (RFC 4291, section 2.7.1).
func solicitedNode(ip netip.Addr) netip.Addr {
	g, a := netip.MustParseAddr("ff02::1:ff00:0").As16(), ip.As16()
	copy(g[13:], a[13:])
	return netip.AddrFrom16(g)
}

// checksum is that of an ICMPv6 message over its pseudo-header (RFC 8200, section 8.1), in a packet
// without extension headers whose checksum field is zero.
func checksum(packet []byte) uint16 {
	length := uint32(len(packet) - ipv6Len)
	sum := length + protocolICMPv6
	for i := 8; i+1 < len(packet); i += 2 { // the addresses, then the message
		sum += uint32(binary.BigEndian.Uint16(packet[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
