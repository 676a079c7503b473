package dotest_test

import (
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buoy-lb/buoy/assigner/dotest"
)

func TestTokens(t *testing.T) {
	s := newCloud(t, dotest.Options{Latency: dotest.Fixed(time.Hour)})
	s.AddToken("revoked", "old")
	s.RevokeToken("revoked")
	s.AddToken("reader", "ro", "reserved_ip:read")
	s.AddToken("least", "least", dotest.AssignScopes()...)
	for _, tt := range []struct {
		token, label string
		get, post    int
	}{
		{"", "none", 401, 401},
		{"nonsense", "unknown", 401, 401},
		{"old", "revoked", 401, 401},
		{"ro", "reader", 200, 403},
		{"least", "least", 200, 201},
	} {
		get := askAs(t, s.API(), tt.token, "GET", "/v2/reserved_ips/203.0.113.10", "")
		post := askAs(t, s.API(), tt.token, "POST", actions, assign102)
		if get.status != tt.get || post.status != tt.post {
			t.Errorf("%s: GET %d, POST %d, want %d, %d", tt.label, get.status, post.status, tt.get, tt.post)
		}
		if tt.token == "ro" && get.at("reserved_ip", "droplet") != nil {
			t.Error("a token without droplet:read sees the droplet")
		}
		writes := s.Writes(time.Time{})
		if got := writes[len(writes)-1]; got.Token != tt.label {
			t.Errorf("journal names the token %q, want %q", got.Token, tt.label)
		}
	}
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCloud(t, dotest.Options{Limits: dotest.Limits{Hour: 30, Minute: 20}})
		get := func() answer { return ask(t, s.API(), "GET", "/v2/reserved_ips", "") }
		begun := time.Now()
		for i := range 20 {
			got := get()
			wantStatus(t, got, http.StatusOK)
			if left := got.header.Get("ratelimit-remaining"); left != strconv.Itoa(29-i) {
				t.Fatalf("request %d: %s remaining", i, left)
			}
			time.Sleep(time.Second)
		}
		got := get()
		wantStatus(t, got, http.StatusTooManyRequests)
		if after := got.header.Get("retry-after"); after != "41" || got.header.Get("ratelimit-remaining") != "0" {
			t.Errorf("burst: retry-after %q, headers %v", after, got.header)
		}
		time.Sleep(41 * time.Second)
		for range 10 {
			wantStatus(t, get(), http.StatusOK)
			time.Sleep(10 * time.Second)
		}
		got = get()
		wantStatus(t, got, http.StatusTooManyRequests)
		if _, there := got.header["Retry-After"]; there {
			t.Error("retry-after on the hourly limit")
		}
		reset, _ := strconv.ParseInt(got.header.Get("ratelimit-reset"), 10, 64)
		if at := time.Unix(reset, 0); at.Sub(begun) != time.Hour {
			t.Errorf("reset at %v after the oldest request, want 1h", at.Sub(begun))
		}
		time.Sleep(time.Until(time.Unix(reset, 0)))
		wantStatus(t, get(), http.StatusOK)
	})
}

func TestPages(t *testing.T) {
	s := newCloud(t, dotest.Options{})
	all := ask(t, s.API(), "GET", "/v2/droplets", "")
	if n := len(all.at("droplets").([]any)); n != 4 || all.at("links", "pages") != nil || all.at("meta", "total") != 4.0 {
		t.Errorf("one page: %d droplets, links %v, meta %v", n, all.at("links"), all.at("meta"))
	}
	second := ask(t, s.API(), "GET", "/v2/droplets/?page=2&per_page=1", "")
	list := second.at("droplets").([]any)
	if len(list) != 1 || list[0].(map[string]any)["id"] != 102.0 {
		t.Errorf("second page of one: %v", list)
	}
	for rel, page := range map[string]string{"first": "1", "prev": "1", "next": "3", "last": "4"} {
		if link := second.at("links", "pages", rel); link != "http://example.com/v2/droplets?page="+page+"&per_page=1" {
			t.Errorf("%s = %v", rel, link)
		}
	}
	for _, query := range []string{"?page=9", "?page=99999999999999999999", "?page=0&per_page=-3", "?per_page=x"} {
		wantStatus(t, ask(t, s.API(), "GET", "/v2/droplets"+query, ""), http.StatusOK)
	}
}

