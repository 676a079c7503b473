package dotest_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/buoy-lb/buoy/assigner/dotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	assign102 = `{"type":"assign","droplet_id":102}`
	actions   = "/v2/reserved_ips/203.0.113.10/actions"
	agentLB2  = "buoy/1.0 (node=lb2; epoch=12) godo/1.236.0"
)

var (
	ip      = netip.MustParseAddr("203.0.113.10") // held by 101
	otherIP = netip.MustParseAddr("203.0.113.11") // held by 104
	ip6     = netip.MustParseAddr("2001:db8::10") // held by nobody
)

// newCloud has droplets 101, 102, 104 in nyc3 and 103 in fra1, and a token
// "secret", labelled lb2.
func newCloud(t *testing.T, o dotest.Options) *dotest.Server {
	t.Helper()
	s := dotest.New(o)
	t.Cleanup(s.Close)
	s.AddToken("lb2", "secret")
	for id, region := range map[int]string{101: "nyc3", 102: "nyc3", 103: "fra1", 104: "nyc3"} {
		s.AddDroplet(dotest.Droplet{ID: id, Name: "lb", Region: region})
	}
	for a, holder := range map[netip.Addr]int{ip: 101, otherIP: 104, ip6: 0} {
		if err := s.AddReservedIP(a, "nyc3", holder); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

type answer struct {
	status int
	header http.Header
	text   string
	body   map[string]any // nil if the text is not a JSON object
}

// at follows keys into the body; nil where there is nothing.
func (a answer) at(keys ...string) any {
	var v any = a.body
	for _, k := range keys {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[k]
	}
	return v
}

// is compares what at finds with value.
func (a answer) is(value any, keys ...string) bool { return a.at(keys...) == value }

// ask sends a request straight to a handler, without a socket.
func ask(t *testing.T, h http.Handler, method, path, body string) answer {
	t.Helper()
	return askAs(t, h, "secret", method, path, body)
}

func askAs(t *testing.T, h http.Handler, token, method, path, body string) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("User-Agent", agentLB2)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	a := answer{status: w.Code, header: w.Header(), text: w.Body.String()}
	_ = json.Unmarshal(w.Body.Bytes(), &a.body) // not every answer is meant to be JSON
	return a
}

func wantStatus(t *testing.T, a answer, status int) {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.text)
	}
}

// waitHolder fails the test unless dropletID holds a soon.
func waitHolder(t *testing.T, s *dotest.Server, a netip.Addr, dropletID int) time.Time {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	at, err := s.WaitHolder(ctx, a, dropletID)
	if err != nil {
		t.Fatal(err)
	}
	return at
}
