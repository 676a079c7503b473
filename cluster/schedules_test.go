package cluster_test

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime/debug"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/buoy-lb/buoy/assigner/dotest"
)

const (
	schedules = 1000 // in all
	lanes     = 4    // that run side by side

	// trouble is how long things are done to the cloud, lasting the longest of them, mending how long the leader then has: a
	// held request of 12 s, the longest pause of 60 s that a 429 may ask for, and a claim.
	trouble = 40 * time.Second
	lasting = 20 * time.Second
	mending = 2 * time.Minute
)

// disturbance is one thing done to the cloud.
type disturbance struct {
	At   time.Duration
	Kind string
	For  time.Duration // of what lasts
	On   netip.Addr
	N    int // droplet, or limit
	View dotest.PendingView
	dotest.Fault
}

func (d disturbance) String() string {
	return fmt.Sprintf("at %v %s for=%v on=%v n=%d view=%d fault=%+v", d.At, d.Kind, d.For, d.On, d.N, d.View, d.Fault)
}

// schedule is what one run does.
type schedule struct {
	Latency, Lag time.Duration
	IPs          []netip.Addr
	Trouble      []disturbance // in any order
}

func seconds(t *rapid.T, name string, least, most int) time.Duration {
	return time.Duration(rapid.IntRange(least*4, most*4).Draw(t, name)) * time.Second / 4
}

func drawSchedule(t *rapid.T) schedule {
	s := schedule{Latency: seconds(t, "latency", 0, 12), Lag: seconds(t, "lag", 0, 10)}
	s.IPs = rapid.SampledFrom([][]netip.Addr{{ip4}, {ip6}, {ip4, ip6}}).Draw(t, "ips")
	s.Trouble = rapid.SliceOfN(rapid.Custom(drawDisturbance), 1, 8).Draw(t, "trouble")
	return s
}

func drawDisturbance(t *rapid.T) disturbance {
	d := disturbance{
		At: seconds(t, "at", 0, int(trouble/time.Second)), For: seconds(t, "for", 1, int(lasting/time.Second)),
		On: rapid.SampledFrom([]netip.Addr{ip4, ip6}).Draw(t, "on"),
		Kind: rapid.SampledFrom([]string{
			"fault", "fault", "fault", "fault", "fault", "theft", "foreign assign", "busy droplet", "latency",
			"view", "revoked", "blind token", "limit", "unreachable",
		}).Draw(t, "kind"),
		N:    rapid.SampledFrom([]int{0, stranger}).Draw(t, "n"),
		View: rapid.SampledFrom([]dotest.PendingView{dotest.PendingOld, dotest.PendingNull, dotest.PendingNew}).Draw(t, "view"),
	}
	if d.Kind == "fault" {
		d.Fault = dotest.Fault{
			Method: rapid.SampledFrom([]string{"", http.MethodGet, http.MethodPost}).Draw(t, "method"),
			Path:   rapid.SampledFrom([]string{"", "/v2/*/*", "/v2/*/*/actions", "/v2/*/*/actions/*", "/v2/droplets/*"}).Draw(t, "path"),
			Count:  rapid.IntRange(0, 6).Draw(t, "count"),
			Delay:  max(0, seconds(t, "delay", -12, 12)),
			Effect: dotest.Effect(rapid.IntRange(int(dotest.Pass), int(dotest.ActionDone)).Draw(t, "effect")),
			Status: rapid.SampledFrom([]int{
				0, 307, 400, 401, 403, 404, 407, 409, 418, 422, 423, 429, 500, 502, 503, 504, 599,
			}).Draw(t, "status"),
			RetryAfter: max(0, seconds(t, "retry-after", -20, 20)),
			Accepted:   rapid.Bool().Draw(t, "accepted"),
		}
	}
	return d
}

// inflict does it; what lasts ends by itself.
func (d disturbance) inflict(s *site) {
	switch d.Kind {
	case "fault":
		remove := s.cloud.Inject(d.Fault)
		time.AfterFunc(d.For, remove)
	case "theft":
		_ = s.cloud.Steal(d.On, d.N) // refused while locked, or where the other family is not in use
	case "foreign assign":
		s.foreignAssign(d.On)
	case "busy droplet":
		_ = s.cloud.PendDroplet(101, time.Now().Add(d.For))
	case "latency":
		s.cloud.SetLatency(dotest.Fixed(d.For / 4))
	case "view":
		s.cloud.SetPendingView(d.View)
	case "revoked":
		s.cloud.RevokeToken("buoy")
		time.AfterFunc(d.For, s.restore)
	case "blind token":
		s.cloud.AddToken("buoy", secret, "reserved_ip:read", "reserved_ip:update", "actions:read")
		time.AfterFunc(d.For, s.restore)
	case "limit":
		s.cloud.SetLimits(dotest.Limits{Minute: 5 + d.N/10})
		time.AfterFunc(d.For, func() { s.cloud.SetLimits(dotest.Limits{}) })
	case "unreachable":
		s.unreachable.Store(true)
		time.AfterFunc(d.For, func() { s.unreachable.Store(false) })
	}
}

