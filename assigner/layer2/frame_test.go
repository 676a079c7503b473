package layer2

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
)

var (
	ourMAC   = net.HardwareAddr{0x02, 0x42, 0xc0, 0x00, 0x02, 0x0b}
	otherMAC = net.HardwareAddr{0x02, 0x42, 0xc0, 0x00, 0x02, 0x0c}
	local6   = netip.MustParseAddr("fe80::42:c0ff:fe00:20b")
)

// bytesOf reads hexadecimal with spaces and line breaks.
func bytesOf(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	must(t, err)
	return b
}

// The frames field by field, from the figures of the RFCs; the ICMPv6 checksums were computed apart
// (in Python, over the pseudo-header).
func TestFrames(t *testing.T) {
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"gratuitous ARP request": {announcements(ourMAC, ip4)[0], `
			ffffffffffff 0242c000020b 0806
			0001 0800 06 04 0001
			0242c000020b c000020a
			000000000000 c000020a`},
		"gratuitous ARP reply": {announcements(ourMAC, ip4)[1], `
			ffffffffffff 0242c000020b 0806
			0001 0800 06 04 0002
			0242c000020b c000020a
			0242c000020b c000020a`},
		"ARP probe": {question(ourMAC, netip.Addr{}, ip4), `
			ffffffffffff 0242c000020b 0806
			0001 0800 06 04 0001
			0242c000020b 00000000
			000000000000 c000020a`},
		"unsolicited neighbour advertisement": {announcements(ourMAC, ip6)[0], `
			333300000001 0242c000020b 86dd
			60000000 0020 3a ff
			20010db8000000000000000000000010
			ff020000000000000000000000000001
			88 00 36c0 20000000
			20010db8000000000000000000000010
			02 01 0242c000020b`},
		"neighbour solicitation": {question(ourMAC, local6, ip6), `
			3333ff000010 0242c000020b 86dd
			60000000 0020 3a ff
			fe800000000000000042c0fffe00020b
			ff0200000000000000000001ff000010
			87 00 c7a9 00000000
			20010db8000000000000000000000010
			01 01 0242c000020b`},
	} {
		if want := bytesOf(t, c.want); !bytes.Equal(c.got, want) {
			t.Errorf("%s:\ngot  %x\nwant %x", name, c.got, want)
		}
	}
	if n := len(announcements(ourMAC, ip4)); n != 2 {
		t.Errorf("%d IPv4 announcements, want 2", n)
	}
}

func TestAnswers(t *testing.T) {
	reply := arp(arpReply, otherMAC, ip4, ourMAC, netip.IPv4Unspecified())
	advert := nd(otherMAC, ip6, allNodes, neighborAdvertisement, flagOverride, ip6)
	changed := func(frame []byte, at int, value byte) []byte {
		f := append([]byte(nil), frame...)
		f[at] = value
		return f
	}
	for name, c := range map[string]struct {
		frame []byte
		ip    netip.Addr
		want  string
	}{
		"ARP reply":                      {reply, ip4, otherMAC.String()},
		"padded":                         {append(reply[:len(reply):len(reply)], make([]byte, 18)...), ip4, otherMAC.String()},
		"somebody announces":             {announcements(otherMAC, ip4)[0], ip4, otherMAC.String()},
		"somebody else asks":             {question(otherMAC, netip.Addr{}, ip4), ip4, ""},
		"another address":                {reply, netip.MustParseAddr("192.0.2.99"), ""},
		"cut off":                        {reply[:41], ip4, ""},
		"not IPv4":                       {changed(reply, 17, 6), ip4, ""},
		"advertisement":                  {advert, ip6, otherMAC.String()},
		"advertisement of another":       {advert, netip.MustParseAddr("2001:db8::99"), ""},
		"forwarded":                      {changed(advert, etherLen+7, 254), ip6, ""},
		"somebody solicits":              {question(otherMAC, local6, ip6), ip6, ""},
		"advertisement without option":   {advert[:len(advert)-8], ip6, otherMAC.String()},
		"advertisement, a foreign code":  {changed(advert, etherLen+ipv6Len+1, 1), ip6, ""},
		"advertisement, cut off":         {advert[:etherLen+ipv6Len+23], ip6, ""},
		"advertisement, wrong link type": {changed(advert, 12, 8), ip6, ""},
		"nothing":                        {nil, ip6, ""},
	} {
		mac, ok := answer(c.frame, c.ip)
		if ok != (c.want != "") || ok && mac.String() != c.want {
			t.Errorf("%s: %v, %v; want %q", name, mac, ok, c.want)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, frame := range append(announcements(otherMAC, ip4), announcements(otherMAC, ip6)...) {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		for _, ip := range []netip.Addr{ip4, ip6} {
			if mac, ok := answer(frame, ip); ok && len(mac) != 6 {
				t.Errorf("MAC address %v", mac)
			}
		}
	})
}
