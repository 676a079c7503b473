package assigner_test

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/buoy-lb/buoy/assigner"
)

// stub is a provider whose cloud is four functions.
type stub struct {
	holder  func() (assigner.Holding, error)
	claim   func(ctx context.Context) (string, error)
	pending func() (bool, error)
}

func (s stub) Self(context.Context) (string, error) { return "lb1", nil }

func (s stub) Holder(context.Context, netip.Addr) (assigner.Holding, error) { return s.holder() }

func (s stub) Claim(ctx context.Context, _ netip.Addr, check func() error) (string, error) {
	if err := check(); err != nil {
		return "", err
	}
	return s.claim(ctx)
}

func (s stub) Pending(context.Context, netip.Addr, string) (bool, error) { return s.pending() }

func elsewhere() (assigner.Holding, error) { return assigner.Holding{Instance: "lb2"}, nil }

func freely(context.Context) (func() error, func(), error) {
	return func() error { return nil }, func() {}, nil
}

func request(epoch uint64) assigner.Request {
	return assigner.Request{IP: ip, Fence: freely, Epoch: epoch}
}

func classOf(t *testing.T, err error) assigner.Class {
	t.Helper()
	var e *assigner.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T); want an *assigner.Error", err, err)
	}
	return e.Class
}

func TestForeignActionIsWaitedForButNotForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := &assigner.Memory{}
		c := assigner.New(cloud.As("lb1"), nil)

		cloud.Lock(ip, 12*time.Second)
		begun := time.Now()
		if out, err := c.Ensure(t.Context(), request(1)); err != nil || !out.Moved {
			t.Fatalf("Ensure = %+v, %v", out, err)
		}
		if took := time.Since(begun); took < 12*time.Second || took > 13*time.Second {
			t.Errorf("claimed after %v; want soon after the 12 s of the foreign action", took)
		}

		cloud.Lock(ip, time.Hour)
		begun = time.Now()
		_, err := c.Ensure(t.Context(), request(1))
		if classOf(t, err) != assigner.Pending || cloud.Writes() != 1 {
			t.Errorf("error %v, %d writes; want pending and no further write", err, cloud.Writes())
		}
		if took := time.Since(begun); took > 17*time.Second {
			t.Errorf("gave up after %v; want about 15 s", took)
		}
	})
}

// TestSlowClaimIsFollowed checks the budget as well: DigitalOcean grants 250 requests a minute.
func TestSlowClaimIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var polls int
		var told time.Time // when we were asked to leave the cloud alone
		begun := time.Now()
		done := func() bool { return time.Since(begun) >= 40*time.Second }
		c := assigner.New(stub{
			holder: func() (assigner.Holding, error) {
				if done() {
					return assigner.Holding{Instance: "lb1"}, nil
				}
				return elsewhere()
			},
			claim: func(context.Context) (string, error) { return "77", nil },
			pending: func() (bool, error) {
				polls++
				if pause := time.Since(told); polls == 6 && pause < 9*time.Second {
					t.Errorf("the next request came %v after a 429 with 9 s", pause)
				}
				if polls == 5 {
					told = time.Now()
					return false, &assigner.Error{Class: assigner.Shared, RetryAfter: 9 * time.Second, Err: errors.New("429")}
				}
				return !done(), nil
			},
		}, nil)
		out, err := c.Ensure(t.Context(), request(1))
		if err != nil || !out.Moved || out.Confirmed.Sub(out.Accepted) > 42*time.Second {
			t.Errorf("Ensure = %+v, %v; want moved within 2 s of the cloud", out, err)
		}
		if polls > 40 {
			t.Errorf("%d requests in 40 s", polls)
		}
	})
}

func TestFollowingEnds(t *testing.T) {
	for name, c := range map[string]struct {
		pending error
		want    assigner.Class
		after   time.Duration
	}{
		"action without end": {nil, assigner.Pending, time.Minute},
		"cloud out of sight": {errors.New("502"), assigner.Pending, time.Minute},
		"own fault at once":  {assigner.Errorf(assigner.Own, "401"), assigner.Own, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				_, err := assigner.New(stub{
					holder:  elsewhere,
					claim:   func(context.Context) (string, error) { return "77", nil },
					pending: func() (bool, error) { return true, c.pending },
				}, nil).Ensure(t.Context(), request(1))
				if got := classOf(t, err); got != c.want {
					t.Errorf("%v: %v; want %v", got, err, c.want)
				}
				if took := time.Since(begun); took < c.after || took > c.after+3*time.Second {
					t.Errorf("ended after %v; want %v", took, c.after)
				}
			})
		})
	}
}

