package hetzner

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/buoy-lb/buoy/assigner"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// FuzzAnswers has the API answer anything to everything: no panic, an end within the procedure's
// own bounds, and "claimed" only if the look at the address says so in plain words.
func FuzzAnswers(f *testing.F) {
	const (
		meta = `"actions":[],"meta":{"pagination":{}}`
		mine = `{"floating_ip":{"id":4002,"ip":"203.0.113.10","type":"ipv4","server":101},` + meta + `}`
	)
	action := `{"action":{"id":7,"status":"running"}}`
	for _, look := range []string{
		mine, `{}`, `null`, ``, `<html>`, mine[:40],
		`{"floating_ip":{"id":4002,"ip":"203.0.113.10","type":"ipv4","server":null},` + meta + `}`,
		`{"floating_ip":{"id":4002,"ip":"203.0.113.10","type":"ipv4","server":102},` + meta + `}`,
		`{"floating_ip":{"id":4002,"ip":"203.0.113.10","type":"ipv4","server":101,"blocked":true},` + meta + `}`,
		`{"floating_ip":{"id":4002,"ip":"203.0.113.0/24","type":"ipv6","server":101},` + meta + `}`,
		`{"floating_ip":{"id":4002,"ip":"203.0.113.10","type":"ipv4","server":101},"actions":[{"status":"running"}],"meta":{"pagination":{}}}`,
		`{"floating_ip":{"id":4002,"ip":"203.0.113.10","type":"ipv4","server":101}}`,
		`{"floating_ips":[{"id":4002,"ip":"203.0.113.10","type":"ipv4","server":101}],"meta":{"pagination":{"next_page":2}}}`,
		`{"floating_ips":[],"meta":{"pagination":{"next_page":9}}}`,
	} {
		f.Add(true, 200, []byte(look), 201, []byte(action), "7")
		f.Add(false, 200, []byte(look), 422, []byte(`{"error":{"code":"locked"}}`), "")
	}
	f.Add(true, 429, []byte(mine), 307, []byte(action), "-1")
	f.Add(true, 99, []byte(mine), 1000, []byte(action), "x")
	f.Fuzz(func(t *testing.T, numberKnown bool, lookStatus int, look []byte, claimStatus int, claim []byte, header string) {
		synctest.Test(t, func(t *testing.T) {
			p := stubProvider(t, "https://api.example/")
			if !numberKnown {
				p.remember(ip, 0)
			}
			client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				status, body := lookStatus, look
				if r.Method == http.MethodPost {
					status, body = claimStatus, claim
				}
				return &http.Response{
					StatusCode: status, Request: r, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
					Header: http.Header{"Retry-After": {header}, "Ratelimit-Limit": {header}, "Content-Type": {"application/json"}},
				}, nil
			})}
			p.api = hcloud.NewClient(hcloud.WithHTTPClient(client), hcloud.WithRetryOpts(hcloud.RetryOpts{MaxRetries: 0}))
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			_, err := assigner.New(p, nil).Ensure(ctx, assigner.Request{IP: ip, Fence: freely})
			if ctx.Err() != nil {
				t.Error("it does not end by itself")
			}
			if err == nil && !saysMine(lookStatus, look) {
				t.Errorf("claimed, although the look answers %d %s", lookStatus, look)
			}
			if err != nil && len(err.Error()) > 2000 {
				t.Errorf("an error of %d characters", len(err.Error()))
			}
		})
	})
}

// saysMine reads the answer without the help of hcloud-go.
func saysMine(status int, body []byte) bool {
	type address struct {
		ID      json.Number  `json:"id"`
		IP      string       `json:"ip"`
		Server  *json.Number `json:"server"`
		Blocked bool         `json:"blocked"`
	}
	var v struct {
		One  address   `json:"floating_ip"`
		Many []address `json:"floating_ips"`
	}
	if json.NewDecoder(bytes.NewReader(body)).Decode(&v) != nil || status/100 != 2 {
		return false
	}
	for _, a := range append(v.Many, v.One) {
		if a.IP == ip.String() && !a.Blocked && a.Server != nil && *a.Server == "101" {
			return true
		}
	}
	return false
}
