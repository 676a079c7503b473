package cluster_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/buoy-lb/buoy/assigner/dotest"
	"github.com/buoy-lb/buoy/fsm"
)

const (
	// The bounds of docs/claiming.md for a late claim of a former leader, without hints: the
	// longest pause between two looks, within 40 s of the claim and after.
	guarded = 20 * time.Second
	steady  = 36 * time.Second
)

// TestLateClaimOfAFormerLeaderIsUndone: lb1's request is on its way, held up by a network or by the
// cloud, when lb1 loses the lead. It arrives up to 60 s later, after lb2's own. Nobody can stop it;
// lb2 has to find it and to undo it within the bound.
func TestLateClaimOfAFormerLeaderIsUndone(t *testing.T) {
	var mu sync.Mutex
	var undone int
	var worst time.Duration
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		late, latency := seconds(rt, "late", 0, 60), seconds(rt, "latency", 0, 12)
		ip := rapid.SampledFrom([]netip.Addr{ip4, ip6}).Draw(rt, "ip")
		var found time.Duration
		var err error
		synctest.Test(t, func(*testing.T) { found, err = lateClaim(dir, ip, late, latency) })
		if err != nil {
			rt.Fatalf("%s, %v late, latency %v: %v", ip, late, latency, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if worst = max(worst, found); found > 0 {
			undone++
		}
	})
	t.Logf("%d late claims took effect; the longest was undone after %v, the cloud's own time apart", undone, worst)
	if undone == 0 {
		t.Error("no late claim took effect: the test shows nothing")
	}
}

// lateClaim returns for how long, apart from the time that the cloud takes for a move, the address
// was at lb1 after its late claim; 0 if that had no effect.
func lateClaim(dir string, ip netip.Addr, late, latency time.Duration) (found time.Duration, err error) {
	s, err := newSite(dir, 2, []netip.Addr{ip}, func(c *dotest.Server) {
		c.SetLatency(dotest.Fixed(latency))
		c.Inject(dotest.Fault{Method: http.MethodPost, Node: "lb1", Count: 1, Delay: late})
		c.Inject(dotest.Fault{Method: http.MethodPost, Node: "lb1", Effect: dotest.Refuse, Status: 503})
	})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	lb1, lb2 := s.members[0], s.members[1]
	if !within(10*time.Second, func() bool { return len(s.cloud.Writes(s.start)) > 0 }) {
		return 0, errors.New("lb1 has claimed nothing")
	}
	lb1.node.SetHealth([]fsm.Check{{Name: "haproxy", Known: true, Fault: true}}, 0)
	if !within(time.Minute, lb2.holdsAll) {
		return 0, fmt.Errorf("lb2 has not got the address: %+v; %+v", lb2.node.Status().Addresses, s.cloud.Journal())
	}
	time.Sleep(late + 2*latency + steady + 10*time.Second)
	if !lb2.holdsAll() {
		return 0, fmt.Errorf("lb2 has not got the address back: %+v", s.cloud.Journal())
	}
	return s.strayed(ip, latency)
}

// strayed judges the cloud's record: each stay at lb1 after one at lb2 has ended within the bound.
func (s *site) strayed(ip netip.Addr, latency time.Duration) (found time.Duration, err error) {
	journal := s.cloud.Journal()
	var claimed, left time.Time // when lb2 got the address, and when it lost it
	for _, c := range journal.Changes {
		switch {
		case c.IP != ip:
		case c.To == 102 && !left.IsZero():
			// The last quarter: the look, the ticket, the pause that keeps claims apart.
			took := c.At.Sub(left) - latency
			bound := steady
			if left.Sub(claimed) < 40*time.Second {
				bound = guarded
			}
			if took > bound+500*time.Millisecond {
				return 0, fmt.Errorf("away for %v (and %v of the cloud's own time), bound %v: %+v", took, latency, bound, journal)
			}
			found, claimed, left = max(found, took), c.At, time.Time{}
		case c.To == 102:
			claimed = c.At
		case !claimed.IsZero():
			left = c.At
		}
	}
	return found, nil
}
