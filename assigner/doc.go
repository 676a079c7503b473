// Package assigner makes a floating IP point at this node and proves that it does.
//
// A [Provider] speaks one technology's words: who am I, who holds the address, claim it, is the
// claim still under way. The [Claimer] owns the procedure that is the same for all of them:
//
//	look      ours and not locked: done, nothing is written
//	prepare   wait for what a claim has to wait for, before any right is taken
//	claim     take the right to write (Fence), one write, no retry
//	follow    wait while the cloud works on it
//	look      ours and not locked: done; anything else is an error
//
// The truth is always a fresh look at the holder, never an action's status and never the answer to
// the write: clouds lose replies, call finished actions by undocumented names, and offer no
// compare-and-set. For the same reason a claim whose reply is lost is looked up before anything is
// written again, and nothing is ever unassigned: that would open a gap, and a late unassign would
// undo a successor's claim.
//
// The package never decides when to claim and never retries by itself. It knows nothing of leaders,
// health or priorities: its caller asks for an address, hands over a [Fence] that guards the write,
// and schedules the next attempt from the [Error] of the last.
//
// [Memory] is a whole cloud for tests. The suite in assignertest is what every provider must pass.
package assigner
