// Package hetzner moves Hetzner Cloud floating IPs through hcloud-go.
//
// What is peculiar to this cloud, and what it guards against:
//
//   - hcloud-go repeats requests by itself, the POST included, unless it is told MaxRetries 0. A
//     repeated assign is how a deposed leader steals an address. Writes go through
//     [cloudhttp.Permit], redirects are refused.
//   - A floating IP is known by its number. There is no look-up by address, so the project's list is
//     read once and the number remembered; a 404 on it forgets it. The pages are read here and not
//     with FloatingIP.All, which follows whatever "next page" it is told, for ever. An IPv6 floating
//     IP is a /64, and an address is held with its network.
//   - Only the address is believed: server is ours. An assign of an address that is here already is
//     refused with 422 floating_ip_assigned, which like every 409, 422 and 423 is class Pending: the
//     Claimer looks.
//   - The address does not show whether an action is running on it, and what it shows meanwhile is
//     documented nowhere. So a look is two requests: the running actions, then the address. A
//     routine look is one.
//   - GetByID answers nil without an error for what does not exist, and a 200 that is not about
//     what was asked for decodes to zeroes: both are handled wherever hcloud-go is called.
//   - "blocked" is Hetzner's doing (its abuse department), the same for every server.
//
// The metadata service tells who we are, but not which floating IPs are here: there is no hint. The
// server must carry the address itself, on every node, at all times: see docs/hetzner.md.
//
// Hetzner grants 3600 requests an hour to a project, all its tokens together, and gives back one a
// second. Reads are limited to 4 a second with a burst of 40, enough for two addresses that move at
// once; the POST never waits.
//
// Sources: https://docs.hetzner.cloud/reference/cloud, hcloud-go v2.52.0,
// ansible-collections/hetzner.hcloud #694 (an assign during an assign: "locked"),
// hcloud-fip-controller #36 (moving needs no unassign).
package hetzner
