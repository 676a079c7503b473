// Package digitalocean moves DigitalOcean reserved IPs (floating IPs) through godo.
//
// It uses /v2/reserved_ips and /v2/reserved_ipv6, as DigitalOcean's own tools do; /v2/floating_ips
// is documented as deprecated. docs/claiming.md has the procedure and the classes of errors,
// classes_test.go all that may go wrong, one by one. What it guards against:
//
//   - godo's retries are never switched on (godo.NewFromToken would): they replay the POST after
//     429 and 5xx, which is how a deposed leader steals an address. Redirects are refused for the
//     same reason: 307 and 308 would send the POST again.
//   - One right to write is one request on one connection: see cloudhttp.Permit. The check runs in
//     net.Conn.Write, below TLS; after Claim has returned nothing can be written any more, and what
//     the kernel has not sent is thrown away (SO_LINGER 0) instead of being delivered when a broken
//     network heals.
//   - The truth is GET of the address. Action IDs of brought-your-own addresses answer 404 for ever
//     (terraform-provider-digitalocean #1557), and an undocumented status "done" was seen for a day
//     (same project, #711).
//   - 422 has one status and four meanings: an action pends on the address, or on the droplet
//     (#1034, #1565 there), or the droplet has a reserved address already, perhaps this one, or the
//     region is wrong. It is never told apart by its text: class Pending, the Claimer looks, and
//     Diagnose tells an address at rest from its reasons.
//   - An address that nobody holds, and one whose holder the token may not see, look alike: null is
//     believed only of a token that has shown us a droplet.
//   - IPv6 addresses do not show a pending action: the account's actions are read as well.
//   - 200 {} decodes to a nil value without an error, and a network error to a nil response: both
//     are handled wherever godo is called.
//
// The reads keep the connection that the POST will use warm. Reads are limited to 2 a second with a
// burst of 20 (the API grants 5000 an hour and 250 a minute to a token), and routine looks leave a
// fifth of the hour alone. The POST waits for nothing but its distance of 2 s from the last one for
// the same address, and for that without a right to write.
package digitalocean
