// Command buoy keeps a floating IP on a healthy load balancer.
//
// `buoy run` is the daemon; the other commands ask it through its unix socket, or judge
// files on their own. There is one file a command. run.go wires the daemon's parts and
// says in which order they start and stop; daemon.go answers for it over HTTP;
// output.go and status_table.go own everything that people read; exit.go the exit codes.
//
// There is no policy here: who holds the address is decided in package fsm.
package main
