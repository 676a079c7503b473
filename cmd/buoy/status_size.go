package main

import (
	"fmt"

	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/fsm"
)

// sizeWarnings say what a cluster of so many voters cannot survive, whoever answers now.
func sizeWarnings(s cluster.Status) []string {
	var found []string
	switch {
	case s.Voters == 1:
		return []string{fmt.Sprintf("no other member: nobody takes over from %s; add a balancer and a witness, or two balancers", s.Self.Name)}
	case s.Voters == 2:
		found = append(found, "two voters cannot survive the loss of either: add a witness or a third balancer")
	case s.Voters > 0 && s.Voters%2 == 0:
		found = append(found, fmt.Sprintf("the %s voter adds no tolerance: %d survive the loss of %d, as %d do",
			ordinal(s.Voters), s.Voters, s.Voters/2-1, s.Voters-1))
	}
	if only := balancers(s); len(only) == 1 {
		found = append(found, fmt.Sprintf("no other balancer: nobody takes over from %s", only[0]))
	}
	return found
}

// balancers are the names of the voters that can hold the address.
func balancers(s cluster.Status) []string {
	var names []string
	for _, m := range s.Members {
		if m.Voter && m.Member.Role == fsm.RoleBalancer {
			names = append(names, m.Member.Name)
		}
	}
	return names
}

// ordinal is n in words, as far as clusters go.
func ordinal(n int) string {
	if word, ok := map[int]string{4: "fourth", 6: "sixth", 8: "eighth"}[n]; ok {
		return word
	}
	return fmt.Sprintf("%dth", n)
}