func TestCreateAndDelete(t *testing.T) {
	s := newCloud(t, dotest.Options{})
	wantStatus(t, ask(t, s.API(), "POST", "/v2/reserved_ips", `{"region":"nyc3","droplet_id":102}`), http.StatusUnprocessableEntity)
	got := ask(t, s.API(), "POST", "/v2/reserved_ips", `{"droplet_id":"102"}`)
	wantStatus(t, got, http.StatusAccepted)
	if !got.is(true, "reserved_ip", "locked") || got.at("links", "actions") == nil {
		t.Errorf("created: %s", got.text)
	}
	made := netip.MustParseAddr(got.at("reserved_ip", "ip").(string))
	waitHolder(t, s, made, 102)
	wantStatus(t, ask(t, s.API(), "DELETE", "/v2/reserved_ips/"+made.String(), ""), http.StatusNoContent)
	wantStatus(t, ask(t, s.API(), "GET", "/v2/reserved_ips/"+made.String(), ""), http.StatusNotFound)
	wantStatus(t, ask(t, s.API(), "POST", actions, assign102), http.StatusCreated) // 102 is free again

	got = ask(t, s.API(), "POST", "/v2/reserved_ipv6", `{"region_slug":"nyc3"}`)
	wantStatus(t, got, http.StatusCreated)
	if a, err := netip.ParseAddr(got.at("reserved_ipv6", "ip").(string)); err != nil || !a.Is6() {
		t.Errorf("created %s", got.text)
	}
}

func TestMetadata(t *testing.T) {
	s := newCloud(t, dotest.Options{})
	s.AddDroplet(dotest.Droplet{ID: 105, Name: "lb5", Region: "nyc3", AnchorIPv4: netip.MustParseAddr("10.17.0.6")})
	if err := s.AddReservedIP(netip.MustParseAddr("203.0.113.12"), "nyc3", 105); err != nil {
		t.Fatal(err)
	}
	if err := s.Steal(ip6, 105); err != nil {
		t.Fatal(err)
	}
	e, err := s.StartMetadata(105, "127.0.0.1:0")
	if err != nil || !strings.HasPrefix(e.URL, "http://127.0.0.1:") {
		t.Fatal(e, err)
	}
	h := s.Metadata(105)
	for path, want := range map[string]string{
		"id": "105", "hostname": "lb5", "region": "nyc3",
		"interfaces/public/0/anchor_ipv4/address": "10.17.0.6",
		"interfaces/public/0/anchor_ipv4/gateway": "10.17.0.1",
		"reserved_ip/ipv4/active":                 "true",
		"reserved_ip/ipv4/ip_address":             "203.0.113.12",
		"floating_ip/ipv4/ip_address":             "203.0.113.12",
		"reserved_ip/ipv6/ip_address":             "2001:db8::10",
	} {
		if got := ask(t, h, "GET", "/metadata/v1/"+path, ""); got.text != want {
			t.Errorf("%s = %q, want %q", path, got.text, want)
		}
	}
	doc := ask(t, h, "GET", "/metadata/v1.json", "")
	if !doc.is(105.0, "droplet_id") || !doc.is("203.0.113.12", "reserved_ip", "ipv4", "ip_address") || !doc.is(true, "floating_ip", "ipv4", "active") {
		t.Errorf("v1.json: %s", doc.text)
	}
	idle := ask(t, s.Metadata(102), "GET", "/metadata/v1.json", "")
	if v4, _ := idle.at("reserved_ip", "ipv4").(map[string]any); len(v4) != 1 || !idle.is(false, "reserved_ip", "ipv4", "active") {
		t.Errorf("inactive: %v, want active alone", v4)
	}
	wantStatus(t, ask(t, s.Metadata(102), "GET", "/metadata/v1/reserved_ip/ipv4/ip_address", ""), http.StatusNotFound)
	wantStatus(t, ask(t, s.Metadata(999), "GET", "/metadata/v1/id", ""), http.StatusNotFound)
}

// TestOutage stops the API and starts it again on the same port.
func TestOutage(t *testing.T) {
	s := newCloud(t, dotest.Options{})
	e := start(t, s)
	e.Close()
	if _, err := post(t.Context(), e.URL); err == nil {
		t.Error("answered while closed")
	}
	addr := strings.TrimSuffix(strings.TrimPrefix(e.URL, "http://"), "/")
	if _, err := s.Start(addr); err != nil {
		t.Fatal(err)
	}
	got, err := post(t.Context(), e.URL)
	if err != nil {
		t.Fatal(err)
	}
	wantStatus(t, got, http.StatusCreated)
	s.Close()
	if _, err := s.Start("127.0.0.1:0"); err == nil {
		t.Error("a closed server listens")
	}
}

// TestDialerLeadsToBoth: what a droplet sees of the network, with real clients and in a bubble.
func TestDialerLeadsToBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCloud(t, dotest.Options{})
		dial := s.Dialer(101)
		client := &http.Client{Transport: &http.Transport{DialContext: dial}}
		defer client.CloseIdleConnections()
		for url, want := range map[string]string{
			"http://169.254.169.254/metadata/v1/id":           "101",
			"http://api.example/v2/reserved_ips/203.0.113.10": "unauthorized",
		} {
			resp, err := client.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if !strings.Contains(string(body), want) {
				t.Errorf("%s: %s; want %s", url, body, want)
			}
		}
		s.Close()
		synctest.Wait()
		if _, err := dial(t.Context(), "tcp", "api.example:80"); err == nil {
			t.Error("a closed server can be dialled")
		}
	})
}
