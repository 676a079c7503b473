package peernet

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// limiter counts what is in use, in all and for each source address.
type limiter struct {
	total, perSource int

	mu       sync.Mutex
	used     int
	bySource map[netip.Addr]int
}

func newLimiter(total, perSource int) *limiter {
	return &limiter{total: total, perSource: perSource, bySource: map[netip.Addr]int{}}
}

// acquire takes a slot, or returns false at once when there is none.
func (l *limiter) acquire(source netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used >= l.total || l.bySource[source] >= l.perSource {
		return false
	}
	l.used++
	l.bySource[source]++
	return true
}

func (l *limiter) release(source netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used--
	l.bySource[source]--
	if l.bySource[source] == 0 {
		delete(l.bySource, source)
	}
}

// sourceOf returns the address at the other end, the zero Addr if it has none.
func sourceOf(c net.Conn) netip.Addr {
	ap, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	return ap.Addr().Unmap()
}

const (
	refusalInterval = time.Minute
	maxRefusals     = 256 // sources remembered
)

// refusalLog writes one line a minute for each source that is refused, with the
// number of refusals since its last line.
type refusalLog struct {
	logger hclog.Logger

	mu      sync.Mutex
	sources map[netip.Addr]*refused
}

type refused struct {
	count  int
	logged time.Time
}

func newRefusalLog(logger hclog.Logger) *refusalLog {
	return &refusalLog{logger: logger, sources: map[netip.Addr]*refused{}}
}

func (l *refusalLog) add(source netip.Addr, reason error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	r := l.sources[source]
	if r == nil {
		r = l.remember(&source, now)
	}
	r.count++
	if now.Sub(r.logged) < refusalInterval {
		return
	}
	l.logger.Warn("refused a peer", "from", source, "count", r.count, "reason", reason)
	r.count, r.logged = 0, now
}

// remember makes room for a source. When too many sources are noisy at a time
// the rest share the entry of the zero address.
func (l *refusalLog) remember(source *netip.Addr, now time.Time) *refused {
	if len(l.sources) >= maxRefusals {
		for s, r := range l.sources {
			if now.Sub(r.logged) >= refusalInterval {
				delete(l.sources, s)
			}
		}
	}
	if len(l.sources) >= maxRefusals {
		*source = netip.Addr{}
	}
	r := l.sources[*source]
	if r == nil {
		r = &refused{}
		l.sources[*source] = r
	}
	return r
}