// foreignAssign moves the address to the stranger as another client of the account would, which
// takes the cloud its time.
func (s *site) foreignAssign(ip netip.Addr) {
	path := map[bool]string{true: "/v2/reserved_ips/", false: "/v2/reserved_ipv6/"}[ip.Is4()]
	r := httptest.NewRequest(http.MethodPost, path+ip.String()+"/actions", strings.NewReader(fmt.Sprintf(`{"type":"assign","droplet_id":%d}`, stranger)))
	r.Header.Set("Authorization", "Bearer dop_v1_foreigner")
	go func() {
		defer func() { _ = recover() }() // a fault that drops the connection
		s.cloud.API().ServeHTTP(httptest.NewRecorder(), r)
	}()
}

// mend makes the API well.
func (s *site) mend() {
	s.cloud.ClearFaults()
	s.restore()
	s.cloud.SetLimits(dotest.Limits{})
	s.unreachable.Store(false)
	_ = s.cloud.PendDroplet(101, time.Time{})
}

// run does what the schedule says while lb1 leads, and judges.
func (sch schedule) run(dir string) (err error) {
	s, err := newSite(dir, 1, sch.IPs, func(c *dotest.Server) {
		c.SetLatency(dotest.Fixed(sch.Latency))
		c.SetMetadataLag(dotest.Fixed(sch.Lag))
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	begun, lb1 := time.Now(), s.members[0]
	for _, d := range sch.Trouble {
		time.AfterFunc(d.At, func() { d.inflict(s) })
	}
	time.Sleep(trouble)
	s.mend()
	time.Sleep(lasting) // what was to last longer has ended, in any order
	s.mend()
	well := time.Now()
	if !within(mending, lb1.holdsAll) {
		return fmt.Errorf("%v after the API is well lb1 does not hold what it should: %+v; %+v", mending, lb1.node.Status().Addresses, s.cloud.Journal())
	}
	mended := time.Since(well)
	time.Sleep(40 * time.Second) // the looks after a claim, or a routine one
	if !lb1.holdsAll() {
		return fmt.Errorf("the address did not stay: it came %v after the API was well", mended)
	}
	return errors.Join(s.falseConfirmation(), s.restless(begun))
}

// falseConfirmation finds a confirmation that no state of the cloud during the look agrees with. A
// look begins at most 2 s, its deadline, before its answer is in.
func (s *site) falseConfirmation() error {
	const look = 2 * time.Second
	journal := s.cloud.Journal()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.confirmed {
		agrees, holder := false, 0
		for _, change := range journal.Changes {
			if change.IP != c.ip {
				continue
			}
			if change.At.After(c.at) {
				break
			}
			if holder = change.To; fmt.Sprint(change.From) == c.droplet && c.at.Sub(change.At) <= look {
				agrees = true // it left during the look
			}
		}
		if !agrees && fmt.Sprint(holder) != c.droplet {
			return fmt.Errorf("%s was confirmed at droplet %s after %v, it was at %d: %+v", c.ip, c.droplet, c.at.Sub(s.start), holder, journal)
		}
	}
	return nil
}

// restless finds more claims than there may be: two for one address within 2 s.
func (s *site) restless(since time.Time) error {
	last := map[netip.Addr]time.Time{}
	for _, w := range s.cloud.Writes(since) {
		if w.Node != "lb1" {
			continue
		}
		if gap := w.Arrived.Sub(last[w.IP]); gap < 2*time.Second {
			return fmt.Errorf("two claims of %s within %v", w.IP, gap)
		}
		last[w.IP] = w.Arrived
	}
	return nil
}

// TestRandomFaultSchedules is the promise to operators: whatever the API does, once it is well
// the address is at the leader, and nothing was taken for confirmed that was not so.
func TestRandomFaultSchedules(t *testing.T) {
	n := schedules
	if testing.Short() {
		n /= 10
	}
	checks := flag.Lookup("rapid.checks")
	before := checks.Value.String()
	if err := checks.Value.Set(fmt.Sprint(n / lanes)); err != nil {
		t.Fatal(err)
	}
	percent := debug.SetGCPercent(400) // each run leaves a whole cluster behind: a third of the time
	t.Cleanup(func() {
		_ = checks.Value.Set(before)
		debug.SetGCPercent(percent)
	})
	for lane := range lanes {
		t.Run(fmt.Sprint(lane+1), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			rapid.Check(t, func(rt *rapid.T) {
				sch := drawSchedule(rt)
				var err error
				synctest.Test(t, func(*testing.T) { err = sch.run(dir) })
				if err != nil {
					rt.Fatal(err)
				}
			})
		})
	}
}
