package hetzner

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/hetznertest"
)

// ask performs each kind of request once, by a provider that knows the address's number.
var ask = map[string]func(*testing.T, *Provider) error{
	"look": func(t *testing.T, p *Provider) error { _, err := p.address(t.Context(), ip); return err },
	"look, new": func(t *testing.T, p *Provider) error {
		p.remember(ip, 0)
		_, err := p.address(t.Context(), ip)
		return err
	},
	"busy":   func(t *testing.T, p *Provider) error { _, err := p.busy(t.Context(), ip); return err },
	"claim":  func(t *testing.T, p *Provider) error { _, err := p.Claim(t.Context(), ip, yes); return err },
	"follow": func(t *testing.T, p *Provider) error { _, err := p.Pending(t.Context(), ip, "900001"); return err },
}

func yes() error { return nil }

func refusal(code string) string {
	return `{"error":{"code":"` + code + `","message":"by a test","details":null}}`
}

func TestAnswersAreClassed(t *testing.T) {
	page := "<html>\n<h1>502 Bad Gateway</h1>" + strings.Repeat("<!-- padding -->", 100) + "</html>"
	limit := map[string]string{"RateLimit-Limit": "3600", "RateLimit-Remaining": "0", "RateLimit-Reset": "4102444800"}
	for name, c := range map[string]struct {
		status     int
		header     map[string]string
		body       string
		want       assigner.Class
		retryAfter time.Duration
		text       string // part of the error
	}{
		"unauthorized":        {401, nil, refusal("unauthorized"), assigner.Own, 0, "check token_file"},
		"forbidden":           {403, nil, refusal("forbidden"), assigner.Own, 0, "read & write"},
		"token_readonly":      {403, nil, refusal("token_readonly"), assigner.Own, 0, "read & write"},
		"not_found":           {404, nil, refusal("not_found"), assigner.Own, 0, "project has no "},
		"404 without a code":  {404, nil, page, assigner.Own, 0, "project has no "},
		"invalid_input":       {422, nil, refusal("invalid_input"), assigner.Own, 0, "by a test"},
		"json_error":          {400, nil, refusal("json_error"), assigner.Own, 0, "json_error"},
		"unsupported":         {400, nil, refusal("unsupported_error"), assigner.Own, 0, "400"},
		"no code":             {400, nil, ``, assigner.Own, 0, "400"},
		"redirect":            {307, map[string]string{"Location": "/elsewhere"}, "", assigner.Own, 0, "elsewhere"},
		"proxy":               {407, nil, page, assigner.Own, 0, "proxy"},
		"conflict":            {409, nil, refusal("conflict"), assigner.Pending, 0, "conflict"},
		"locked":              {423, nil, refusal("locked"), assigner.Pending, 0, "locked"},
		"here already":        {422, nil, refusal("floating_ip_assigned"), assigner.Pending, 0, "floating_ip_assigned"},
		"unknown 422":         {422, nil, refusal("news"), assigner.Pending, 0, "news"},
		"maintenance":         {503, map[string]string{"Retry-After": "3"}, refusal("maintenance"), assigner.Pending, 0, "maintenance"},
		"rate limit":          {429, limit, refusal("rate_limit_exceeded"), assigner.Shared, time.Second, "429"},
		"low rate limit":      {429, map[string]string{"RateLimit-Limit": "360"}, refusal("rate_limit_exceeded"), assigner.Shared, 10 * time.Second, "429"},
		"absurd rate limit":   {429, map[string]string{"RateLimit-Limit": "1"}, ``, assigner.Shared, time.Minute, "429"},
		"limit, not a number": {429, map[string]string{"RateLimit-Limit": "many"}, ``, assigner.Shared, time.Second, "429"},
		"limit, Retry-After":  {429, map[string]string{"Retry-After": "7"}, ``, assigner.Shared, 7 * time.Second, "429"},
		"absurd Retry-After":  {429, map[string]string{"Retry-After": "99999999"}, ``, assigner.Shared, time.Minute, "429"},
		"service_error":       {422, nil, refusal("service_error"), assigner.Shared, 0, "service_error"},
		"server_error":        {500, nil, refusal("server_error"), assigner.Shared, 0, "500"},
		"unavailable":         {503, map[string]string{"Retry-After": "3"}, ``, assigner.Shared, 3 * time.Second, "503"},
		"timeout":             {504, nil, refusal("timeout"), assigner.Shared, 0, "timeout"},
		"gateway page":        {502, nil, page, assigner.Shared, 0, "502"},
		"portal page":         {200, nil, page, assigner.Shared, 0, "makes no sense"},
		"empty object":        {200, nil, `{}`, assigner.Shared, 0, "makes no sense"},
		"null":                {200, nil, `null`, assigner.Shared, 0, "makes no sense"},
		"nothing":             {200, nil, ``, assigner.Shared, 0, "makes no sense"},
		"nulls inside":        {200, nil, `{"floating_ip":null,"floating_ips":null,"action":null}`, assigner.Shared, 0, "makes no sense"},
		"empty inside":        {200, nil, `{"floating_ip":{},"floating_ips":[{}],"action":{}}`, assigner.Shared, 0, "makes no sense"},
		"cut off":             {200, nil, `{"floating_ip":{"ip":"203.0.113.10","action":{"id":`, assigner.Shared, 0, "makes no sense"},
		"no date":             {200, nil, `{"floating_ip":{"created":"` + strings.Repeat("x", 999) + `"},"floating_ips":[{"created":"x"}],"action":{"started":"x"}}`, assigner.Shared, 0, "makes no sense"},
		"about another": {
			200, nil, `{"floating_ip":{"id":1,"ip":"203.0.113.11","type":"ipv4","server":101},"floating_ips":[{"id":0,"ip":"203.0.113.10","type":"ipv4"}],"action":{"id":-1},"meta":{"pagination":{}}}`,
			assigner.Shared, 0, "makes no sense",
		},
		"server without a number": {
			200, nil, `{"floating_ip":{"id":4002,"ip":"203.0.113.10","type":"ipv4","server":0},"floating_ips":[{"id":4002,"ip":"203.0.113.10","type":"ipv4","server":-1}],"action":{"id":0}, "meta":{"pagination":{}}}`,
			assigner.Shared, 0, "makes no sense",
		},
		"list without an end": {
			200, nil, `{"floating_ip":{},"floating_ips":[],"action":{},"meta":{"pagination":{"next_page":1}}}`,
			assigner.Shared, 0, "makes no sense",
		},
	} {
		var requests atomic.Int32
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			requests.Add(1)
			for k, v := range c.header {
				w.Header().Set(k, v)
			}
			if c.body != page {
				w.Header().Set("Content-Type", "application/json")
			}
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.body))
		}))
		defer api.Close()
		p := stubProvider(t, api.URL)
		for op, do := range ask {
			t.Run(name+"/"+op, func(t *testing.T) {
				requests.Store(0)
				p.remember(ip, 4002)
				err := do(t, p)
				if op == "busy" && (c.status == 404 || strings.Contains(c.body, "pagination")) {
					if err != nil || requests.Load() != 1 {
						t.Errorf("error %v, %d requests; want none: no action is running", err, requests.Load())
					}
					return
				}
				var e *assigner.Error
				if !errors.As(err, &e) {
					t.Fatalf("error %v; want an *assigner.Error", err)
				}
				if e.Class != c.want || e.RetryAfter != c.retryAfter {
					t.Errorf("%v: %v, retry after %v; want %v, %v", err, e.Class, e.RetryAfter, c.want, c.retryAfter)
				}
				if text := err.Error(); !strings.Contains(text, c.text) || len(text) > 500 || strings.ContainsAny(text, "\n") {
					t.Errorf("error %q; want it in one line, short, with %q", text, c.text)
				}
				want := int32(1)
				if c.status == 404 && op == "look" {
					want = 2 // the number is forgotten, the list is read
				}
				if c.status == 404 && op == "follow" {
					want = 3 // an unknown action is no news: the address is looked up instead
				}
				if got := requests.Load(); got != want {
					t.Errorf("%d requests; want %d: no retry, no redirect", got, want)
				}
			})
		}
	}
}

