package digitalocean

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buoy-lb/buoy/assigner/dotest"
)

// TestHintFollowsTheMetadata: late by what the metadata lags, and from both ends of a move. It costs
// no request to the API, and one connection.
func TestHintFollowsTheMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials, api atomic.Int32
		r := newTrial(t, ip)
		direct := r.dial
		r.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dials.Add(1); !strings.HasPrefix(addr, "169.254.") {
				api.Add(1)
			}
			return direct(ctx, network, addr)
		}
		if err := r.AddReservedIP(ip6, "nyc3", 0); err != nil {
			t.Fatal(err)
		}
		r.SetMetadataLag(dotest.Fixed(2500 * time.Millisecond))
		begun := time.Now()
		want := func(after time.Duration, ips ...netip.Addr) {
			t.Helper()
			time.Sleep(time.Until(begun.Add(after)))
			if got, err := r.p.Hint(t.Context()); err != nil || !slices.Equal(got, ips) {
				t.Errorf("after %v: %v, %v; want %v", after, got, err, ips)
			}
		}
		want(0)
		move := func(ip netip.Addr, to int) {
			t.Helper()
			if err := r.Steal(ip, to); err != nil {
				t.Fatal(err)
			}
		}
		move(ip, lb1)
		move(ip6, lb1)
		want(time.Second)
		want(2 * time.Second)
		want(3*time.Second, ip, ip6)
		move(ip, lb2)
		want(4*time.Second, ip, ip6)
		want(6*time.Second, ip6)
		if dials.Load() != 1 || api.Load() != 0 {
			t.Errorf("%d connections, %d of them to the API; want one to the metadata service", dials.Load(), api.Load())
		}
		r.p.Close()
		synctest.Wait() // and with the test the bubble insists that nothing is left
	})
}

func TestHintReadsWhatThereIs(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want string // the addresses, or part of the error
		ok   bool
	}{
		"none":          {`{"droplet_id":101,"reserved_ip":{"ipv4":{"active":false},"ipv6":{"active":false}}}`, "[]", true},
		"former name":   {`{"droplet_id":101,"floating_ip":{"ipv4":{"active":true,"ip_address":"203.0.113.10"}}}`, "[203.0.113.10]", true},
		"both names":    {`{"droplet_id":101,"floating_ip":{"ipv4":{"active":true,"ip_address":"203.0.113.10"}},"reserved_ip":{"ipv4":{"active":true,"ip_address":"203.0.113.10"}}}`, "[203.0.113.10]", true},
		"words":         {`{"droplet_id":101,"reserved_ip":{"ipv4":{"active":"true","ip_address":"203.0.113.10"}}}`, "[203.0.113.10]", true},
		"long form":     {`{"droplet_id":101,"reserved_ip":{"ipv6":{"active":true,"ip_address":"2001:0DB8:0:0:0:0:0:0010"}}}`, "[2001:db8::10]", true},
		"no address":    {`{"droplet_id":101,"reserved_ip":{"ipv4":{"active":true,"ip_address":"soon"}}}`, "[]", true},
		"odd flag":      {`{"droplet_id":101,"reserved_ip":{"ipv4":{"active":{},"ip_address":"203.0.113.10"}}}`, "[]", true},
		"another's":     {`{"droplet_id":102}`, "droplet 102's", false},
		"no droplet":    {`{}`, "no droplet_id", false},
		"not metadata":  {`<html>`, "not metadata", false},
		"odd types":     {`{"droplet_id":"lb1"}`, "not metadata", false},
		"endless":       {`{"droplet_id":101,"tags":"` + strings.Repeat("x", 1<<20), "not metadata", false},
		"null reserved": {`{"droplet_id":101,"reserved_ip":null}`, "[]", true},
	} {
		s, _ := stubAPI(t, false, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(c.body)) }))
		p := stubProvider(t, "http://127.0.0.1:1")
		p.metadata.base = s.api.BaseURL
		got, err := p.Hint(t.Context())
		if text := strings.TrimSpace(formatHint(got, err)); (err == nil) != c.ok || !strings.Contains(text, c.want) {
			t.Errorf("%s: %s; want %s", name, text, c.want)
		}
	}
}

func formatHint(ips []netip.Addr, err error) string {
	if err != nil {
		return err.Error()
	}
	var s []string
	for _, ip := range ips {
		s = append(s, ip.String())
	}
	return "[" + strings.Join(s, " ") + "]"
}

// BenchmarkHint is what a node pays each second.
func BenchmarkHint(b *testing.B) {
	a := newAccount(b, dotest.Options{})
	p := a.provider(b)
	for b.Loop() {
		if _, err := p.Hint(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
