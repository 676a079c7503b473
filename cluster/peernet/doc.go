// Package peernet is the one port on which members of a cluster talk to each
// other: TLS 1.3, authenticated at both ends, with raft's streams and the API's
// requests told apart by ALPN (buoy-raft/1 and buoy-api/1, nothing else).
//
// # Identity
//
// The cluster secret is all that is handed out. Every node derives from it, by
// HKDF over the cluster's name, the same Ed25519 CA, and issues itself a
// certificate of 24 hours that carries its raft.ServerID. The key lives in
// memory only. No CA state, no join tokens, nothing to renew by hand. The
// secret is rotated by accepting several at a time: see [ParseSecrets].
//
// # What it defends against
//
// A stranger without the secret is kept out before one byte of his is parsed by
// raft or by the API, and can occupy no more than a few handshake slots for two
// seconds each. That matters because an open raft port lets anyone depose the
// leader or replace the state (hashicorp/raft issue #527 leaves the
// transport's security to its user). What a stranger does learn, as with any
// TLS server, is the ID and the cluster name in the server's certificate.
//
// Among holders of the secret the ID prevents mistakes, not theft: a wiped
// machine at an old address, a node of another cluster, a removed member that
// was switched on again. Whoever has the secret can issue himself any ID, so
// removing a member is not revoking it. Rotating the secret is.
//
// # The greeting
//
// In TLS 1.3 the dialler finishes its handshake before the server has looked at
// its certificate, so a refusal shows up only at the first read. The server
// therefore sends one line right after its handshake, "ok" or a refusal in
// words, and the dialler waits for it. A connection that peernet hands out is
// accepted at both ends, and one that it does not hand out comes with one error
// that says why.
package peernet
