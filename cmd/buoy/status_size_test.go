package main

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/fsm"
)

// sized is a cluster in which all is well.
func sized(balancers, witnesses int) cluster.Status {
	s := sample(time.Now())
	s.Members, s.Voters = nil, balancers+witnesses
	add := func(name string, role fsm.Role, state cluster.MemberState) {
		member := fsm.Member{ID: name + "-x", Name: name, Role: role, ConfigDigest: s.Self.ConfigDigest}
		s.Members = append(s.Members, cluster.MemberStatus{Member: member, Voter: true, State: state, Eligible: role == fsm.RoleBalancer})
	}
	for n := range balancers {
		add(fmt.Sprintf("lb%d", n+1), fsm.RoleBalancer, cluster.StateBackup)
	}
	for n := range witnesses {
		add(fmt.Sprintf("w%d", n+1), fsm.RoleWitness, cluster.StateWitness)
	}
	s.Reachable = s.Voters
	return s
}

// TestSizeWarnings: every cluster hears what it cannot survive, and one of a good size
// hears nothing.
func TestSizeWarnings(t *testing.T) {
	const two = "two voters cannot survive the loss of either: add a witness or a third balancer"
	for _, tc := range []struct {
		balancers, witnesses int
		want                 []string
	}{
		{1, 0, []string{"no other member: nobody takes over from lb1; add a balancer and a witness, or two balancers"}},
		{2, 0, []string{two}},
		{1, 1, []string{two, "no other balancer: nobody takes over from lb1"}},
		{2, 1, []string{}},
		{3, 0, []string{}},
		{1, 2, []string{"no other balancer: nobody takes over from lb1"}},
		{3, 1, []string{"the fourth voter adds no tolerance: 4 survive the loss of 1, as 3 do"}},
		{5, 0, []string{}},
		{6, 0, []string{"the sixth voter adds no tolerance: 6 survive the loss of 2, as 5 do"}},
		{10, 0, []string{"the 10th voter adds no tolerance: 10 survive the loss of 4, as 9 do"}},
	} {
		s := sized(tc.balancers, tc.witnesses)
		if got := viewOf(s, time.Now()).Warnings; !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%d balancers, %d witnesses: %q, want %q", tc.balancers, tc.witnesses, got, tc.want)
		}
	}
}

// TestSizeWarningsCountVoters: who is only joining changes nothing yet, and who is in no
// cluster is told other things.
func TestSizeWarningsCountVoters(t *testing.T) {
	s := sized(3, 0)
	s.Members[2].Voter, s.Voters = false, 2
	if got := sizeWarnings(s); len(got) != 1 {
		t.Errorf("two voters and one that joins: %q", got)
	}
	if got := sizeWarnings(cluster.Status{}); len(got) > 0 {
		t.Errorf("in no cluster: %q", got)
	}
}

// TestQuorumLostIsAWarning: who reads the JSON alone must see it, too.
func TestQuorumLostIsAWarning(t *testing.T) {
	s := sized(3, 0)
	s.LeaderID, s.RaftState, s.Reachable = "", "Candidate", 0
	want := "without a leader nobody moves the address; 2 of 3 voters must be in contact to elect one"
	if got := viewOf(s, time.Now()).Warnings; len(got) != 2 || got[1] != want {
		t.Errorf("%q, want the second to be %q", got, want)
	}
}
