package digitalocean

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/cloudhttp"
	"github.com/buoy-lb/buoy/assigner/dotest"
)

// trial is an account within a synctest bubble, and lb1's way to it.
type trial struct {
	*dotest.Server
	t    *testing.T
	ip   netip.Addr
	p    *Provider
	dial cloudhttp.Dial // how lb1 reaches the API and its metadata
}

func newTrial(t *testing.T, ip netip.Addr, mend ...func(*Options)) *trial {
	r := &trial{Server: dotest.New(dotest.Options{Latency: dotest.Fixed(3 * time.Second)}), t: t, ip: ip}
	t.Cleanup(r.Close)
	r.AddToken("lb1", "dop_v1_lb1", dotest.AssignScopes()...)
	r.AddDroplet(dotest.Droplet{ID: lb1, Name: "lb1", Region: "nyc3"})
	r.AddDroplet(dotest.Droplet{ID: lb2, Name: "lb2", Region: "nyc3"})
	r.AddDroplet(dotest.Droplet{ID: stranger, Name: "stranger", Region: "nyc3"})
	if err := r.AddReservedIP(ip, "nyc3", lb2); err != nil {
		t.Fatal(err)
	}
	r.dial = r.Dialer(lb1)
	o := Options{
		TokenFile: filepath.Join(t.TempDir(), "do-token"), APIURL: "http://api.example/", Node: "lb1", Version: "1.2.3",
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) { return r.dial(ctx, network, addr) },
	}
	writeToken(t, o.TokenFile, "dop_v1_lb1")
	for _, f := range mend {
		f(&o)
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	r.p = p
	return r
}

// heal ends every trouble.
func (r *trial) heal() {
	r.ClearFaults()
	r.AddToken("lb1", "dop_v1_lb1", dotest.AssignScopes()...)
	r.SetLimits(dotest.Limits{})
	_ = r.PendDroplet(lb1, time.Time{})
	r.dial = r.Dialer(lb1)
	r.p.base.Proxy = nil
	r.p.base.CloseIdleConnections()
}

// via has lb1 use a proxy, which answers with h.
func (r *trial) via(h http.HandlerFunc) {
	proxy := serveOverPipes(r.t, &http.Server{Handler: h, ReadHeaderTimeout: time.Minute})
	r.p.base.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.example:3128"})
	r.dial = toAPI(r.Dialer(lb1), proxy)
}

// toAPI dials the API by another way, and the metadata service as before.
func toAPI(direct, api cloudhttp.Dial) cloudhttp.Dial {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if strings.HasPrefix(addr, "169.254.") {
			return direct(ctx, network, addr)
		}
		return api(ctx, network, addr)
	}
}

func refuseToDial(err error) func(*trial) {
	return func(r *trial) {
		r.dial = toAPI(r.Dialer(lb1), func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
		})
	}
}

func with(f dotest.Fault) func(*trial) { return func(r *trial) { r.Inject(f) } }

// trouble is one way for a claim to go wrong. Anything but claimed means an error, and that nothing
// was confirmed, until the trouble is over.
type trouble struct {
	name string
	harm func(*trial)
	want assigner.Class // of the first attempt; claimed if it succeeds all the same
	text string         // part of the error

	retryAfter time.Duration
	later      assigner.Class // of an attempt 12 s later, if it is another
	mend       func(*Options)
}

const claimed assigner.Class = 0

const stranger = 103 // a droplet that is no member

