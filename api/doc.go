// Package api is the HTTP between members, for the command line and for people.
//
// Three handlers serve three audiences, each on a listener of its own:
//
//	PeerHandler    other members, over the mutually authenticated TLS port
//	LocalHandler   the command line, over the unix socket whose mode guards it
//	PublicHandler  load balancers, probes and people: read-only, no authentication
//
// Two clients speak to the first two: Peers and Local. What a handler returns as an
// error comes out of the client as the same Go type: *fsm.NotLeaderError,
// *fsm.RefusedError, or an error for which errors.Is says context.DeadlineExceeded.
//
// Status is the one JSON that all of them show. The package holds no policy: it
// carries what the cluster has decided.
package api