// stubProvider returns the provider of server 101 for the API at url.
func stubProvider(t testing.TB, url string) *Provider {
	t.Helper()
	path := t.TempDir() + "/hcloud-token"
	writeToken(t, path, "secret")
	p, err := New(Options{TokenFile: path, APIURL: url, ServerID: lb1, Node: "lb1", Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	p.reads.SetLimit(1e9)
	p.remember(ip, 4002)
	t.Cleanup(p.Close)
	return p
}

func TestNoConnectionIsOurOwnFault(t *testing.T) {
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	defer untrusted.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for name, url := range map[string]string{
		"refused":     "http://" + l.Addr().String(),
		"not trusted": untrusted.URL,
	} {
		for op, do := range ask {
			err := do(t, stubProvider(t, url))
			var e *assigner.Error
			if !errors.As(err, &e) || !e.OwnFault() {
				t.Errorf("%s, %s: %v; want an own fault", name, op, err)
			}
		}
	}
}

// TestProviderHasItsOwnDeadlines: a hanging API must not hang a caller that sets none.
func TestProviderHasItsOwnDeadlines(t *testing.T) {
	project := newProject(t)
	project.Inject(hetznertest.Fault{Effect: hetznertest.Hang})
	for op, do := range ask {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			p := project.provider(t)
			p.remember(ip, project.id)
			begun := time.Now()
			err := do(t, p)
			var e *assigner.Error
			if !errors.As(err, &e) || e.Class != assigner.Shared {
				t.Errorf("%v; want a shared fault", err)
			}
			if took := time.Since(begun); took > 4*claimTimeout {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestOddActions: what became of the action is only a hint when to look.
func TestOddActions(t *testing.T) {
	for name, c := range map[string]struct {
		fault hetznertest.Fault
		ok    bool
	}{
		"unknown for ever":      {hetznertest.Fault{Effect: hetznertest.ActionGone}, true},
		"error":                 {hetznertest.Fault{Effect: hetznertest.ActionError}, false},
		"accepted, then 500":    {hetznertest.Fault{Effect: hetznertest.Refuse, Accepted: true}, true},
		"accepted, answer cut":  {hetznertest.Fault{Effect: hetznertest.Truncate, Accepted: true}, true},
		"accepted, then 200 {}": {hetznertest.Fault{Effect: hetznertest.Empty, Accepted: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			project := newProject(t)
			c.fault.Method = http.MethodPost
			project.Inject(c.fault)
			var logs bytes.Buffer
			p := project.provider(t, func(o *Options) { o.Logger = hclog.New(&hclog.LoggerOptions{Output: &logs}) })
			out, err := assigner.New(p, nil).Ensure(t.Context(), assigner.Request{IP: ip, Epoch: 12, Fence: freely})
			if (err == nil) != c.ok || out.Moved != c.ok || (project.Holder(ip) == lb1) != c.ok {
				t.Errorf("Ensure = %+v, %v; the holder is %d", out, err, project.Holder(ip))
			}
			if n := len(project.Writes()); n != 1 {
				t.Errorf("%d POSTs; want 1", n)
			}
			if told := strings.Contains(logs.String(), "action_failed"); told == c.ok {
				t.Errorf("the log says: %s", &logs)
			}
		})
	}
}

// TestUnknownActionIsWatchedAtTheAddress: here the address shows the new holder before it has moved.
func TestUnknownActionIsWatchedAtTheAddress(t *testing.T) {
	project := newProject(t)
	project.SetLatency(time.Second)
	project.SetPendingNew(true)
	project.Inject(hetznertest.Fault{Method: http.MethodPost, Effect: hetznertest.ActionGone})
	p := project.provider(t)
	action, err := p.Claim(t.Context(), ip, yes)
	if err != nil {
		t.Fatal(err)
	}
	if pending, err := p.Pending(t.Context(), ip, action); !pending || err != nil {
		t.Errorf("pending %v, %v while it runs; want true", pending, err)
	}
	for project.Holder(ip) != lb1 {
		time.Sleep(time.Millisecond)
	}
	if pending, err := p.Pending(t.Context(), ip, action); pending || err != nil {
		t.Errorf("pending %v, %v when it is over; want false", pending, err)
	}
}

// TestClaimDuringForeignAction: who claims without a look meets the lock, waits it out, and has
// written only once.
func TestClaimDuringForeignAction(t *testing.T) {
	project := newProject(t)
	project.SetLatency(300 * time.Millisecond)
	if err := project.Assign(ip, lb2); err != nil {
		t.Fatal(err)
	}
	claimer := assigner.New(project.provider(t), nil)
	request := assigner.Request{IP: ip, Fence: freely, Believed: instance(lb2)}
	_, err := claimer.Ensure(t.Context(), request)
	var e *assigner.Error
	if !errors.As(err, &e) || e.Class != assigner.Pending || !strings.Contains(err.Error(), "locked") {
		t.Fatalf("%v; want pending, since locked", err)
	}
	if writes := project.Writes(); len(writes) != 1 || writes[0].Code != "locked" {
		t.Errorf("writes %+v; want the refused one", writes)
	}
	if out, err := claimer.Ensure(t.Context(), request); err != nil || !out.Moved || project.Holder(ip) != lb1 {
		t.Errorf("then %+v, %v; held by %d", out, err, project.Holder(ip))
	}
}
