package digitalocean

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/dotest"
)

// ask performs each kind of request once.
var ask = map[string]func(*testing.T, *Provider) error{
	"look":   func(t *testing.T, p *Provider) error { _, err := p.Holder(t.Context(), ip); return err },
	"claim":  func(t *testing.T, p *Provider) error { _, err := p.Claim(t.Context(), ip, yes); return err },
	"follow": func(t *testing.T, p *Provider) error { _, err := p.Pending(t.Context(), ip, "900001"); return err },
}

func TestAnswersAreClassed(t *testing.T) {
	page := "<html>\n<h1>502 Bad Gateway</h1>" + strings.Repeat("<!-- padding -->", 100) + "</html>"
	for name, c := range map[string]struct {
		status     int
		header     map[string]string
		body       string
		want       assigner.Class
		retryAfter time.Duration
		text       string // part of the error
	}{
		"bad token":          {401, nil, `{"id":"unauthorized","message":"Unable to authenticate you"}`, assigner.Own, 0, "check token_file"},
		"missing scope":      {403, nil, `{"id":"forbidden"}`, assigner.Own, 0, "reserved_ip:update"},
		"not ours":           {404, nil, `{"id":"not_found"}`, assigner.Own, 0, "no "},
		"moved":              {307, map[string]string{"Location": "/elsewhere"}, "", assigner.Own, 0, "elsewhere"},
		"bad request":        {400, nil, `{"id":"bad_request","message":"what?"}`, assigner.Own, 0, "what?"},
		"pending event":      {422, nil, `{"id":"unprocessable_entity","message":"The floating IP already has a pending event."}`, assigner.Pending, 0, "pending event"},
		"conflict":           {409, nil, `{}`, assigner.Pending, 0, "409"},
		"burst":              {429, map[string]string{"Retry-After": "7", "RateLimit-Reset": "4102444800"}, `{}`, assigner.Shared, 7 * time.Second, "429"},
		"hourly limit":       {429, map[string]string{"RateLimit-Reset": "4102444800"}, `{}`, assigner.Shared, time.Minute, "429"},
		"limit without time": {429, map[string]string{"Retry-After": "soon"}, `{}`, assigner.Shared, time.Second, "429"},
		"absurd Retry-After": {429, map[string]string{"Retry-After": "99999999"}, `{}`, assigner.Shared, time.Minute, "429"},
		"server error":       {500, nil, `{"id":"server_error"}`, assigner.Shared, 0, "500"},
		"maintenance":        {503, map[string]string{"Retry-After": "3"}, ``, assigner.Shared, 3 * time.Second, "503"},
		"gateway page":       {502, nil, page, assigner.Shared, 0, "502"},
		"portal page":        {200, nil, page, assigner.Shared, 0, ""},
		"empty object":       {200, nil, `{}`, assigner.Shared, 0, "makes no sense"},
		"null":               {200, nil, `null`, assigner.Shared, 0, "makes no sense"},
		"nothing":            {200, nil, ``, assigner.Shared, 0, ""},
		"nulls inside":       {200, nil, `{"reserved_ip":null,"action":null}`, assigner.Shared, 0, "makes no sense"},
		"empty inside":       {200, nil, `{"reserved_ip":{},"action":{}}`, assigner.Shared, 0, "makes no sense"},
		"cut off":            {200, nil, `{"reserved_ip":{"ip":"203.0.113.10","action":{"id":`, assigner.Shared, 0, ""},
		"about another":      {200, nil, `{"reserved_ip":{"ip":"203.0.113.11","droplet":{"id":101}},"action":{"id":-1}}`, assigner.Shared, 0, "makes no sense"},
		"droplet without ID": {200, nil, `{"reserved_ip":{"ip":"203.0.113.10","droplet":{}},"action":{"id":0}}`, assigner.Shared, 0, "makes no sense"},
	} {
		var requests atomic.Int32
		p, _ := stubAPI(t, false, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			requests.Add(1)
			for k, v := range c.header {
				w.Header().Set(k, v)
			}
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.body))
		}))
		for op, do := range ask {
			t.Run(name+"/"+op, func(t *testing.T) {
				requests.Store(0)
				err := do(t, p)
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
				if c.status == 404 && op == "follow" {
					want = 2 // an unknown action is no news: the address is looked up instead
				}
				if got := requests.Load(); got != want {
					t.Errorf("%d requests; want %d: no retry, no redirect", got, want)
				}
			})
		}
	}
}

func TestNoConnectionIsOurOwnFault(t *testing.T) {
	untrusted := httptest.NewTLSServer(http.HandlerFunc(answer))
	defer untrusted.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for name, url := range map[string]string{
		"refused":         "http://" + l.Addr().String(),
		"not trusted":     untrusted.URL,
		"TLS against TCP": strings.Replace(untrusted.URL, "https", "http", 1), // answers 400 in the clear
		"refused, TLS":    "https://127.0.0.1:" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port),
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
	a := newAccount(t, dotest.Options{})
	a.Inject(dotest.Fault{Effect: dotest.Hang})
	p := a.provider(t)
	for op, do := range ask {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
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
		fault dotest.Fault
		ok    bool
		posts int
	}{
		"unknown for ever":      {dotest.Fault{Effect: dotest.ActionGone}, true, 1},
		"undocumented status":   {dotest.Fault{Effect: dotest.ActionDone}, true, 1},
		"errored":               {dotest.Fault{Effect: dotest.ActionErrored}, false, 1},
		"accepted, then 500":    {dotest.Fault{Effect: dotest.Refuse, Status: 500, Accepted: true}, true, 1},
		"accepted, answer cut":  {dotest.Fault{Effect: dotest.Truncate, Accepted: true}, true, 1},
		"accepted, then 200 {}": {dotest.Fault{Effect: dotest.Empty, Accepted: true}, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount(t, dotest.Options{Latency: dotest.Fixed(200 * time.Millisecond)})
			c.fault.Method = http.MethodPost
			a.Inject(c.fault)
			out, err := assigner.New(a.provider(t), nil).Ensure(t.Context(), assigner.Request{IP: ip, Epoch: 12, Fence: freely})
			if (err == nil) != c.ok || out.Moved != c.ok || (a.Holder(ip) == lb1) != c.ok {
				t.Errorf("Ensure = %+v, %v; the holder is %d", out, err, a.Holder(ip))
			}
			if n := a.posts(); n != c.posts {
				t.Errorf("%d POSTs; want %d", n, c.posts)
			}
		})
	}
}
