// Package wire is the network of the lab: hosts that are Linux network namespaces,
// joined by an Ethernet switch in user space that can spoil the line from any host to
// any other, each direction on its own. It needs root, but neither `tc netem` nor a
// bridge.
//
// An unspoiled line costs two system calls and no queue: the goroutine that reads a
// frame from one host's TAP writes it to the other's. What a spoiled line does to its
// frames is drawn from a generator of its own, seeded by the switch's seed and the two
// names, so that the n-th frame of a line meets the same fate in every run, whatever
// the other lines carry.
//
// Three things differ from a real network on purpose. A line never reorders: a frame
// is delivered after all earlier ones, also under jitter (netem reorders). Neighbours
// can be made known for good (Switch.Introduce), so that no ARP time-out blurs the
// moment at which a cut heals. And TAPs have no IPv6, so that no discovery draws from
// a line's generator.
//
// A frame is never delivered before its delay is over; on two busy processors it came
// about 0.2 ms late in the median.
package wire
