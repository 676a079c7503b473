// Package healthcheck answers one question: is the local HAProxy fit to serve?
//
// A [Checker] looks once and returns a [Result]. A [Monitor] runs the checkers
// of its [Spec] list on their schedules, counts results by the rules of
// keepalived's vrrp_script (consecutive rise and fall), and offers one
// [Verdict]: which checks hold, which make the node ineligible, and what each
// adds to the priority. What follows from a verdict is decided elsewhere: the
// package knows nothing of priorities, leaders, other nodes or clouds.
//
// # Hard and soft
//
// A hard result (dead, hung, not listening, stopping) says that this node
// cannot serve. A soft result says that it serves, but that something is
// wrong: no usable backend, no free connection, a statistics socket without a
// free slot. Soft never makes a node ineligible, because backends and load are
// shared: if they counted as hard, all balancers would become ineligible
// together and nobody would hold the address. A soft condition is reported
// once it has lasted [SoftDelay], and may then cost some weight.
//
// # Kinds
//
//   - [HAProxy]: death of the process as an event (pidfd), `show info` on the
//     statistics socket, and the monitor-uri of the real frontend, in one
//     verdict. It follows reloads in every start mode.
//   - [Process]: a process of a given name, or of a PID file, lives (pidfd).
//   - [HTTP], [TCP]: a request is answered, a connection is accepted.
//   - [Command]: exit status of a program, by keepalived's rules.
//
// # Before the first result
//
// A check fails until its first result. One good result is then enough,
// whatever Rise says, so that a restarted daemon is fit again within one look;
// with InitFail it takes Rise of them. That is keepalived's initial counter
// (rise-1, or 0 with init_fail; vrrp_scheduler.c, v2.4.3).
//
// # What no check here sees
//
// Probe the address that HAProxy binds, not the floating address: a node that
// does not hold it cannot reach itself through it. Without a monitor URL the
// haproxy kind cannot tell a statistics socket whose ten slots are taken from
// a hung process, nor see a frontend that was disabled: give one. A timeout of
// the haproxy kind under 100 ms leaves no room to ask a stopping process again,
// so that reloads would be counted as failures.
package healthcheck
