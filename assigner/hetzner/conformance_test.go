package hetzner

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/buoy-lb/buoy/assigner/assignertest"
	"github.com/buoy-lb/buoy/assigner/hetznertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	lb1, lb2 = 101, 102
	lockTime = 3 * time.Second
)

// The addresses of the fake project: one of its own, and one somewhere in a /64.
var (
	ip  = netip.MustParseAddr("203.0.113.10")
	ip6 = netip.MustParseAddr("2001:db8:0:1::53")
)

// project is a fake project with two servers, both kinds of floating IP, which nobody holds, and a
// token file.
type project struct {
	*hetznertest.Server
	api, metadata string
	token         string // path
	id, id6       int64
}

func newProject(t testing.TB) *project {
	t.Helper()
	p := &project{Server: hetznertest.New(), token: filepath.Join(t.TempDir(), "hcloud-token")}
	p.AddToken("lb1", "secret-of-lb1")
	p.AddServer(lb1)
	p.AddServer(lb2)
	p.AddFloatingIP(netip.MustParsePrefix("203.0.113.9/32"), 0)
	p.id = p.AddFloatingIP(netip.PrefixFrom(ip, 32), 0)
	p.AddFloatingIP(netip.MustParsePrefix("2001:db8:0:2::/64"), 0)
	p.id6 = p.AddFloatingIP(netip.PrefixFrom(ip6, 64), 0)
	api, metadata := httptest.NewServer(p.API()), httptest.NewServer(p.Metadata(lb1))
	t.Cleanup(api.Close)
	t.Cleanup(metadata.Close)
	p.api, p.metadata = api.URL, metadata.URL
	writeToken(t, p.token, "secret-of-lb1\n")
	return p
}

// provider returns lb1's provider, after mend has seen its options.
func (p *project) provider(t testing.TB, mend ...func(*Options)) *Provider {
	t.Helper()
	o := Options{TokenFile: p.token, APIURL: p.api, MetadataURL: p.metadata, Node: "lb1", Version: "1.2.3"}
	for _, f := range mend {
		f(&o)
	}
	provider, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(provider.Close)
	return provider
}

func writeToken(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestConforms(t *testing.T) {
	for name, c := range map[string]struct {
		ip         netip.Addr
		pendingNew bool
	}{
		"IPv4, a running action shows the old holder": {ip, false},
		"IPv4, it shows the new one":                  {ip, true},
		"IPv6, it shows the old holder":               {ip6, false},
		"IPv6, it shows the new one":                  {ip6, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			assignertest.Run(t, func(t *testing.T) *assignertest.Cloud {
				p := newProject(t)
				p.SetLatency(30 * time.Millisecond)
				p.SetPendingNew(c.pendingNew)
				return p.conformance(t, c.ip)
			})
		})
	}
}

func (p *project) conformance(t *testing.T, ip netip.Addr) *assignertest.Cloud {
	return &assignertest.Cloud{
		Provider:  p.provider(t),
		IP:        ip,
		Self:      strconv.Itoa(lb1),
		Other:     strconv.Itoa(lb2),
		SetHolder: func(instance string) { p.hold(t, ip, instance) },
		Holder: func() string {
			if h := p.Holder(ip); h != 0 {
				return instance(h)
			}
			return ""
		},
		Writes: func() int { return len(p.Writes()) },
		SetLocked: func(locked bool) {
			if locked {
				p.SetLatency(lockTime)
				if err := p.Assign(ip, lb2); err != nil {
					t.Error(err)
				}
				p.SetLatency(0)
				return
			}
			for p.Holder(ip) != lb2 {
				time.Sleep(time.Millisecond)
			}
		},
		Fail: func(f assignertest.Fault) bool {
			p.ClearFaults()
			switch f {
			case assignertest.None:
			case assignertest.RateLimited:
				p.Inject(hetznertest.Fault{Effect: hetznertest.Refuse, Status: 429, Code: "rate_limit_exceeded"})
			case assignertest.Unavailable:
				p.Inject(hetznertest.Fault{Effect: hetznertest.HTML, Status: 502})
			case assignertest.Refused:
				p.Inject(hetznertest.Fault{Effect: hetznertest.Refuse, Status: 401, Code: "unauthorized"})
			case assignertest.Foreign:
				p.Inject(hetznertest.Fault{Effect: hetznertest.Empty})
			case assignertest.LostReply:
				p.Inject(hetznertest.Fault{Method: http.MethodPost, Effect: hetznertest.Drop, Accepted: true})
			case assignertest.Hang:
				p.Inject(hetznertest.Fault{Method: http.MethodPost, Effect: hetznertest.Hang})
			default:
				return false
			}
			return true
		},
	}
}

// hold moves the address behind everybody's back, after whatever is running on it.
func (p *project) hold(t testing.TB, ip netip.Addr, instance string) {
	t.Helper()
	server, _ := strconv.ParseInt(instance, 10, 64)
	deadline := time.Now().Add(10 * time.Second)
	for p.Holder(ip) != server {
		if err := p.Steal(ip, server); err != nil && time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}
