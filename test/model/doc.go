// Package model checks the rules of election and claim: it visits every state that three
// nodes, an abstract raft and a cloud can get into, and asks the real fsm.Decide what each
// leader does there.
//
// explore.go searches breadth first, so that what it finds has a shortest story. model.go (with raft.go and world.go)
// and state.go are raft and the shell of package cluster as a transition function, view.go
// is what Decide gets to see, invariants.go are the rules:
//
//	I0  one leader a term (a check of the model itself)
//	I1  no two nodes have a valid ticket
//	I2  no write leaves without one
//	I3  a node that knows itself to be ineligible begins no claim
//	I4  the address leaves a healthy holder only for one that outranks it, or on request
//	I5  no hand-over to oneself, or to one that is not eligible, reachable and a voter
//	I6  whatever has happened: once the world stands still, the address comes to rest with
//	    the best fit node of the leader's majority, after at most two hand-overs that no
//	    operator asked for, and then nothing moves any more
//	I7  every decision has a reason, in words
//	I8  a fast campaign deposes no leader that is alive
//
// What can happen: nodes crash and start again, links are cut one by one or all of a
// node's, health changes and is learned of late, a leader hears late that it is none, an
// election comes although the leader lives, an operator asks for a hand-over, hand-overs
// fail, the address is moved by others, writes are carried out late. A node that is
// paused is one whose turn does not come. All of it in any order, for BUOY_MODEL_DEPTH
// steps with at most BUOY_MODEL_FAULTS faults (repairs are free); then the world stands
// still, and the way to rest is followed. The starts are a cluster at rest, one in which
// lb1 has just got a ticket, and one that has just been switched on.
//
//	go test -v ./test/model                                            # 5 steps, 2 faults
//	BUOY_MODEL_DEPTH=8 go test -v ./test/model
//	BUOY_MODEL_DEPTH=100 BUOY_MODEL_FAULTS=1 go test -v ./test/model   # any length
//
// States of all four clusters together, all rules kept, on two shared cores:
//
//	steps  faults  states     time
//	5      2       431 000    4 s (with the race detector 12 s of CPU)
//	7      2       1 869 000  15 s
//	8      2       3 584 000  37 s
//	6      3       4 517 000  46 s
//	12     1       920 000    5 s
//	any    1       11 607 000 131 s
//
// What is abstracted. Time is a clock that ticks for all alike: a ticket lives for two
// ticks, so that the 5 % for the clocks' rates are not modelled, and no timer has a length
// (looks, probes and elections come when they like). An election is one step, by the vote
// of one other, in a term newer than both have seen; so is the copying of a leader's log
// with its answer. A log is what it says when applied, and how far it goes. The veto
// against ineligible candidates, damping, preempt_delay, own faults of the claimer,
// changes of membership, and tickets queued across a change of leader are left out;
// drained, stopping and unable to claim are one with failed. Links are cut both ways.
package model
