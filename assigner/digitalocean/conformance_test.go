package digitalocean

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/buoy-lb/buoy/assigner/assignertest"
	"github.com/buoy-lb/buoy/assigner/dotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	lb1, lb2 = 101, 102
	lockTime = 2 * time.Second
)

var (
	ip  = netip.MustParseAddr("203.0.113.10")
	ip6 = netip.MustParseAddr("2001:db8::10")
)

// account is a fake account with two droplets, a reserved IP of each family that nobody holds, and a
// token file.
type account struct {
	*dotest.Server
	api, metadata string
	token         string // path
}

func newAccount(t testing.TB, o dotest.Options) *account {
	t.Helper()
	a := &account{Server: dotest.New(o), token: filepath.Join(t.TempDir(), "do-token")}
	t.Cleanup(a.Close)
	a.AddToken("lb1", "dop_v1_lb1", dotest.AssignScopes()...)
	a.AddToken("foreigner", "dop_v1_foreigner")
	a.AddDroplet(dotest.Droplet{ID: lb1, Name: "lb1", Region: "nyc3"})
	a.AddDroplet(dotest.Droplet{ID: lb2, Name: "lb2", Region: "nyc3"})
	for _, ip := range []netip.Addr{ip, ip6} {
		if err := a.AddReservedIP(ip, "nyc3", 0); err != nil {
			t.Fatal(err)
		}
	}
	api, err := a.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	metadata, err := a.StartMetadata(lb1, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a.api, a.metadata = api.URL, metadata.URL
	writeToken(t, a.token, "dop_v1_lb1\n")
	return a
}

// provider returns lb1's provider, after mend has seen its options. It is not held to the
// pace that real providers keep.
func (a *account) provider(t testing.TB, mend ...func(*Options)) *Provider {
	t.Helper()
	o := Options{TokenFile: a.token, APIURL: a.api, MetadataURL: a.metadata, Node: "lb1", Version: "1.2.3"}
	for _, f := range mend {
		f(&o)
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	p.gap = 0
	p.reads.SetLimit(1000)
	return p
}

// hold moves the address behind everybody's back, after whatever is pending on it.
func (a *account) hold(t testing.TB, ip netip.Addr, droplet int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for a.Holder(ip) != droplet {
		err := a.Steal(ip, droplet)
		if err != nil && time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// posts counts the requests for change under lb1's token, and nobody else's.
func (a *account) posts() int {
	n := 0
	for _, w := range a.Writes(time.Time{}) {
		if w.Token == "lb1" {
			n++
		}
	}
	return n
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
	for name, view := range map[string]dotest.PendingView{
		"a pending move shows the old holder": dotest.PendingOld,
		"shows none":                          dotest.PendingNull,
		"shows the new one":                   dotest.PendingNew,
	} {
		for _, ip := range []netip.Addr{ip, ip6} {
			t.Run(map[bool]string{true: "IPv4", false: "IPv6"}[ip.Is4()]+", "+name, func(t *testing.T) {
				t.Parallel()
				assignertest.Run(t, func(t *testing.T) *assignertest.Cloud {
					a := newAccount(t, dotest.Options{Latency: dotest.Fixed(30 * time.Millisecond), PendingView: view})
					return a.conformance(t, ip)
				})
			})
		}
	}
}

func (a *account) conformance(t *testing.T, ip netip.Addr) *assignertest.Cloud {
	number := func(instance string) int {
		n, _ := strconv.Atoi(instance)
		return n
	}
	return &assignertest.Cloud{
		Provider:  a.provider(t),
		IP:        ip,
		Self:      strconv.Itoa(lb1),
		Other:     strconv.Itoa(lb2),
		SetHolder: func(instance string) { a.hold(t, ip, number(instance)) },
		Holder: func() string {
			if h := a.Holder(ip); h != 0 {
				return strconv.Itoa(h)
			}
			return ""
		},
		Writes: a.posts,
		SetLocked: func(locked bool) {
			if locked {
				a.SetLatency(dotest.Fixed(lockTime))
				a.foreignAssign(t, ip, lb2)
				a.SetLatency(dotest.Fixed(0))
				return
			}
			if _, err := a.WaitHolder(t.Context(), ip, lb2); err != nil {
				t.Error(err)
			}
		},
		Fail: func(f assignertest.Fault) bool {
			a.ClearFaults()
			switch f {
			case assignertest.None:
			case assignertest.RateLimited:
				a.Inject(dotest.Fault{Effect: dotest.Refuse, Status: 429, RetryAfter: time.Second})
			case assignertest.Unavailable:
				a.Inject(dotest.Fault{Effect: dotest.HTML, Status: 502})
			case assignertest.Refused:
				a.Inject(dotest.Fault{Effect: dotest.Refuse, Status: 401})
			case assignertest.Foreign:
				a.Inject(dotest.Fault{Effect: dotest.Empty})
			case assignertest.LostReply:
				a.Inject(dotest.Fault{Method: http.MethodPost, Effect: dotest.Drop, Accepted: true})
			case assignertest.Hang:
				a.Inject(dotest.Fault{Method: http.MethodPost, Effect: dotest.Hang})
			default:
				return false
			}
			return true
		},
	}
}

// foreignAssign asks the API for a move as another client of the same account would.
func (a *account) foreignAssign(t *testing.T, ip netip.Addr, droplet int) {
	t.Helper()
	path := map[bool]string{true: "/v2/reserved_ips/", false: "/v2/reserved_ipv6/"}[ip.Is4()]
	r := httptest.NewRequest(http.MethodPost, path+ip.String()+"/actions",
		strings.NewReader(fmt.Sprintf(`{"type":"assign","droplet_id":%d}`, droplet)))
	r.Header.Set("Authorization", "Bearer dop_v1_foreigner")
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	a.API().ServeHTTP(w, r)
	if w.Code != http.StatusCreated {
		t.Fatalf("the foreign assign: %d %s", w.Code, w.Body)
	}
}
