// Package lab makes several hosts out of Linux network namespaces on one machine, runs
// a failover daemon on them, breaks things, and measures what a client behind the
// floating IP sees. It judges buoy and, in the same run, keepalived.
//
//	         client                          every 5 ms a new connection and a GET
//	           │  veth
//	         cloud      router, DigitalOcean's API and metadata (dotest), backend
//	           │  TAP
//	 ┌──── switch ────┐  user space: per direction cut, delay, jitter, loss, duplicates
//	 │       │        │  TAP
//	lb1     lb2      lb3   a real HAProxy and the daemon under test on each
//
// The cloud routes the floating IP to the balancer that the fake API says holds it; all
// of them accept it, as with an anchor address. The program is buoy-lab (folder
// buoy-lab); `make lab`, `make chaos` and `make bench` run it. It needs root.
//
// Parts: package wire is the network, checker the judge, variant builds broken daemons
// that the judge must catch, report makes docs/benchmarks.md.
//
// What is fair and what is not: all hosts share two cores or whatever the machine has,
// so a fault on one costs the others processor time. The lab's own switch, client and
// cloud run in real time (SCHED_RR) ahead of what they measure, and wait for nothing.
package lab
