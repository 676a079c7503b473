// Package layer2 moves an address that the machines of one Ethernet segment carry themselves, as
// VRRP does: the holder has it on an interface and tells its neighbours by gratuitous ARP and
// unsolicited neighbour advertisements. No cloud is asked, and a claim takes a millisecond.
//
// Who holds the address is what the wire says: an ARP probe (RFC 5227) or a neighbour solicitation
// (RFC 4861), answered by a MAC address. The instance of a node is the MAC address of its interface.
// An answer by another machine counts for more than the address on our own interface: two carry it
// then, and the claim that follows announces ours again.
//
// The address has a kernel lifetime of a second, which a goroutine of this process renews five times
// a second (the keeper). So it vanishes by itself when the process is killed or stopped, and no
// second machine carries it for longer. A process that slept through that second has lost the right
// to the address with it: the keeper does not put it back, a new claim must.
//
// The right to write is checked right before the address is put on the interface, and once more right
// after: if it ended meanwhile the address is taken off again before any neighbour has heard of it.
//
// Addresses that somebody else has configured on this machine, by hand or by another program, are
// never touched: the provider refuses to work with them.
//
// It needs CAP_NET_ADMIN, to change addresses, and CAP_NET_RAW, to speak ARP and ND.
package layer2
