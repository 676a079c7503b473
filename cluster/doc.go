// Package cluster is the Raft shell around fsm.Decide: one node, one loop, one action
// at a time.
//
// It keeps the members' state in agreement (hashicorp/raft), carries health reports to
// the leader, asks fsm.Decide what to do whenever something changed, and does it:
// hand leadership over, or have the Claimer make a floating IP point here. It never
// ranks nodes itself, and it knows neither HAProxy nor any cloud.
//
// The right to write to the cloud is a ticket, not leadership: see ticket.go and
// DESIGN.md beside this file.
package cluster
