package digitalocean

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/dotest"
)

// TestAFifthIsKeptForClaims: somebody else uses up the token's hour.
func TestAFifthIsKeptForClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		r := newTrial(t, ip, func(o *Options) { o.Logger = hclog.New(&hclog.LoggerOptions{Output: &log}) })
		claimer := assigner.New(r.p, nil)
		ensure := func(suspect bool) (assigner.Outcome, error) {
			return claimer.Ensure(t.Context(), assigner.Request{IP: ip, Fence: freely, Epoch: 7, Suspect: suspect})
		}
		want := func(what string, err error, refused bool) {
			t.Helper()
			var e *assigner.Error
			if refused != errors.Is(err, errLow) {
				t.Errorf("%s: %v; refused for the budget: want %v", what, err, refused)
			} else if refused && (!errors.As(err, &e) || e.Class != assigner.Shared || e.RetryAfter <= 0 || e.RetryAfter > time.Minute) {
				t.Errorf("%s: %+v; want a shared fault with the time to wait", what, e)
			}
		}
		// Of 500 an hour more than 400 are gone.
		r.SetLimits(dotest.Limits{Hour: 500})
		spend := func(n int) {
			for range n {
				if _, err := r.p.Holder(t.Context(), ip); err != nil {
					t.Fatal(err)
				}
			}
		}
		spend(410)
		_, err := ensure(false)
		want("the claim", err, false)
		for range 4 {
			time.Sleep(10 * time.Second)
			_, err = ensure(false)
			want("a look after the claim", err, false)
		}
		time.Sleep(30 * time.Second)
		_, err = ensure(false)
		want("a routine look", err, true)
		_, err = ensure(true)
		want("a look with a reason", err, false)
		want("a self-test", claimer.SelfTest(t.Context(), ip), false)
		time.Sleep(time.Minute)
		_, err = ensure(false)
		want("a routine look a minute later", err, false)
		_, err = ensure(false)
		want("another at once", err, true)
		if err := r.Steal(ip, lb2); err != nil {
			t.Fatal(err)
		}
		out, err := ensure(true)
		want("a claim", err, false)
		if !out.Moved {
			t.Errorf("the claim: %+v, %v", out, err)
		}
		time.Sleep(time.Hour)
		_, err = ensure(true)
		want("an hour later", err, false)
		_, err = ensure(false)
		want("a routine look then", err, false)
		if low, high := strings.Count(log.String(), "run low"), strings.Count(log.String(), "enough again"); low != 1 || high != 1 {
			t.Errorf("told %d times that it is low, %d times that it is over; want once each:\n%s", low, high, &log)
		}
	})
}

// TestClaimsKeepTheirDistance: 2 s between two of the same address, waited for without a right to
// write; another address does not wait.
func TestClaimsKeepTheirDistance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTrial(t, ip)
		r.SetLatency(dotest.Fixed(0))
		if err := r.AddReservedIP(ip6, "nyc3", 0); err != nil {
			t.Fatal(err)
		}
		claimer := assigner.New(r.p, nil)
		begun := time.Now()
		var taken time.Duration
		claim := func(ip netip.Addr) time.Duration {
			t.Helper()
			if err := r.Steal(ip, stranger); err != nil && r.Holder(ip) != stranger {
				t.Fatal(err)
			}
			fence := func(context.Context) (func() error, func(), error) {
				taken = time.Since(begun)
				return yes, func() {}, nil
			}
			if out, err := claimer.Ensure(t.Context(), assigner.Request{IP: ip, Fence: fence, Epoch: 7}); err != nil || !out.Moved {
				t.Fatalf("%+v, %v", out, err)
			}
			return taken
		}
		first := claim(ip)
		if other := claim(ip6); other-first > time.Second {
			t.Errorf("the other address waited for %v", other-first)
		}
		if second := claim(ip); second-first < 2*time.Second || second-first > 2500*time.Millisecond {
			t.Errorf("the right to write was taken %v after the first; want 2 s", second-first)
		}
	})
}
