package dotest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buoy-lb/buoy/assigner/dotest"
)

func TestAssignTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s := newCloud(t, dotest.Options{Latency: dotest.Fixed(3 * time.Second), MetadataLag: dotest.Fixed(2 * time.Second)})
		api, old, next := s.API(), s.Metadata(101), s.Metadata(102)

		time.Sleep(time.Second)
		got := ask(t, api, "POST", actions, assign102)
		wantStatus(t, got, http.StatusCreated)
		if got.at("action", "status") != "in-progress" || got.at("action", "type") != "assign_ip" ||
			got.at("action", "completed_at") != nil || got.at("action", "resource_id") != 3405803786.0 {
			t.Errorf("action = %v", got.at("action"))
		}
		action := fmt.Sprintf("%s/%.0f", actions, got.at("action", "id"))

		check := func(at time.Duration, locked bool, holder int, status, active string) {
			t.Helper()
			time.Sleep(time.Until(start.Add(at)))
			synctest.Wait()
			shown := ask(t, api, "GET", "/v2/reserved_ips/203.0.113.10", "")
			if shown.at("reserved_ip", "locked") != locked || shown.at("reserved_ip", "droplet", "id") != float64(holder) {
				t.Errorf("at %v: locked %v, droplet %v", at, shown.at("reserved_ip", "locked"), shown.at("reserved_ip", "droplet", "id"))
			}
			if got := ask(t, api, "GET", action, "").at("action", "status"); got != status {
				t.Errorf("at %v: action is %v, want %s", at, got, status)
			}
			if got := ask(t, next, "GET", "/metadata/v1/reserved_ip/ipv4/active", "").text; got != active {
				t.Errorf("at %v: metadata of the new holder says %q, want %q", at, got, active)
			}
			if got := ask(t, old, "GET", "/metadata/v1/reserved_ip/ipv4/active", "").text; got == active && at > 2*time.Second {
				t.Errorf("at %v: metadata of both droplets says %q", at, got)
			}
		}
		check(3999*time.Millisecond, true, 101, "in-progress", "false")
		check(4*time.Second, false, 102, "completed", "false")
		check(5999*time.Millisecond, false, 102, "completed", "false")
		check(6*time.Second, false, 102, "completed", "true")

		w := s.Writes(start)
		if len(w) != 1 {
			t.Fatalf("journal has %d writes, want 1", len(w))
		}
		if w[0].Node != "lb2" || w[0].Epoch != 12 || w[0].Token != "lb2" || w[0].IP != ip || w[0].Droplet != 102 ||
			w[0].Status != http.StatusCreated || w[0].Outcome != "accepted" || w[0].Accepted.Sub(start) != time.Second {
			t.Errorf("write = %+v", w[0])
		}
		if at := waitHolder(t, s, ip, 102); at.Sub(start) != 4*time.Second {
			t.Errorf("holder since %v, want 4s", at.Sub(start))
		}
	})
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before func(*dotest.Server) error
		path   string
		body   string
		status int
		says   string
	}{
		{name: "address unknown", path: "/v2/reserved_ips/203.0.113.99/actions", body: assign102, status: 404},
		{name: "address of the other family", path: "/v2/reserved_ips/2001:db8::10/actions", body: assign102, status: 404},
		{name: "mapped address", path: "/v2/reserved_ips/::ffff:203.0.113.10/actions", body: assign102, status: 404},
		{name: "droplet unknown", body: `{"type":"assign","droplet_id":999}`, status: 404},
		{name: "no droplet", body: `{"type":"assign"}`, status: 404},
		{name: "type unknown", body: `{"type":"move","droplet_id":102}`, status: 422, says: "not a type"},
		{name: "not JSON", body: `assign`, status: 400},
		{name: "no body", status: 422, says: "not a type"},
		{name: "other region", body: `{"type":"assign","droplet_id":103}`, status: 422, says: "same region"},
		{name: "already the holder", body: `{"type":"assign","droplet_id":101}`, status: 422, says: "already has a floating IP"},
		{name: "target has another address", body: `{"type":"assign","droplet_id":104}`, status: 422, says: "already has a floating IP"},
		{
			name: "droplet busy", body: assign102, status: 422, says: "Droplet already has a pending event",
			before: func(s *dotest.Server) error { return s.PendDroplet(102, time.Now().Add(time.Hour)) },
		},
		{
			name: "address busy", body: assign102, status: 422, says: "floating IP already has a pending event",
			before: func(s *dotest.Server) error {
				ask(t, s.API(), "POST", actions, `{"type":"unassign"}`)
				return nil
			},
		},
		{
			name: "target of another address's move", body: assign102, status: 422, says: "Droplet already has a pending event",
			before: func(s *dotest.Server) error {
				ask(t, s.API(), "POST", "/v2/reserved_ips/203.0.113.11/actions", assign102)
				return nil
			},
		},
		{name: "unassign of nothing", path: "/v2/reserved_ipv6/2001:db8::10/actions", body: `{"type":"unassign"}`, status: 422, says: "not assigned"},
		{name: "droplet destroyed", body: assign102, status: 404, before: func(s *dotest.Server) error { return s.DestroyDroplet(102) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newCloud(t, dotest.Options{Latency: dotest.Fixed(time.Hour)})
			if tt.before != nil {
				if err := tt.before(s); err != nil {
					t.Fatal(err)
				}
			}
			if tt.path == "" {
				tt.path = actions
			}
			got := ask(t, s.API(), "POST", tt.path, tt.body)
			wantStatus(t, got, tt.status)
			if msg := got.at("message"); !strings.Contains(fmt.Sprint(msg), tt.says) {
				t.Errorf("message %q does not say %q", msg, tt.says)
			}
			if id := got.at("request_id"); id == "" || id != got.header.Get("x-request-id") {
				t.Errorf("request_id %v, header %q", id, got.header.Get("x-request-id"))
			}
			writes := s.Journal().Writes
			if w := writes[len(writes)-1]; !w.Accepted.IsZero() || w.Status != tt.status || !strings.HasPrefix(w.Outcome, "refused: ") {
				t.Errorf("journal has %+v", w)
			}
		})
	}
}