// answered are the troubles of one answer. Each is tried twice: it meets the look, and it meets the
// claim.
var answered = []trouble{
	{name: "401", harm: with(dotest.Fault{Status: 401, Effect: dotest.Refuse}), want: assigner.Own, text: "check token_file"},
	{name: "403", harm: with(dotest.Fault{Status: 403, Effect: dotest.Refuse}), want: assigner.Own, text: "reserved_ip:update"},
	{name: "404", harm: with(dotest.Fault{Status: 404, Effect: dotest.Refuse}), want: assigner.Own, text: "has no reserved IP"},
	{name: "400", harm: with(dotest.Fault{Status: 400, Effect: dotest.Refuse}), want: assigner.Own, text: "400"},
	{name: "429 with Retry-After", harm: with(dotest.Fault{Status: 429, Effect: dotest.Refuse, RetryAfter: 7 * time.Second}), want: assigner.Shared, text: "429", retryAfter: 7 * time.Second},
	{name: "429 without Retry-After", harm: with(dotest.Fault{Status: 429, Effect: dotest.Refuse}), want: assigner.Shared, text: "429", retryAfter: time.Minute},
	{name: "500", harm: with(dotest.Fault{Status: 500, Effect: dotest.Refuse}), want: assigner.Shared, text: "500"},
	{name: "503 with Retry-After", harm: with(dotest.Fault{Status: 503, Effect: dotest.Refuse, RetryAfter: 3 * time.Second}), want: assigner.Shared, text: "503", retryAfter: 3 * time.Second},
	{name: "502 of a gateway, HTML", harm: with(dotest.Fault{Effect: dotest.HTML}), want: assigner.Shared, text: "502"},
	{name: "200 of a portal, HTML", harm: with(dotest.Fault{Effect: dotest.HTML, Status: 200}), want: assigner.Shared},
	{name: "truncated JSON", harm: with(dotest.Fault{Effect: dotest.Truncate}), want: assigner.Shared},
	{name: "200 {}", harm: with(dotest.Fault{Effect: dotest.Empty}), want: assigner.Shared, text: "makes no sense"},
	{name: "redirect", harm: with(dotest.Fault{Status: 307, Effect: dotest.Refuse}), want: assigner.Own, text: "redirects are not followed"},
	{name: "hang", harm: with(dotest.Fault{Effect: dotest.Hang}), want: assigner.Shared, text: "deadline"},
	{name: "connection dropped", harm: with(dotest.Fault{Effect: dotest.Drop}), want: assigner.Shared, text: "EOF"},
	{name: "DNS failure", harm: refuseToDial(&net.DNSError{Err: "no such host", Name: "api.example"}), want: assigner.Own, text: "no such host"},
	{name: "no route", harm: refuseToDial(errors.New("network is unreachable")), want: assigner.Own, text: "check route"},
	{name: "TLS failure", harm: func(*trial) {}, mend: func(o *Options) { o.APIURL = "https://api.example/" }, want: assigner.Own, text: "TLS"},
	{name: "proxy unreachable", harm: func(r *trial) {
		r.via(nil)
		refuseToDial(errors.New("connection refused"))(r)
	}, want: assigner.Own, text: "proxy"},
	{name: "proxy refuses CONNECT with 403", harm: func(r *trial) { r.via(answerWith(403)) }, mend: func(o *Options) { o.APIURL = "https://api.example/" }, want: assigner.Own, text: "Forbidden"},
	{name: "proxy refuses CONNECT with 407", harm: func(r *trial) { r.via(answerWith(407)) }, mend: func(o *Options) { o.APIURL = "https://api.example/" }, want: assigner.Own, text: "Proxy Authentication Required"},
	{name: "plain proxy wants a password", harm: func(r *trial) { r.via(answerWith(407)) }, want: assigner.Own, text: "wants a password"},
	{name: "plain proxy has no way to the API", harm: func(r *trial) { r.via(answerWith(504)) }, want: assigner.Shared, text: "504"},
}

