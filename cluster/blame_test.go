package cluster_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buoy-lb/buoy/assigner/dotest"
	"github.com/buoy-lb/buoy/cluster"
)

// TestWhoseFaultItIs: what is wrong with lb1's own token, route or droplet has it hand over to lb2;
// what is wrong with the API moves nobody. Either way the address is at the leader in the end.
func TestWhoseFaultItIs(t *testing.T) {
	own := func(status int) func(*site) {
		return func(s *site) { s.cloud.Inject(dotest.Fault{Node: "lb1", Effect: dotest.Refuse, Status: status}) }
	}
	shared := func(f dotest.Fault) func(*site) { return func(s *site) { s.cloud.Inject(f) } }
	for name, c := range map[string]struct {
		harm  func(*site)
		moves bool
	}{
		"token refused":    {own(401), true},
		"scope missing":    {own(403), true},
		"address unknown":  {own(404), true},
		"no route":         {func(s *site) { s.members[0].offline.Store(true) }, true},
		"droplet busy":     {func(s *site) { _ = s.cloud.PendDroplet(101, time.Now().Add(time.Hour)) }, true},
		"other region":     {func(s *site) { s.cloud.AddDroplet(dotest.Droplet{ID: 101, Name: "lb1", Region: "ams3"}) }, true},
		"too many":         {shared(dotest.Fault{Effect: dotest.Refuse, Status: 429, RetryAfter: 5 * time.Second}), false},
		"API broken":       {shared(dotest.Fault{Effect: dotest.Refuse, Status: 500}), false},
		"API hangs":        {shared(dotest.Fault{Effect: dotest.Hang}), false},
		"gateway page":     {shared(dotest.Fault{Effect: dotest.HTML}), false},
		"API gone for all": {func(s *site) { s.unreachable.Store(true) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				if err := blame(dir, c.harm, c.moves); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func blame(dir string, harm func(*site), moves bool) (err error) {
	s, err := newSite(dir, 2, []netip.Addr{ip4}, func(c *dotest.Server) { c.SetLatency(dotest.Fixed(time.Second)) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	lb1, lb2 := s.members[0], s.members[1]
	if !within(time.Minute, lb1.holdsAll) {
		return errors.New("lb1 does not hold the address")
	}
	time.Sleep(time.Minute)
	harm(s)
	if err := s.cloud.Steal(ip4, stranger); err != nil { // so that there is something to claim
		return err
	}
	for _, m := range s.members {
		m.provider.Close() // no connection outlives the trouble
	}
	if moves {
		if !within(3*time.Minute, lb2.holdsAll) {
			return fmt.Errorf("lb2 does not hold the address; lb1: %+v", lb1.node.Status().Addresses)
		}
		return nil
	}
	time.Sleep(5 * time.Minute)
	if lb1.node.Status().RaftState != "Leader" || len(s.cloud.Writes(s.start)) > 100 {
		return fmt.Errorf("lb1 is %s after %d writes", lb1.node.Status().RaftState, len(s.cloud.Writes(s.start)))
	}
	s.cloud.ClearFaults()
	s.unreachable.Store(false)
	if !within(mending, lb1.holdsAll) {
		return fmt.Errorf("lb1 does not hold the address again: %+v", lb1.node.Status().Addresses)
	}
	return nil
}

// TestTenMinutesWithoutTheAPI: the address is lost, nobody can be asked, and then one claim does.
func TestTenMinutesWithoutTheAPI(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := newSite(dir, 2, []netip.Addr{ip4}, func(c *dotest.Server) { c.SetLatency(dotest.Fixed(5 * time.Second)) })
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.close(); err != nil {
				t.Error(err)
			}
		}()
		if !within(time.Minute, s.members[0].holdsAll) {
			t.Fatal("lb1 does not hold the address")
		}
		s.unreachable.Store(true)
		for _, m := range s.members {
			m.provider.Close()
		}
		lost := time.Now()
		if err := s.cloud.Steal(ip4, stranger); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		s.unreachable.Store(false)
		if !within(time.Minute, func() bool { return s.members[0].holdsAll() || s.members[1].holdsAll() }) {
			t.Errorf("nobody holds the address again: %+v", s.members[0].node.Status().Addresses)
		}
		time.Sleep(time.Minute)
		if n := len(s.cloud.Writes(lost)); n != 1 {
			t.Errorf("%d claims; want one", n)
		}
	})
}

// TestPartialSuccessIsVisible: one of two addresses cannot be claimed; the other one is, and the
// status tells them apart.
func TestPartialSuccessIsVisible(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := newSite(dir, 1, []netip.Addr{ip6, ip4}, func(c *dotest.Server) {
			c.SetLatency(dotest.Fixed(time.Second))
			c.Inject(dotest.Fault{Method: "POST", Path: "/v2/reserved_ipv6/*/actions", Effect: dotest.Refuse, Status: 503})
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.close(); err != nil {
				t.Error(err)
			}
		}()
		lb1 := s.members[0]
		if !within(time.Minute, func() bool { return lb1.holds(ip4) }) {
			t.Fatalf("the IPv4 address waits for the other: %+v", lb1.node.Status().Addresses)
		}
		time.Sleep(10 * time.Second)
		for _, a := range lb1.node.Status().Addresses {
			if a.IP == ip4 && (a.State != cluster.AddressClaimed || a.Error != "") {
				t.Errorf("the address that is here: %+v", a)
			}
			if a.IP == ip6 && (a.State != cluster.AddressClaiming || !strings.Contains(a.Error, "503")) {
				t.Errorf("the address that cannot be claimed: %+v", a)
			}
		}
		s.cloud.ClearFaults()
		if !within(time.Minute, lb1.holdsAll) {
			t.Errorf("when it can: %+v", lb1.node.Status().Addresses)
		}
	})
}
