// Package program runs an operator's programs: as a process group, for a bounded time, with
// bounded output, and as root only if nobody else could have put them there.
package program