func TestPendingView(t *testing.T) {
	for view, want := range map[dotest.PendingView]any{
		dotest.PendingOld: 101.0, dotest.PendingNull: nil, dotest.PendingNew: 102.0,
	} {
		s := newCloud(t, dotest.Options{Latency: dotest.Fixed(time.Hour), PendingView: view})
		wantStatus(t, ask(t, s.API(), "POST", actions, assign102), http.StatusCreated)
		got := ask(t, s.API(), "GET", "/v2/floating_ips/203.0.113.10", "")
		if !got.is(want, "floating_ip", "droplet", "id") || !got.is(true, "floating_ip", "locked") {
			t.Errorf("view %d: %v, want droplet %v, locked", view, got.at("floating_ip", "droplet", "id"), want)
		}
	}
}

func TestSteal(t *testing.T) {
	type move struct {
		ip       netip.Addr
		from, to int
	}
	var seen []move
	s := newCloud(t, dotest.Options{OnAssigned: func(ip netip.Addr, from, to int) { seen = append(seen, move{ip, from, to}) }})
	seen = nil // the moves of the set-up
	if err := s.Steal(ip, 102); err != nil {
		t.Fatal(err)
	}
	if s.Holder(ip) != 102 || len(seen) != 1 || seen[0] != (move{ip, 101, 102}) {
		t.Errorf("holder %d, callbacks %v", s.Holder(ip), seen)
	}
	if len(s.Journal().Writes) != 0 {
		t.Error("a theft is no request, but the journal has a write")
	}
	list := ask(t, s.API(), "GET", actions, "")
	newest, _ := list.at("actions").([]any)[0].(map[string]any)
	if newest["type"] != "assign_ip" || newest["status"] != "completed" {
		t.Errorf("newest action = %v, want the foreign assign", newest)
	}
	for target, why := range map[int]string{102: "already", 103: "region", 999: "not found"} {
		if err := s.Steal(ip, target); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("steal for %d: %v, want %q", target, err, why)
		}
	}
}

func TestPendDropletEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCloud(t, dotest.Options{})
		if err := s.PendDroplet(102, time.Now().Add(10*time.Second)); err != nil {
			t.Fatal(err)
		}
		events := func() string {
			list, _ := ask(t, s.API(), "GET", "/v2/droplets/102/actions", "").at("actions").([]any)
			event, _ := list[0].(map[string]any)
			return fmt.Sprint(event["resource_type"], " ", event["status"])
		}
		if got := events(); got != "droplet in-progress" {
			t.Errorf("event: %s", got)
		}
		wantStatus(t, ask(t, s.API(), "POST", actions, assign102), http.StatusUnprocessableEntity)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := events(); got != "droplet completed" {
			t.Errorf("event: %s", got)
		}
		wantStatus(t, ask(t, s.API(), "POST", actions, assign102), http.StatusCreated)
	})
}

func TestDestroyDroplet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCloud(t, dotest.Options{Latency: dotest.Fixed(time.Second)})
		id := ask(t, s.API(), "POST", actions, assign102).at("action", "id")
		for _, d := range []int{101, 102} { // the holder and the coming one
			if err := s.DestroyDroplet(d); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		got := ask(t, s.API(), "GET", "/v2/reserved_ips/203.0.113.10", "")
		if v, there := got.at("reserved_ip").(map[string]any)["droplet"]; !there || v != nil || s.Holder(ip) != 0 {
			t.Errorf("address of a destroyed droplet: %s", got.text)
		}
		if st := ask(t, s.API(), "GET", fmt.Sprintf("/v2/actions/%.0f", id), "").at("action", "status"); st != "errored" {
			t.Errorf("assign to a destroyed droplet is %v, want errored", st)
		}
		wantStatus(t, ask(t, s.Metadata(101), "GET", "/metadata/v1.json", ""), http.StatusNotFound)
	})
}

func TestWaitHolderSaysWhatItSaw(t *testing.T) {
	s := newCloud(t, dotest.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.WaitHolder(ctx, ip, 102)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "to be 102, is 101") {
		t.Errorf("error %v", err)
	}
	if _, err := s.WaitHolder(t.Context(), netip.MustParseAddr("192.0.2.1"), 102); err == nil {
		t.Error("waited for an address that does not exist")
	}
}

// TestConcurrentWriters lets many clients and a thief fight for one address:
// the record must stay a chain of moves, one action at a time.
func TestConcurrentWriters(t *testing.T) {
	var told []int
	s := newCloud(t, dotest.Options{
		Latency:    dotest.Between(0, 2*time.Millisecond),
		OnAssigned: func(_ netip.Addr, _, to int) { told = append(told, to) },
	})
	s.SetLimits(dotest.Limits{Hour: 1e6, Minute: 1e6})
	api := s.API()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				target := 101 + rand.N(2)
				ask(t, api, "POST", actions, fmt.Sprintf(`{"type":"assign","droplet_id":%d}`, target))
				ask(t, api, "GET", "/v2/reserved_ips", "")
				ask(t, s.Metadata(target), "GET", "/metadata/v1.json", "")
				_ = s.Steal(ip, 101+rand.N(2)) // refused while locked, like the real thing
				s.Journal()
			}
		})
	}
	wg.Wait()
	s.Close() // all running actions have ended or never will

	j := s.Journal()
	holder, moves := 0, 0
	for _, c := range j.Changes {
		if c.IP != ip {
			continue
		}
		if c.From != holder || c.To == c.From {
			t.Fatalf("change from %d to %d while %d was the holder", c.From, c.To, holder)
		}
		holder = c.To
		moves++
	}
	if len(told) != len(j.Changes) || told[len(told)-1] != j.Changes[len(j.Changes)-1].To {
		t.Errorf("%d callbacks for %d changes", len(told), len(j.Changes))
	}
	accepted := 0
	for i, w := range j.Writes {
		if w.Seq != i+1 || w.Status == 0 {
			t.Fatalf("write %d: %+v", i, w)
		}
		if w.Status == http.StatusCreated {
			accepted++
		}
	}
	if len(j.Writes) != 400 || accepted == 0 || accepted == 400 || moves < accepted {
		t.Errorf("%d writes, %d accepted, %d moves", len(j.Writes), accepted, moves)
	}
}
