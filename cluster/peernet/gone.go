package peernet

import "sync"

// links counts the raft streams that each peer has opened to us and that have not ended.
// Dialled streams do not count: nobody reads them between requests, so their end would go
// unnoticed.
type links struct {
	mu    sync.Mutex
	open  map[string]int
	ended func(serverID string)
}

func (l *links) add(peer string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = map[string]int{}
	}
	l.open[peer]++
}

// remove counts one stream less, and tells of the last one.
func (l *links) remove(peer string) {
	l.mu.Lock()
	l.open[peer]--
	last, ended := l.open[peer] == 0, l.ended
	if last {
		delete(l.open, peer)
	}
	l.mu.Unlock()
	if last && ended != nil {
		ended(peer)
	}
}

func (l *links) count(peer string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open[peer]
}

// OnGone has f called when the last raft stream from a peer has ended, by either side. A
// process that dies closes its streams within a millisecond or so; but a leader also
// closes streams for harmless reasons, and a network can cut them, so that this is a hint
// and no more. f must not block. nil ends it.
func (p *Port) OnGone(f func(serverID string)) {
	p.links.mu.Lock()
	defer p.links.mu.Unlock()
	p.links.ended = f
}

// Linked reports whether any raft stream from serverID to us is open.
func (p *Port) Linked(serverID string) bool { return p.links.count(serverID) > 0 }
