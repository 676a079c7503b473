package hetznertest

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	"github.com/hetznercloud/hcloud-go/v2/hcloud/metadata"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	v4 = netip.MustParsePrefix("203.0.113.10/32")
	v6 = netip.MustParsePrefix("2001:db8:0:1::/64")
)

// project is a fake project with servers 101 and 102 and both kinds of address, seen by Hetzner's
// own client.
func project(t *testing.T) (*Server, *hcloud.Client) {
	t.Helper()
	s := New()
	s.AddToken("lb1", "secret")
	s.AddServer(101)
	s.AddServer(102)
	s.AddFloatingIP(v4, 0)
	s.AddFloatingIP(v6, 102)
	return s, client(t, s, "secret")
}

func client(t *testing.T, s *Server, token string) *hcloud.Client {
	t.Helper()
	api := httptest.NewServer(s.API())
	t.Cleanup(api.Close)
	// Kept connections would make Go's client repeat a GET that was dropped.
	once := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return hcloud.NewClient(hcloud.WithEndpoint(api.URL), hcloud.WithToken(token), hcloud.WithHTTPClient(once),
		hcloud.WithApplication("buoy/1.2.3 (node=lb1; epoch=12)", ""),
		hcloud.WithRetryOpts(hcloud.RetryOpts{MaxRetries: 0}),
		hcloud.WithPollOpts(hcloud.PollOpts{BackoffFunc: hcloud.ConstantBackoff(5 * time.Millisecond)}))
}

func TestVendorsClientMovesAnAddress(t *testing.T) {
	s, c := project(t)
	ctx := t.Context()
	s.SetLatency(50 * time.Millisecond)
	for i, want := range []struct {
		prefix netip.Prefix
		holder int64
	}{{v4, 0}, {v6, 102}} {
		f, _, err := c.FloatingIP.GetByID(ctx, firstIP+int64(i))
		if err != nil || f == nil {
			t.Fatal(f, err)
		}
		network := f.Network != nil && f.Network.String() == want.prefix.String()
		if ip, _ := netip.AddrFromSlice(f.IP); ip.Unmap() != want.prefix.Addr() || network != want.prefix.Addr().Is6() {
			t.Errorf("the client reads %+v, network %v; want %v", f, f.Network, want.prefix)
		}
		if holder := f.Server; (holder == nil) != (want.holder == 0) || holder != nil && holder.ID != want.holder {
			t.Errorf("held by %+v; want %d", holder, want.holder)
		}

		a, _, err := c.FloatingIP.Assign(ctx, f, &hcloud.Server{ID: 101})
		if err != nil || a.Status != hcloud.ActionStatusRunning {
			t.Fatal(a, err)
		}
		if _, _, err := c.FloatingIP.Assign(ctx, f, &hcloud.Server{ID: 102}); !hcloud.IsError(err, hcloud.ErrorCodeLocked) {
			t.Errorf("an assign during an assign: %v; want locked", err)
		}
		running, err := c.FloatingIP.Action.AllFor(ctx, f, hcloud.ActionListOpts{Status: []hcloud.ActionStatus{hcloud.ActionStatusRunning}})
		if err != nil || len(running) != 1 || running[0].ID != a.ID {
			t.Errorf("running on it: %v, %v", running, err)
		}
		if h := s.Holder(want.prefix.Addr()); h != want.holder {
			t.Errorf("held by %d while the action runs; want %d", h, want.holder)
		}
		if err := c.Action.WaitFor(ctx, a); err != nil {
			t.Error(err)
		}
		if h := s.Holder(want.prefix.Addr()); h != 101 {
			t.Errorf("then held by %d; want 101", h)
		}
		if _, _, err := c.FloatingIP.Assign(ctx, f, &hcloud.Server{ID: 101}); !hcloud.IsError(err, "floating_ip_assigned") {
			t.Errorf("an assign to the holder: %v", err)
		}
	}
	writes := s.Writes()
	if len(writes) != 6 {
		t.Fatalf("%d writes; want 6", len(writes))
	}
	first, second := writes[0], writes[1]
	if first.Token != "lb1" || first.Node != "lb1" || first.Epoch != 12 || first.IP != v4.Addr() || first.Server != 101 ||
		first.Action == 0 || first.Accepted.IsZero() || first.Code != "" {
		t.Errorf("the journal says %+v of the first", first)
	}
	if !second.Accepted.IsZero() || second.Code != "locked" {
		t.Errorf("the journal says %+v of the second", second)
	}
}

