// Package variant builds altered daemons for the lab, without a hook in the product's
// code: `go build -overlay` compiles patched copies of a few source files in place of the
// originals. A variant is a list of edits of text, each of which must find what it looks
// for exactly once. A product that has moved on therefore breaks the build of the variant
// instead of silently disarming it.
//
// [SteppedClock] is an honest daemon whose wall clock the lab can step while it runs.
// [Mutants] are daemons that break one rule each: the checker must object to every one of
// them, or it has no teeth.
//
// # Not here, because
//
// The list of mutants in which this one began has a few that no lab sees in 30 seconds:
//
//   - Release after the transfer, or never: a successor then waits the ticket out, 0.8 s
//     at most. That is slow and not wrong. What is wrong is a release that comes too
//     early: early-release.
//   - Watchdog off, progress probe off: both act only on a leader that commits nothing for
//     3 or 10 s. To wedge one takes a race that a lab wins now and then (hashicorp/raft
//     issue #696); cluster/wedge_test.go arranges it.
//   - The wait not counted anew from a snapshot: a follower must lag by 512 entries, get a
//     snapshot, and lead within 0.8 s of the ticket in it.
//   - A log or a vote that is written and not synced: kill -9 leaves the kernel's cache,
//     so only a power cut shows it. What survives no kill -9 at all is in memory-log and
//     forgetful-vote.
//   - A stale answer to a probe taken for fresh: the transfer's own guard asks again, so
//     it costs a second and moves nothing wrongly.
package variant
