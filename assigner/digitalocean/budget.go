package digitalocean

import (
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/cloudhttp"
)

const (
	headerLimit     = "Ratelimit-Limit"
	headerRemaining = "Ratelimit-Remaining"
	// reserved is the part of the hour's requests that is kept for claims: 1 in 5.
	reserved = 5
	// lowPause is how often a routine look is let through, to see whether there is more again: the
	// figure may be about the limit of a minute, and 60 looks an hour are no burden.
	lowPause = time.Minute
)

var errLow = errors.New("the token has less than 20 % of its hourly requests left: they are kept for claims, routine looks are made once a minute")

// budget is what the token has left of its hourly requests, as the API's last answer said. The
// other nodes may spend from the same.
type budget struct {
	log hclog.Logger

	mu   sync.Mutex
	low  bool
	next map[netip.Addr]time.Time // while low: when a routine look at the address may go
}

// note reads the headers of an answer. A 429 is no news about the hour: its "0 remaining" may be that
// of the minute, and it says itself when to come again.
func (b *budget) note(r *http.Response) {
	limit, err1 := strconv.Atoi(r.Header.Get(headerLimit))
	left, err2 := strconv.Atoi(r.Header.Get(headerRemaining))
	if err1 != nil || err2 != nil || limit < 1 || left < 0 || r.StatusCode == http.StatusTooManyRequests {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	was := b.low
	b.low = left < limit/reserved
	switch {
	case b.low && !was:
		b.next = make(map[netip.Addr]time.Time)
		b.log.Warn("the token's requests run low: is somebody else using it? Routine looks are made once a minute, claims go on",
			"remaining", left, "limit", limit)
	case was && !b.low:
		b.log.Info("the token has requests enough again", "remaining", left, "limit", limit)
	}
}

// spare says whether a routine look at ip may be made now: nil, or a shared fault with the time to
// wait.
func (b *budget) spare(ip netip.Addr) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.low {
		return nil
	}
	now := time.Now()
	if next, ok := b.next[ip]; ok && !now.Before(next) {
		b.next[ip] = now.Add(lowPause)
		return nil
	} else if !ok {
		b.next[ip] = now.Add(lowPause)
	}
	return &assigner.Error{Class: assigner.Shared, RetryAfter: min(b.next[ip].Sub(now), cloudhttp.MaxRetryAfter), Err: errLow}
}
