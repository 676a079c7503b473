package digitalocean

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/dotest"
)

func freely(context.Context) (func() error, func(), error) { return yes, func() {}, nil }

func TestRequestsNameNodeAndEpoch(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]string{}
	p, _ := stubAPI(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[r.Method] = r.UserAgent()
		answer(w, r)
	}))
	ctx := assigner.WithEpoch(t.Context(), 12)
	if _, err := p.Holder(ctx, ip); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Claim(ctx, ip, yes); err != nil {
		t.Fatal(err)
	}
	const want = "buoy/1.2.3 (node=lb1; epoch=12)"
	if seen["GET"] != want || seen["POST"] != want {
		t.Errorf("User-Agents %q; want %q", seen, want)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	path := t.TempDir() + "/do-token"
	writeToken(t, path, "secret")
	for url, want := range map[string]string{ // "": refused
		"":                              DefaultAPIURL,
		"https://api.example":           "https://api.example/",
		"https://api.example/do/prefix": "https://api.example/do/prefix/",
		"api.example":                   "",
		"ftp://api.example/":            "",
		"https:///v2":                   "",
		"https://u:pa55@api.example/":   "",
		"https://api.example/?q=1":      "",
	} {
		p, err := New(Options{TokenFile: path, APIURL: url})
		switch {
		case want == "" && err == nil:
			t.Errorf("api_url %q is accepted", url)
		case want == "" && strings.Contains(err.Error(), "pa55"):
			t.Errorf("the error contains the password: %v", err)
		case want != "" && err != nil:
			t.Errorf("api_url %q: %v", url, err)
		case want != "" && p.api.BaseURL.String() != want:
			t.Errorf("api_url %q becomes %q; want %q", url, p.api.BaseURL, want)
		}
	}
}

func TestIdentityComesFromMetadata(t *testing.T) {
	a := newAccount(t, dotest.Options{})
	p := a.provider(t)
	for range 2 {
		if self, err := p.Self(t.Context()); err != nil || self != "101" {
			t.Errorf("Self = %q, %v; want 101", self, err)
		}
	}

	// Absent, foreign, or something else altogether: one clear error with the remedy.
	page, _ := stubAPI(t, false, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	other, _ := stubAPI(t, false, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"region":"x"}`)) }))
	for _, url := range []string{"http://127.0.0.1:1/", page.api.BaseURL.String(), other.api.BaseURL.String()} {
		_, err := a.provider(t, func(o *Options) { o.MetadataURL = url }).Self(t.Context())
		var e *assigner.Error
		if !errors.As(err, &e) || !e.OwnFault() || !strings.Contains(err.Error(), "set provider.digitalocean.droplet_id") {
			t.Errorf("metadata at %s: %v; want an own fault with the remedy", url, err)
		}
		if self, err := a.provider(t, func(o *Options) { o.MetadataURL, o.DropletID = url, lb2 }).Self(t.Context()); err != nil || self != "102" {
			t.Errorf("configured: %q, %v; want 102 without metadata", self, err)
		}
	}
}

func TestSelfTest(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*account, *Options)
		text    string // part of the error; "" = passes
	}{
		"good":              {func(*account, *Options) {}, ""},
		"good, configured":  {func(_ *account, o *Options) { o.DropletID = lb1 }, ""},
		"address elsewhere": {func(a *account, _ *Options) { _ = a.Steal(ip, lb2) }, ""},
		"no such droplet":   {func(_ *account, o *Options) { o.DropletID = 999 }, "no droplet 999"},
		"token revoked":     {func(a *account, _ *Options) { a.RevokeToken("lb1") }, "token"},
		"token sees no holder": {func(a *account, _ *Options) {
			a.AddToken("lb1", "dop_v1_lb1", "reserved_ip:read", "reserved_ip:update")
		}, "scope"},
		"wrong region": {func(a *account, o *Options) {
			a.AddDroplet(dotest.Droplet{ID: 103, Name: "lb3", Region: "ams3"})
			o.DropletID = 103
		}, "region"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount(t, dotest.Options{})
			p := a.provider(t, func(o *Options) { c.prepare(a, o) })
			claimer := assigner.New(p, nil)
			for range 2 { // what it has learnt must not change the verdict
				err := claimer.SelfTest(t.Context(), ip)
				if (err == nil) != (c.text == "") || (err != nil && !strings.Contains(err.Error(), c.text)) {
					t.Errorf("self-test: %v; want %q", err, c.text)
				}
				var own interface{ OwnFault() bool }
				if err != nil && (!errors.As(err, &own) || !own.OwnFault()) {
					t.Errorf("%v is not classed as our own fault", err)
				}
			}
		})
	}
	a := newAccount(t, dotest.Options{})
	a.AddToken("lb1", "dop_v1_lb1", "reserved_ip:read", "reserved_ip:update", "droplet:read")
	if err := assigner.New(a.provider(t), nil).SelfTest(t.Context(), ip6); err == nil || !strings.Contains(err.Error(), "actions:read") {
		t.Errorf("IPv6 with a token that cannot follow: %v", err)
	}
	a.AddToken("lb1", "dop_v1_lb1", dotest.AssignScopes()...)
	foreign := netip.MustParseAddr("203.0.113.99")
	err := assigner.New(a.provider(t), nil).SelfTest(t.Context(), foreign)
	if err == nil || !strings.Contains(err.Error(), "no reserved IP "+foreign.String()) {
		t.Errorf("an address that the token cannot see: %v", err)
	}
}

// TestTokenIsReplacedLive: rotation is a new file, without a restart.
func TestTokenIsReplacedLive(t *testing.T) {
	a := newAccount(t, dotest.Options{})
	p := a.provider(t)
	look := func() error { _, err := p.Holder(t.Context(), ip); return err }
	a.RevokeToken("lb1")
	if err := look(); err == nil {
		t.Fatal("a revoked token works")
	}
	a.AddToken("lb1", "dop_v1_new", dotest.AssignScopes()...)
	writeToken(t, a.token, "dop_v1_new\n")
	if err := look(); err != nil {
		t.Errorf("with the new token: %v", err)
	}
	writeToken(t, a.token, "\n")
	if err := look(); err != nil {
		t.Errorf("an empty file has replaced a good token: %v", err)
	}
}

// BenchmarkAskTheCloud measures from the order to claim to the accepted POST over a warm connection,
// without (as a fresh leader with a record does it) and with the look before it.
func BenchmarkAskTheCloud(b *testing.B) {
	for name, believed := range map[string]string{"at once": "102", "after a look": ""} {
		b.Run(name, func(b *testing.B) {
			a := newAccount(b, dotest.Options{Limits: dotest.Limits{Hour: 1 << 30, Minute: 1 << 30}})
			p := a.provider(b)
			p.reads.SetLimit(1e9)
			var total time.Duration
			for b.Loop() {
				a.hold(b, ip, lb2)
				begun := time.Now()
				out, err := assigner.New(p, nil).Ensure(b.Context(), assigner.Request{IP: ip, Fence: freely, Believed: believed})
				if err != nil {
					b.Fatal(err)
				}
				total += out.Accepted.Sub(begun)
			}
			b.ReportMetric(float64(total.Microseconds())/float64(b.N), "µs-to-accepted")
		})
	}
}