func answerWith(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// claims are the troubles that only a claim can meet.
var claims = []trouble{
	{name: "422: the address has an action pending", harm: func(r *trial) {
		r.AddToken("foreigner", "dop_v1_foreigner")
		(&account{Server: r.Server}).foreignAssign(r.t, r.ip, stranger)
	}, want: assigner.Pending, text: "pending event"},
	{name: "422: the droplet has an action pending", harm: func(r *trial) {
		_ = r.PendDroplet(lb1, time.Now().Add(time.Hour))
	}, want: assigner.Pending, text: "droplet 101 is busy: its action", later: assigner.Own},
	{name: "422: the droplet has another address", harm: func(r *trial) {
		_ = r.AddReservedIP(r.ip.Next(), "nyc3", lb1)
	}, want: assigner.Own, text: "holds the reserved IP"},
	{name: "422: the droplet has this address", harm: func(r *trial) { _ = r.Steal(r.ip, lb1) }, want: claimed},
	{name: "422: another region", harm: func(r *trial) {
		r.AddDroplet(dotest.Droplet{ID: lb1, Name: "lb1", Region: "ams3"})
	}, want: assigner.Own, text: "cannot leave its region"},
	{name: "422 for a reason never heard of", harm: with(dotest.Fault{Method: http.MethodPost, Status: 422, Effect: dotest.Refuse}), want: assigner.Pending, text: "422", later: assigner.Own},
	{name: "409", harm: with(dotest.Fault{Method: http.MethodPost, Status: 409, Effect: dotest.Refuse}), want: assigner.Pending, text: "409", later: assigner.Own},
	{name: "no such droplet", harm: func(*trial) {}, mend: func(o *Options) { o.DropletID = 999 }, want: assigner.Own, text: "droplet 999"},
	{name: "token may only read", harm: func(r *trial) {
		r.AddToken("lb1", "dop_v1_lb1", "reserved_ip:read", "droplet:read", "actions:read")
	}, want: assigner.Own, text: "reserved_ip:update"},
	{name: "token revoked", harm: func(r *trial) { r.RevokeToken("lb1") }, want: assigner.Own, text: "expired or revoked"},
	{name: "token sees no droplets", harm: func(r *trial) {
		r.AddToken("lb1", "dop_v1_lb1", "reserved_ip:read", "reserved_ip:update", "actions:read")
	}, want: assigner.Own, text: "droplet:read"},
	{name: "nobody holds it", harm: func(r *trial) { _ = r.Steal(r.ip, 0) }, want: claimed},
	{name: "lost reply", harm: with(dotest.Fault{Method: http.MethodPost, Effect: dotest.Drop, Accepted: true}), want: claimed},
	{name: "accepted, then 500", harm: with(dotest.Fault{Method: http.MethodPost, Effect: dotest.Refuse, Accepted: true}), want: claimed},
	{name: "accepted, answer cut", harm: with(dotest.Fault{Method: http.MethodPost, Effect: dotest.Truncate, Accepted: true}), want: claimed},
	{name: "accepted, then 200 {}", harm: with(dotest.Fault{Method: http.MethodPost, Effect: dotest.Empty, Accepted: true}), want: claimed},
	{name: "accepted, then hang", harm: with(dotest.Fault{Method: http.MethodPost, Effect: dotest.Hang, Accepted: true}), want: claimed},
	{name: "action errored", harm: with(dotest.Fault{Method: http.MethodPost, Effect: dotest.ActionErrored}), want: assigner.Pending, text: "the address is at 102", later: assigner.Own},
	{name: "action 404 for ever", harm: with(dotest.Fault{Method: http.MethodPost, Effect: dotest.ActionGone}), want: claimed},
	{name: "action of a status never heard of", harm: with(dotest.Fault{Method: http.MethodPost, Effect: dotest.ActionDone}), want: claimed},
	{name: "metadata out of reach", harm: func(r *trial) {
		r.dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no route") }
	}, want: assigner.Own, text: "set provider.digitalocean.droplet_id"},
}

// TestEveryTrouble is the list of what may happen to a claim. None panics, none is taken for a claim
// that is not one, each is classed by whose fault it is, and none is given up: when the trouble is
// over the same Claimer succeeds.
func TestEveryTrouble(t *testing.T) {
	for _, ip := range []netip.Addr{ip, ip6} {
		family := map[bool]string{true: "IPv4", false: "IPv6"}[ip.Is4()]
		for _, c := range answered {
			for meets, believed := range map[string]string{"the look": "", "the claim": "102"} {
				t.Run(family+"/"+c.name+" meets "+meets, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { c.try(t, ip, believed) })
				})
			}
		}
		for _, c := range claims {
			t.Run(family+"/"+c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { c.try(t, ip, "102") })
			})
		}
	}
}

func (c trouble) try(t *testing.T, ip netip.Addr, believed string) {
	var mend []func(*Options)
	if c.mend != nil {
		mend = append(mend, c.mend)
	}
	r := newTrial(t, ip, mend...)
	c.harm(r)
	synctest.Wait()
	claimer := assigner.New(r.p, nil)
	ask := func() (assigner.Outcome, error) {
		return claimer.Ensure(t.Context(), assigner.Request{IP: ip, Fence: freely, Epoch: 7, Believed: believed})
	}
	out, err := ask()
	c.judge(t, r, out, err, c.want)
	if c.later != 0 {
		time.Sleep(12 * time.Second)
		out, err := ask()
		c.judge(t, r, out, err, c.later)
	}
	if c.mend != nil {
		return // the configuration was wrong
	}
	r.heal()
	r.AddDroplet(dotest.Droplet{ID: lb1, Name: "lb1", Region: "nyc3"})
	if other := ip.Next(); r.Holder(other) == lb1 {
		_ = r.Steal(other, 0)
	}
	for range 5 {
		time.Sleep(10 * time.Second)
		if out, err = ask(); err == nil {
			break
		}
	}
	c.judge(t, r, out, err, claimed)
}

func (c trouble) judge(t *testing.T, r *trial, out assigner.Outcome, err error, want assigner.Class) {
	t.Helper()
	if want == claimed {
		if err != nil || out.Confirmed.IsZero() || r.Holder(r.ip) != lb1 {
			t.Errorf("Ensure = %+v, %v; the address is at %d", out, err, r.Holder(r.ip))
		}
		return
	}
	var e *assigner.Error
	if !errors.As(err, &e) || !out.Confirmed.IsZero() {
		t.Fatalf("Ensure = %+v, %v; want an error and no confirmation", out, err)
	}
	if e.Class != want || e.RetryAfter != c.retryAfter {
		t.Errorf("%v: %v, retry after %v; want %v, %v", err, e.Class, e.RetryAfter, want, c.retryAfter)
	}
	if !strings.Contains(err.Error(), c.text) || len(err.Error()) > 700 {
		t.Errorf("error %q; want it short, with %q", err, c.text)
	}
}
