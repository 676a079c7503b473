package dotest

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// Write is one request that asked for a change (any method but GET and HEAD),
// whether or not it was granted. The times carry the monotonic clock, so that
// differences between them are exact.
type Write struct {
	Seq      int       // 1, 2, 3… in order of arrival
	Arrived  time.Time // when it had been read completely
	Accepted time.Time // when the cloud took it; zero if it never did

	Method    string
	Path      string
	Token     string     // the label of the token, "none" or "unknown"; never the token
	IP        netip.Addr // the address in the path; invalid if there was none
	Droplet   int        // the target of an assign, 0 if none was named
	UserAgent string
	Node      string // from a User-Agent like "buoy/1.0 (node=lb1; epoch=12)"
	Epoch     uint64 // likewise; 0 if absent

	Action  int    // the ID of the action that it started, 0 if none
	Status  int    // what the client was told; 0: nothing (yet)
	Outcome string // for people: "in flight", "accepted", "refused: <message>", …
}

// Change is one change of an address's holder (a droplet ID, 0 = nobody).
type Change struct {
	At     time.Time
	IP     netip.Addr
	From   int
	To     int
	Action int // the action that did it, 0 if none
}

// Journal is what the cloud saw: requests for change and changes of holder,
// each in order.
type Journal struct {
	Writes  []Write
	Changes []Change
}

// Journal returns a copy of the whole record.
func (s *Server) Journal() Journal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Journal{Writes: s.writesLocked(time.Time{}), Changes: slices.Clone(s.changes)}
}

// Writes returns, in order of arrival, the requests for change that arrived at
// since or later.
func (s *Server) Writes(since time.Time) []Write {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writesLocked(since)
}

func (s *Server) writesLocked(since time.Time) []Write {
	var out []Write
	for _, w := range s.writes {
		if !w.Arrived.Before(since) {
			out = append(out, *w)
		}
	}
	return out
}

// Holder returns the droplet that holds ip now, 0 if nobody does or the
// account has no such address.
func (s *Server) Holder(ip netip.Addr) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.addresses[ip]; ok {
		return a.holder
	}
	return 0
}

// WaitHolder waits until dropletID (0 = nobody) holds ip and returns when that
// became so, which may be before the call. Errors: an unknown address, the end
// of ctx or of the server; the message names the holder at that time.
func (s *Server) WaitHolder(ctx context.Context, ip netip.Addr, dropletID int) (time.Time, error) {
	for {
		s.mu.Lock()
		a, ok := s.addresses[ip]
		if !ok {
			s.mu.Unlock()
			return time.Time{}, fmt.Errorf("wait for holder: no address %s in this account", ip)
		}
		holder, since, changed := a.holder, a.since, s.changed
		s.mu.Unlock()
		if holder == dropletID {
			return since, nil
		}

		var err error
		select {
		case <-changed:
			continue
		case <-ctx.Done():
			err = ctx.Err()
		case <-s.ctx.Done():
			err = s.ctx.Err()
		}
		return time.Time{}, fmt.Errorf("wait for holder of %s to be %d, is %d: %w", ip, dropletID, holder, err)
	}
}

var (
	nodeInAgent  = regexp.MustCompile(`\bnode=([^;)\s]+)`)
	epochInAgent = regexp.MustCompile(`\bepoch=(\d+)`)
)

// parseAgent finds node and epoch in a User-Agent; "" and 0 where absent.
func parseAgent(agent string) (node string, epoch uint64) {
	if m := nodeInAgent.FindStringSubmatch(agent); m != nil {
		node = m[1]
	}
	if m := epochInAgent.FindStringSubmatch(agent); m != nil {
		epoch, _ = strconv.ParseUint(m[1], 10, 64) // absent is 0, and so is nonsense
	}
	return node, epoch
}
