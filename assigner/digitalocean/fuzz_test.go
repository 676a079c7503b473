package digitalocean

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buoy-lb/buoy/assigner"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// FuzzAnswers has the API answer anything to everything: no panic, an end within the procedure's
// own bounds, and "claimed" only if the look at the address says so in plain words.
func FuzzAnswers(f *testing.F) {
	const mine = `{"reserved_ip":{"ip":"203.0.113.10","droplet":{"id":101},"locked":false}}`
	action := `{"action":{"id":7,"status":"in-progress"}}`
	for _, look := range []string{
		mine, `{}`, `null`, ``, `<html>`, mine[:40],
		`{"reserved_ip":{"ip":"203.0.113.10","droplet":null,"locked":false}}`,
		`{"reserved_ip":{"ip":"203.0.113.10","droplet":{"id":102}}}`,
		`{"reserved_ip":{"ip":"203.0.113.10","droplet":{"id":101},"locked":true}}`,
		`{"reserved_ip":{"ip":"203.0.113.11","droplet":{"id":101}}}`,
		`{"reserved_ip":{"ip":"203.0.113.10","droplet":{"id":1e99}}}`,
	} {
		f.Add(200, []byte(look), 201, []byte(action), "7")
		f.Add(200, []byte(look), 422, []byte(`{"message":"pending"}`), "")
	}
	f.Add(429, []byte(mine), 307, []byte(action), "-1")
	f.Add(99, []byte(mine), 1000, []byte(action), "x")
	f.Fuzz(func(t *testing.T, lookStatus int, look []byte, claimStatus int, claim []byte, retryAfter string) {
		synctest.Test(t, func(t *testing.T) {
			p := stubProvider(t, "https://api.example/")
			p.api.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				status, body := lookStatus, look
				if r.Method == http.MethodPost {
					status, body = claimStatus, claim
				}
				return &http.Response{
					StatusCode: status, Request: r, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
					Header: http.Header{"Retry-After": {retryAfter}, "Ratelimit-Reset": {retryAfter}},
				}, nil
			})}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			_, err := assigner.New(p, nil).Ensure(ctx, assigner.Request{IP: ip, Fence: freely})
			if ctx.Err() != nil {
				t.Error("it does not end by itself")
			}
			if err == nil && !saysMine(lookStatus, look) {
				t.Errorf("claimed, although the look answers %d %s", lookStatus, look)
			}
		})
	})
}

// saysMine reads the answer without the help of godo.
func saysMine(status int, body []byte) bool {
	var v struct {
		IP struct {
			IP      string `json:"ip"`
			Locked  bool   `json:"locked"`
			Droplet struct {
				ID json.Number `json:"id"`
			} `json:"droplet"`
		} `json:"reserved_ip"`
	}
	err := json.NewDecoder(bytes.NewReader(body)).Decode(&v)
	return err == nil && status/100 == 2 && v.IP.IP == ip.String() && !v.IP.Locked && v.IP.Droplet.ID == "101"
}
