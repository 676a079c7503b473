// Package test proves the whole: the built binary, real HAProxies and the fake cloud,
// put together by package sandbox. TestEndToEnd walks one cluster through every kind
// of fault; TestFigures (`make figures`) measures.
//
// TestLayer2 has no cloud: network namespaces on a bridge, and the neighbours' view of who
// holds the address.
//
// Two judges stand apart from buoy: the fake cloud's record of who holds the address,
// and the oracle, which lays the cloud's journal beside the tickets in the daemons'
// logs and finds every write that was not a proved leader's.
package test
