// Package sandbox is a small world in which buoy can be watched and broken: the fake
// cloud of package dotest, a backend, and for each load balancer a real HAProxy and a
// real `buoy run` process. It needs neither root nor an account, and no packet leaves
// the loopback interface.
//
// Each node has a loopback address of its own, 127.x.y.N, with the daemon's member
// port and HTTP port and HAProxy's frontend on it. The floating IP exists in the fake
// cloud only; World.URL is a forwarder in its place, which connects each new
// connection to the HAProxy of the node that the cloud says holds the address.
//
// Everything a World starts ends with Close, and also with the process that made it,
// however that ends: children die with their parent (PR_SET_PDEATHSIG).
//
// `buoy demo` and the end-to-end tests share this package.
package sandbox
