package cluster_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buoy-lb/buoy/assigner/dotest"
)

// TestSteadyHourCostsLittle: three nodes on one token, an hour in which nothing happens. The leader
// looks each 30 s (120) and every node proves itself each 5 min (36).
func TestSteadyHourCostsLittle(t *testing.T) {
	for name, ips := range map[string][]netip.Addr{"IPv4": {ip4}, "both families": {ip4, ip6}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				spent, writes, err := steadyHour(dir, ips)
				if err != nil {
					t.Fatal(err)
				}
				most := len(ips) * 5000 * 4 / 100
				t.Logf("%d requests of 5000 in a steady hour (%.1f %%), at most %d wanted", spent, float64(spent)/50, most)
				if spent > most || spent < 100*len(ips) {
					t.Errorf("%d requests; want at most %d, and at least the looks", spent, most)
				}
				if writes != 0 {
					t.Errorf("%d writes in steady state", writes)
				}
			})
		})
	}
}

func steadyHour(dir string, ips []netip.Addr) (spent, writes int, err error) {
	s, err := newSite(dir, 3, ips, func(c *dotest.Server) { c.SetLatency(dotest.Fixed(time.Second)) })
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if !within(time.Minute, s.members[0].holdsAll) {
		return 0, 0, errors.New("lb1 does not hold the address")
	}
	time.Sleep(10 * time.Minute)                               // past the guard window and all beginnings
	s.cloud.AddToken("buoy", secret, dotest.AssignScopes()...) // its count begins anew
	begun := time.Now()
	time.Sleep(time.Hour - time.Second)
	left, err := s.remaining()
	if !s.members[0].holdsAll() {
		err = errors.Join(err, errors.New("lb1 holds it no longer"))
	}
	return 5000 - left - 1, len(s.cloud.Writes(begun)), err
}

// remaining asks the API what the members' token has left of its hour. Asking costs one.
func (s *site) remaining() (int, error) {
	r := httptest.NewRequest(http.MethodGet, "/v2/reserved_ips", nil)
	r.Header.Set("Authorization", "Bearer "+secret)
	w := httptest.NewRecorder()
	s.cloud.API().ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		return 0, fmt.Errorf("the API answers %d", w.Code)
	}
	return strconv.Atoi(w.Header().Get("ratelimit-remaining"))
}