// TestRefusalsBecomeOurOwnFault: what refuses us for 10 s while the address is at rest is likely to
// be our droplet (terraform-provider-digitalocean #1034), and a peer has another.
func TestRefusalsBecomeOurOwnFault(t *testing.T) {
	for name, claim := range map[string]func(context.Context) (string, error){
		"refused": func(context.Context) (string, error) { return "", assigner.Errorf(assigner.Pending, "422") },
		"errored": func(context.Context) (string, error) { return "", nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := assigner.New(stub{holder: elsewhere, claim: claim}, nil)
				ensure := func(epoch uint64, want assigner.Class) {
					t.Helper()
					_, err := c.Ensure(t.Context(), request(epoch))
					if got := classOf(t, err); got != want {
						t.Errorf("%v: %v; want %v", got, err, want)
					}
				}
				ensure(1, assigner.Pending)
				time.Sleep(9 * time.Second)
				ensure(1, assigner.Pending)
				time.Sleep(time.Second)
				ensure(1, assigner.Own)
				ensure(2, assigner.Pending) // a new leadership begins anew
			})
		})
	}
}

func TestUnknownHolderIsClaimedOnceAnEpoch(t *testing.T) {
	writes := 0
	c := assigner.New(stub{
		holder: func() (assigner.Holding, error) { return assigner.Holding{Unknown: true}, nil },
		claim: func(context.Context) (string, error) {
			writes++
			if writes == 1 {
				return "", errors.New("exit status 1")
			}
			return "", nil
		},
	}, nil)
	for i, step := range []struct {
		epoch  uint64
		failed bool
		writes int
	}{{3, true, 1}, {3, false, 2}, {3, false, 2}, {4, false, 3}, {4, false, 3}, {0, false, 4}, {0, false, 5}} {
		r := request(step.epoch)
		r.Believed = "lb2" // by a record that nobody could correct
		out, err := c.Ensure(t.Context(), r)
		if (err != nil) != step.failed || out.Unverified == step.failed || !out.Confirmed.IsZero() || writes != step.writes {
			t.Errorf("step %d (epoch %d): %+v, %v, %d writes; want %d", i, step.epoch, out, err, writes, step.writes)
		}
	}
}

// TestRecordIsTrustedOnce: a claim that failed has proved the record, or the connection, wrong.
func TestRecordIsTrustedOnce(t *testing.T) {
	cloud := &assigner.Memory{}
	looks := 0
	cloud.Fail = func(op, _ string) error {
		switch op {
		case "holder":
			looks++
		case "claim":
			return assigner.Errorf(assigner.NoRight, "too late")
		}
		return nil
	}
	c := assigner.New(cloud.As("lb1"), nil)
	r := request(1)
	r.Believed = "lb2"
	for i, want := range []int{0, 1, 2} {
		_, err := c.Ensure(t.Context(), r)
		if classOf(t, err) != assigner.NoRight || looks != want {
			t.Errorf("attempt %d: %v, %d looks; want %d", i, err, looks, want)
		}
	}
}

func TestCloudThatAsksForAPauseGetsIt(t *testing.T) {
	looks := 0
	c := assigner.New(stub{
		holder: func() (assigner.Holding, error) { looks++; return elsewhere() },
		claim: func(context.Context) (string, error) {
			return "", &assigner.Error{Class: assigner.Shared, RetryAfter: 7 * time.Second, Err: errors.New("429")}
		},
	}, nil)
	_, err := c.Ensure(t.Context(), request(1))
	var delay interface{ RetryDelay() time.Duration } // as the caller asks, who does not know the type
	if !errors.As(err, &delay) || delay.RetryDelay() != 7*time.Second || looks != 1 {
		t.Errorf("%v; %d looks; want a delay of 7 s and no look after the refusal", err, looks)
	}
}

func TestWritesGoOutOneAtATime(t *testing.T) {
	var inside, most atomic.Int32
	c := assigner.New(stub{
		holder: elsewhere,
		claim: func(ctx context.Context) (string, error) {
			most.Store(max(most.Load(), inside.Add(1)))
			defer inside.Add(-1)
			select { // give the others time to come in, if they can
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
			return "", errors.New("not today")
		},
	}, nil)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			r := request(1)
			r.IP = netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
			if _, err := c.Ensure(t.Context(), r); err == nil {
				t.Error("no error")
			}
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("%d claims at once", most.Load())
	}
}

// TestLogTellsChangesOnly: a verification that finds all well says nothing.
func TestLogTellsChangesOnly(t *testing.T) {
	var buf bytes.Buffer
	cloud := &assigner.Memory{}
	c := assigner.New(cloud.As("lb1"), hclog.New(&hclog.LoggerOptions{Output: &buf}))
	for _, step := range []struct{ before, log string }{
		{"", "claim accepted, claim confirmed"},
		{"", ""},
		{"theft", "drift found, claim accepted, claim confirmed"},
		{"", ""},
	} {
		buf.Reset()
		if step.before == "theft" {
			cloud.Assign(ip, "lb2")
		}
		if _, err := c.Ensure(t.Context(), request(1)); err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(buf.String()) {
			_, text, _ := strings.Cut(line, "[INFO]  ")
			message, fields, _ := strings.Cut(text, ": ")
			got = append(got, message)
			if !strings.Contains(fields, "ip=203.0.113.10") || !strings.Contains(fields, "instance=lb1") {
				t.Errorf("the line does not say which address and instance: %s", line)
			}
		}
		if s := strings.Join(got, ", "); s != step.log {
			t.Errorf("log %q; want %q", s, step.log)
		}
	}
}
