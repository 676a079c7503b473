// Package command moves addresses with the operator's own program: any cloud, and keepalived-era
// assign-ip scripts as they are.
//
// The claim program gets {ip} and {instance} filled in wherever they stand in its arguments. Exit
// status 0 means accepted; 75 (EX_TEMPFAIL of sysexits.h) means "not now, and no other node would
// fare better" (an API outage, a rate limit); any other means that this node cannot do it, so that
// another may be tried. What it prints is logged when it fails. The optional holder program prints
// the instance that holds the address, or nothing for nobody; without it nobody can tell, and the
// address is "unverified": claimed once in each epoch, never re-checked.
//
// A program runs in its own process group, which gets SIGTERM and, two seconds later, SIGKILL when
// the time is up or the right to claim has gone; whatever it leaves behind in its group is killed
// when it exits. Claims run one at a time.
//
// Run by root it refuses a program that somebody else could replace ([ProgramError]).
//
// The guard is weaker than that of a provider with connections of its own: the right to write is
// checked right before the program starts, and a request that the program has sent cannot be called
// back.
package command
