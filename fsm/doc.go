// Package fsm holds what the members of a cluster replicate, and Decide, the one
// pure function that says what the leader should do about it.
//
// The package computes and never acts: it reads no clock, starts no goroutine,
// touches no network or file and logs nothing. Time comes in as an argument.
//
//	State    what every member knows: members, reports, claims, the newest ticket
//	Command  one change of it, in a versioned envelope
//	FSM      the raft.FSM over both
//	View     what the leader sees right now: State, contacts, what is in flight
//	Decide   View and now in, Decision out
//
// The ranking follows VRRP (RFC 9568 section 6) with the differences that Decide's
// documentation names.
package fsm
