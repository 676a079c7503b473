package digitalocean

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buoy-lb/buoy/assigner"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// FuzzAnswers has the API answer anything to everything: no panic, an end within the procedure's
// own bounds, and "claimed" only if the look at the address says so in plain words. Other is the
// answer about droplets and about the account's actions.
func FuzzAnswers(f *testing.F) {
	const (
		action  = `{"action":{"id":7,"status":"in-progress"}}`
		droplet = `{"droplet":{"id":101,"region":{"slug":"nyc3"}},"actions":[{"id":8,"status":"in-progress","resource_type":"reserved_ipv6"}]}`
	)
	for _, v6 := range []bool{false, true} {
		mine := `{"reserved_ip":{"ip":"203.0.113.10","droplet":{"id":101},"locked":false}}`
		if v6 {
			mine = `{"reserved_ipv6":{"ip":"2001:db8::10","region_slug":"nyc3","reserved_at":"2026-01-01T00:00:00Z","droplet":{"id":101}}}`
		}
		for _, look := range []string{
			mine, `{}`, `null`, ``, `<html>`, mine[:40],
			strings.Replace(mine, `{"id":101}`, `null`, 1),
			strings.Replace(mine, `{"id":101}`, `{"id":102}`, 1),
			strings.Replace(mine, `{"id":101}`, `{"id":1e99}`, 1),
			strings.Replace(mine, `{"id":101}`, `{"id":-1}`, 1),
			strings.Replace(mine, `"locked":false`, `"locked":true`, 1),
			strings.Replace(mine, `10"`, `11"`, 1),
			strings.Replace(mine, `2001:db8::10`, `2001:0DB8:0:0::0010`, 1),
			strings.Replace(mine, `203.0.113.10`, `::ffff:203.0.113.10`, 1),
		} {
			f.Add(v6, 200, []byte(look), 201, []byte(action), []byte(droplet), "7")
			f.Add(v6, 200, []byte(look), 422, []byte(`{"message":"pending"}`), []byte(`{}`), "")
			f.Add(v6, 200, []byte(look), 500, []byte(``), []byte(`{"droplet":null,"actions":null,"reserved_ips":[{}],"reserved_ipv6s":[{}]}`), "")
		}
		f.Add(v6, 429, []byte(mine), 307, []byte(action), []byte(``), "-1")
		f.Add(v6, 99, []byte(mine), 1000, []byte(action), []byte(`[`), "x")
	}
	f.Fuzz(func(t *testing.T, v6 bool, lookStatus int, look []byte, claimStatus int, claim, other []byte, header string) {
		ip := map[bool]netip.Addr{false: ip, true: ip6}[v6]
		synctest.Test(t, func(t *testing.T) {
			p := stubProvider(t, "https://api.example/")
			p.api.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				status, body := lookStatus, look
				switch {
				case r.Method == http.MethodPost:
					status, body = claimStatus, claim
				case !strings.HasSuffix(r.URL.Path, ip.String()):
					status, body = 200, other
				}
				resp := &http.Response{
					StatusCode: status, Request: r, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
					Header: http.Header{"Retry-After": {header}, "Ratelimit-Reset": {header}, "Ratelimit-Limit": {header}, "Ratelimit-Remaining": {header}},
				}
				p.budget.note(resp)
				return resp, nil
			})}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			claimer := assigner.New(p, nil)
			for _, suspect := range []bool{true, false} { // the second from what the first has left
				_, err := claimer.Ensure(ctx, assigner.Request{IP: ip, Fence: freely, Epoch: 1, Suspect: suspect})
				if ctx.Err() != nil {
					t.Error("it does not end by itself")
				}
				if err == nil && !saysMine(ip, lookStatus, look) {
					t.Errorf("claimed, although the look answers %d %s", lookStatus, look)
				}
				time.Sleep(time.Minute)
			}
			if err := claimer.SelfTest(ctx, ip); err == nil && lookStatus/100 != 2 {
				t.Errorf("the self-test is content with %d", lookStatus)
			}
		})
	})
}

// saysMine reads the answer without the help of godo.
func saysMine(ip netip.Addr, status int, body []byte) bool {
	type address struct {
		IP      string `json:"ip"`
		Locked  bool   `json:"locked"`
		Droplet struct {
			ID json.Number `json:"id"`
		} `json:"droplet"`
	}
	var v struct {
		IPv4 address `json:"reserved_ip"`
		IPv6 address `json:"reserved_ipv6"`
	}
	err := json.NewDecoder(bytes.NewReader(body)).Decode(&v)
	a := map[bool]address{true: v.IPv4, false: v.IPv6}[ip.Is4()]
	got, _ := netip.ParseAddr(a.IP)
	return err == nil && status/100 == 2 && got.Unmap() == ip && !a.Locked && a.Droplet.ID == "101"
}

// FuzzMetadata has the metadata service answer anything: no panic, and only addresses in canonical
// form.
func FuzzMetadata(f *testing.F) {
	for _, body := range []string{
		`{"droplet_id":101,"region":"nyc3","reserved_ip":{"ipv4":{"active":true,"ip_address":"203.0.113.10"},"ipv6":{"active":true,"ip_address":"2001:db8::10"}}}`,
		`{"droplet_id":101,"floating_ip":{"ipv4":{"active":"true","ip_address":"::ffff:203.0.113.10"}},"reserved_ip":{"ipv6":{"active":true,"ip_address":"fe80::1%eth0"}}}`,
		`{}`, `null`, ``, `<html>`, `{"droplet_id":-1}`, `{"droplet_id":1e99}`, `{"droplet_id":101,"reserved_ip":[]}`,
	} {
		f.Add(200, []byte(body))
	}
	f.Add(404, []byte(`not found`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		p := stubProvider(t, "https://api.example/")
		p.metadata.client = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Request: r, Body: io.NopCloser(bytes.NewReader(body))}, nil
		})}
		ips, err := p.Hint(t.Context())
		if err == nil && status != http.StatusOK {
			t.Errorf("a hint from an answer %d", status)
		}
		for _, ip := range ips {
			if ip != canonical(ip) || !ip.IsValid() || !bytes.Contains(body, []byte("true")) {
				t.Errorf("hint %v from %s", ip, body)
			}
		}
	})
}