func TestVendorsClientSeesErrors(t *testing.T) {
	s, c := project(t)
	ctx := t.Context()
	ip := &hcloud.FloatingIP{ID: firstIP}
	assign := func(c *hcloud.Client, server int64) error {
		_, _, err := c.FloatingIP.Assign(ctx, ip, &hcloud.Server{ID: server})
		return err
	}
	s.AddReadOnlyToken("reader", "read")
	for name, check := range map[string]struct {
		err  error
		want hcloud.ErrorCode
	}{
		"unknown token":   {assign(client(t, s, "nonsense"), 101), hcloud.ErrorCodeUnauthorized},
		"read-only token": {assign(client(t, s, "read"), 101), hcloud.ErrorCodeForbidden},
		"unknown server":  {assign(c, 103), hcloud.ErrorCodeNotFound},
		"no server":       {assign(c, 0), hcloud.ErrorCodeInvalidInput},
	} {
		if !hcloud.IsError(check.err, check.want) {
			t.Errorf("%s: %v; want %s", name, check.err, check.want)
		}
	}
	if f, _, err := c.FloatingIP.GetByID(ctx, 1); f != nil || err != nil {
		t.Errorf("an unknown address: %v, %v; want nothing", f, err)
	}
	for id, want := range map[int64]bool{101: true, 103: false} {
		if server, _, err := c.Server.GetByID(ctx, id); err != nil || (server != nil) != want {
			t.Errorf("server %d: %v, %v", id, server, err)
		}
	}

	s.SetLatency(time.Hour)
	s.Inject(Fault{Method: http.MethodPost, Effect: ActionError, Count: 1})
	a, _, err := c.FloatingIP.Assign(ctx, ip, &hcloud.Server{ID: 101})
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.actions[0].ends = time.Now()
	s.mu.Unlock()
	if err := c.Action.WaitFor(ctx, a); err == nil || s.Holder(v4.Addr()) != 0 {
		t.Errorf("a failing action: %v, held by %d", err, s.Holder(v4.Addr()))
	}
}

func TestVendorsClientReadsPages(t *testing.T) {
	s, c := project(t)
	for i := range 60 {
		s.AddFloatingIP(netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 32), 0)
	}
	s.DeleteFloatingIP(v4.Addr())
	all, err := c.FloatingIP.All(t.Context())
	if err != nil || len(all) != 61 {
		t.Errorf("%d addresses, %v; want 61", len(all), err)
	}
}

func TestRateLimit(t *testing.T) {
	s, c := project(t)
	s.SetRate(3600, 2)
	var err error
	for n := 0; err == nil; n++ {
		var resp *hcloud.Response
		_, resp, err = c.FloatingIP.GetByID(t.Context(), firstIP)
		if resp.Meta.Ratelimit.Limit != 3600 || resp.Meta.Ratelimit.Reset.IsZero() {
			t.Errorf("rate %+v", resp.Meta.Ratelimit)
		}
		if n > 100 {
			t.Fatal("no limit is felt")
		}
	}
	if !hcloud.IsError(err, hcloud.ErrorCodeRateLimitExceeded) {
		t.Error(err)
	}
}

func TestMetadata(t *testing.T) {
	m := httptest.NewServer(New().Metadata(101))
	defer m.Close()
	c := metadata.NewClient(metadata.WithEndpoint(m.URL+"/hetzner/v1/metadata"), metadata.WithHTTPClient(m.Client()))
	if id, err := c.InstanceIDWithContext(t.Context()); id != 101 || err != nil {
		t.Errorf("instance-id %d, %v", id, err)
	}
}

func TestFaults(t *testing.T) {
	s, c := project(t)
	get := func() error { _, _, err := c.FloatingIP.GetByID(t.Context(), firstIP); return err }
	for name, f := range map[string]Fault{
		"error":     {Effect: Refuse, Status: 503, Code: "maintenance"},
		"page":      {Effect: HTML},
		"cut off":   {Effect: Truncate, Accepted: true},
		"hangs up":  {Effect: Drop},
		"this path": {Effect: Drop, Path: "/floating_ips/*"},
	} {
		f.Count = 1
		s.Inject(f)
		if err := get(); err == nil {
			t.Errorf("%s: no error", name)
		}
		if err := get(); err != nil {
			t.Errorf("%s is spent: %v", name, err)
		}
	}
	s.Inject(Fault{Effect: Refuse, Method: http.MethodPost})
	if err := get(); err != nil {
		t.Errorf("a fault of another method: %v", err)
	}
	s.ClearFaults()
	s.Inject(Fault{Method: http.MethodPost, Effect: Drop, Accepted: true})
	if _, _, err := c.FloatingIP.Assign(t.Context(), &hcloud.FloatingIP{ID: firstIP}, &hcloud.Server{ID: 101}); err == nil || s.Holder(v4.Addr()) != 101 {
		t.Errorf("dropped after acceptance: %v, held by %d", err, s.Holder(v4.Addr()))
	}
	s.ClearFaults()
	s.Inject(Fault{Effect: Refuse, Status: 429, Code: "rate_limit_exceeded", RetryAfter: 7 * time.Second})
	var refused hcloud.Error
	if err := get(); !errors.As(err, &refused) || refused.Response().Header.Get("Retry-After") != strconv.Itoa(7) {
		t.Errorf("%v; want Retry-After 7", err)
	}
}
