package hetzner

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/cloudhttp"
	"github.com/buoy-lb/buoy/assigner/hetznertest"
)

func freely(context.Context) (func() error, func(), error) { return yes, func() {}, nil }

func answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodPost {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"action":{"id":7,"status":"running"}}`)
		return
	}
	_, _ = io.WriteString(w, `{"floating_ip":{"id":4002,"ip":"203.0.113.10","type":"ipv4","server":null},"actions":[],"meta":{"pagination":{}}}`)
}

// record wraps a handler and keeps the requests it has seen.
type record struct {
	http.Handler
	mu   sync.Mutex
	seen []*http.Request
}

func (r *record) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	r.seen = append(r.seen, q)
	r.mu.Unlock()
	r.Handler.ServeHTTP(w, q)
}

func (r *record) paths() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, q := range r.seen {
		out = append(out, q.Method+" "+q.URL.Path)
	}
	return out
}

func recording(t *testing.T, h http.Handler) (*record, string) {
	r := &record{Handler: h}
	api := httptest.NewServer(r)
	t.Cleanup(api.Close)
	return r, api.URL
}

func TestRequestsNameNodeAndEpoch(t *testing.T) {
	seen, url := recording(t, http.HandlerFunc(answer))
	p := stubProvider(t, url+"/v1")
	ctx := assigner.WithEpoch(t.Context(), 12)
	if _, err := p.Holder(ctx, ip); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Claim(ctx, ip, yes); err != nil {
		t.Fatal(err)
	}
	for _, r := range seen.seen {
		if r.UserAgent() != "buoy/1.2.3 (node=lb1; epoch=12)" || r.Header.Get("Authorization") != "Bearer secret" ||
			r.ProtoMajor != 1 || !strings.HasPrefix(r.URL.Path, "/v1/floating_ips/4002") {
			t.Errorf("%s %s %s, headers %v", r.Method, r.URL, r.Proto, r.Header)
		}
	}
	if len(seen.seen) != 3 {
		t.Errorf("%d requests; want 3", len(seen.seen))
	}
}

func TestWriteNeedsARight(t *testing.T) {
	seen, url := recording(t, http.HandlerFunc(answer))
	p := stubProvider(t, url)
	expired := errors.New("expired")
	var checks atomic.Int32
	_, err := p.Claim(t.Context(), ip, func() error { checks.Add(1); return expired })
	var e *assigner.Error
	if !errors.As(err, &e) || e.Class != assigner.NoRight || !errors.Is(err, expired) || checks.Load() != 1 {
		t.Errorf("%v after %d checks; want the check's error after one, classed as no right", err, checks.Load())
	}
	_, _, err = p.api.FloatingIP.Assign(t.Context(), &hcloud.FloatingIP{ID: 4002}, &hcloud.Server{ID: lb1})
	if !errors.Is(err, cloudhttp.ErrUnarmed) {
		t.Errorf("an assign without a permit: %v", err)
	}
	if got := seen.paths(); len(got) != 0 {
		t.Errorf("the API saw %q; want nothing", got)
	}
}

// TestOnePermitIsOneRequest: the server reads the POST and hangs up. Neither Go's client nor
// hcloud-go, which does so by default, may send it again.
func TestOnePermitIsOneRequest(t *testing.T) {
	for name, f := range map[string]hetznertest.Fault{
		"dropped":    {Method: http.MethodPost, Effect: hetznertest.Drop},
		"conflict":   {Method: http.MethodPost, Effect: hetznertest.Refuse, Status: 409, Code: "conflict"},
		"rate limit": {Method: http.MethodPost, Effect: hetznertest.Refuse, Status: 429, Code: "rate_limit_exceeded"},
		"gateway":    {Method: http.MethodPost, Effect: hetznertest.HTML, Status: 502},
	} {
		project := newProject(t)
		project.Inject(f)
		p := project.provider(t)
		if _, err := p.Holder(t.Context(), ip); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Claim(t.Context(), ip, yes); err == nil {
			t.Errorf("%s: no error", name)
		}
		if n := len(project.Writes()); n != 1 {
			t.Errorf("%s: %d POSTs; want 1", name, n)
		}
	}
}

// TestNumbersAreRemembered: the list is read once, and again when a number has gone.
func TestNumbersAreRemembered(t *testing.T) {
	project := newProject(t)
	for i := range 55 { // so that both of ours stand on the first page, and what is made anew does not
		project.AddFloatingIP(netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), 32), 0)
	}
	seen, url := recording(t, project.API())
	p := project.provider(t, func(o *Options) { o.APIURL = url })
	look := func(want ...string) {
		t.Helper()
		seen.mu.Lock()
		seen.seen = nil
		seen.mu.Unlock()
		if _, err := p.Holder(t.Context(), ip); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(seen.paths(), ", "); got != strings.Join(want, ", ") {
			t.Errorf("requests %s; want %s", got, strings.Join(want, ", "))
		}
	}
	list, one := "GET /floating_ips", "GET /floating_ips/"+instance(project.id)
	look(list, one+"/actions", one)
	look(one+"/actions", one)
	project.DeleteFloatingIP(ip)
	if _, err := p.Holder(t.Context(), ip); err == nil || !strings.Contains(err.Error(), "no floating IP 203.0.113.10") {
		t.Errorf("a deleted address: %v", err)
	}
	anew := project.AddFloatingIP(netip.PrefixFrom(ip, 32), 0)
	one = "GET /floating_ips/" + instance(anew)
	look(list, list, one+"/actions", one)
	look(one+"/actions", one)
	if _, err := p.Claim(t.Context(), ip, yes); err != nil || project.Holder(ip) != lb1 {
		t.Errorf("claim of the new one: %v, held by %d", err, project.Holder(ip))
	}
}

// TestNumbersAreFoundBeforeTheTicket: it is good for less than a second, and the list may take two.
func TestNumbersAreFoundBeforeTheTicket(t *testing.T) {
	project := newProject(t)
	seen, url := recording(t, project.API())
	p := project.provider(t, func(o *Options) { o.APIURL = url })
	var before []string
	fence := func(context.Context) (func() error, func(), error) {
		before = seen.paths()
		return yes, func() {}, nil
	}
	_, err := assigner.New(p, nil).Ensure(t.Context(), assigner.Request{IP: ip, Fence: fence, Believed: instance(lb2)})
	if err != nil {
		t.Fatal(err)
	}
	if want := "GET /floating_ips"; len(before) != 1 || before[0] != want || seen.paths()[1] != "POST /floating_ips/"+instance(project.id)+"/actions/assign" {
		t.Errorf("requests %q, %q of them before the ticket; want %s, then the POST", seen.paths(), before, want)
	}
}

// TestRoutineLookIsOneRequest: it is what a cluster spends on all its quiet days.
func TestRoutineLookIsOneRequest(t *testing.T) {
	project := newProject(t)
	seen, url := recording(t, project.API())
	p := project.provider(t, func(o *Options) { o.APIURL = url })
	p.remember(ip, project.id)
	if _, err := p.Holder(assigner.WithRoutine(t.Context()), ip); err != nil {
		t.Fatal(err)
	}
	if got := seen.paths(); len(got) != 1 || got[0] != "GET /floating_ips/"+instance(project.id) {
		t.Errorf("requests %q; want the address alone", got)
	}
}

func TestAddressesOfTheSameProject(t *testing.T) {
	project := newProject(t)
	claimer := assigner.New(project.provider(t), nil)
	for _, addr := range []netip.Addr{ip, ip6} {
		if out, err := claimer.Ensure(t.Context(), assigner.Request{IP: addr, Fence: freely}); err != nil || !out.Moved {
			t.Errorf("%s: %+v, %v", addr, out, err)
		}
	}
	for addr, want := range map[string]int64{"203.0.113.10": lb1, "2001:db8:0:1::1": lb1, "203.0.113.9": 0, "2001:db8:0:2::53": 0} {
		if got := project.Holder(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is held by %d; want %d", addr, got, want)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	path := t.TempDir() + "/hcloud-token"
	writeToken(t, path, "secret")
	for url, ok := range map[string]bool{"": true, "https://api.example/v1": true, "ftp://api.example/": false, "https://u:pa55@api.example/": false} {
		p, err := New(Options{TokenFile: path, APIURL: url})
		if (err == nil) != ok || err != nil && strings.Contains(err.Error(), "pa55") {
			t.Errorf("api_url %q: %v", url, err)
		}
		if err == nil {
			p.Close()
		}
		if _, err := New(Options{TokenFile: path, MetadataURL: url}); (err == nil) != ok {
			t.Errorf("metadata_url %q: %v", url, err)
		}
	}
	var token *cloudhttp.TokenError
	if _, err := New(Options{TokenFile: path + ".absent"}); !errors.As(err, &token) {
		t.Errorf("without a token: %v", err)
	}
}

func TestIdentityComesFromMetadata(t *testing.T) {
	project := newProject(t)
	p := project.provider(t)
	if p.metadata.client.Transport.(*http.Transport).Proxy != nil {
		t.Error("a proxy would be asked who it is")
	}
	for range 2 {
		if self, err := p.Self(t.Context()); err != nil || self != "101" {
			t.Errorf("Self = %q, %v; want 101", self, err)
		}
	}
	page := func(status int, text string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	for name, url := range map[string]string{
		"absent": "http://127.0.0.1:1/", "page": page(200, "<html>"), "not found": page(404, "101"),
		"no number": page(200, "-7"), "endless": page(200, strings.Repeat("1", 5000)),
	} {
		_, err := project.provider(t, func(o *Options) { o.MetadataURL = url }).Self(t.Context())
		var e *assigner.Error
		if !errors.As(err, &e) || !e.OwnFault() || !strings.Contains(err.Error(), "set provider.hetzner.server_id") || len(err.Error()) > 500 {
			t.Errorf("%s: %v; want an own fault with the remedy", name, err)
		}
		if self, err := project.provider(t, func(o *Options) { o.MetadataURL, o.ServerID = url, lb2 }).Self(t.Context()); err != nil || self != "102" {
			t.Errorf("configured: %q, %v; want 102 without metadata", self, err)
		}
	}
}

func TestSelfTest(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*project, *Options)
		class   assigner.Class // 0 = passes
		text    string
	}{
		"good":              {func(*project, *Options) {}, 0, ""},
		"good, configured":  {func(_ *project, o *Options) { o.ServerID = lb1 }, 0, ""},
		"address elsewhere": {func(p *project, _ *Options) { _ = p.Steal(ip, lb2) }, 0, ""},
		"no such server":    {func(_ *project, o *Options) { o.ServerID = 999 }, assigner.Own, "no server 999"},
		"token deleted":     {func(p *project, _ *Options) { p.DeleteToken("secret-of-lb1") }, assigner.Own, "token"},
		"no such address":   {func(p *project, _ *Options) { p.DeleteFloatingIP(ip) }, assigner.Own, "no floating IP 203.0.113.10"},
		"blocked":           {func(p *project, _ *Options) { p.Block(ip, true) }, assigner.Shared, "blocked by Hetzner"},
	} {
		t.Run(name, func(t *testing.T) {
			project := newProject(t)
			p := project.provider(t, func(o *Options) { c.prepare(project, o) })
			claimer := assigner.New(p, nil)
			for range 2 { // what it has learnt must not change the verdict
				err := claimer.SelfTest(t.Context(), ip)
				if (err == nil) != (c.class == 0) || err != nil && !strings.Contains(err.Error(), c.text) {
					t.Errorf("self-test: %v; want %q", err, c.text)
				}
				var e *assigner.Error
				if err != nil && (!errors.As(err, &e) || e.Class != c.class) {
					t.Errorf("%v: want class %v", err, c.class)
				}
			}
		})
	}
}

func TestSelfTestWantsToSeeThisServer(t *testing.T) {
	_, url := recording(t, http.HandlerFunc(answer)) // about servers it says nothing
	err := assigner.New(stubProvider(t, url), nil).SelfTest(t.Context(), ip)
	if err == nil || !strings.Contains(err.Error(), "server 101 was asked for") {
		t.Errorf("self-test: %v", err)
	}
}

// TestTokenIsReplacedLive: rotation is a new file, without a restart. No token shows in a log or an
// error.
func TestTokenIsReplacedLive(t *testing.T) {
	project := newProject(t)
	var logs bytes.Buffer
	p := project.provider(t, func(o *Options) {
		o.Logger = hclog.New(&hclog.LoggerOptions{Output: &logs, Level: hclog.Trace})
	})
	look := func() error { _, err := p.Holder(t.Context(), ip); return err }
	project.DeleteToken("secret-of-lb1")
	err := look()
	if err == nil {
		t.Fatal("a deleted token works")
	}
	project.AddToken("lb1", "secret-new")
	writeToken(t, project.token, "secret-new\n")
	if err := look(); err != nil {
		t.Errorf("with the new token: %v", err)
	}
	project.Inject(hetznertest.Fault{Effect: hetznertest.Drop})
	for _, err := range []error{err, look(), ask["claim"](t, p), ask["follow"](t, p)} {
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v", err)
		}
	}
	if strings.Contains(logs.String(), "secret") || !strings.Contains(logs.String(), "replaced") {
		t.Errorf("log: %s", &logs)
	}
}

func TestReadOnlyTokenIsNamed(t *testing.T) {
	project := newProject(t)
	project.AddReadOnlyToken("lb1", "secret-of-lb1")
	_, err := assigner.New(project.provider(t), nil).Ensure(t.Context(), assigner.Request{IP: ip, Fence: freely})
	var e *assigner.Error
	if !errors.As(err, &e) || !e.OwnFault() || !strings.Contains(err.Error(), "read & write") {
		t.Errorf("%v; want an own fault with the remedy", err)
	}
}
