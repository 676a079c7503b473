package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/assigner/dotest"
)

const secret = "dop_v1_probe"

var ip = netip.MustParseAddr("203.0.113.10")

// cloud is a fake account with the droplets 101, 102 and 103, the address at 101, the metadata
// of 101, and the service behind the address, which follows the cloud after dataLag; meanwhile it
// hangs up.
type cloud struct {
	*dotest.Server
	api, metadata, site string
}

const (
	dataLag     = 250 * time.Millisecond
	metadataLag = 600 * time.Millisecond
)

func newCloud(t *testing.T, o dotest.Options, answer func(droplet int) string) *cloud {
	t.Helper()
	f := &forward{}
	o.OnAssigned = func(_ netip.Addr, _, to int) { f.point(to) }
	o.Limits = dotest.Limits{Minute: 100_000, Hour: 100_000}
	c := &cloud{Server: dotest.New(o)}
	t.Cleanup(c.Close)
	for id := 101; id <= 103; id++ {
		c.AddDroplet(dotest.Droplet{ID: id, Region: "nyc3"})
	}
	if err := c.AddReservedIP(ip, "nyc3", 101); err != nil {
		t.Fatal(err)
	}
	c.SetMetadataLag(dotest.Fixed(metadataLag))
	c.AddToken("probe", secret, dotest.AssignScopes()...)
	api, err := c.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	metadata, err := c.StartMetadata(101, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		droplet := f.target()
		if droplet == 0 {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("X-Request-Id", fmt.Sprint(time.Now().UnixNano())) // as HAProxy may: tells nothing
		fmt.Fprint(w, answer(droplet))
	}))
	t.Cleanup(site.Close)
	c.api, c.metadata, c.site = api.URL, metadata.URL, site.URL
	return c
}

// forward points the service's address at a droplet, dataLag after it was told to.
type forward struct {
	mu   sync.Mutex
	to   int
	from time.Time
}

func (f *forward) point(droplet int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.to != 0 { // it begins at rest
		f.from = time.Now().Add(dataLag)
	}
	f.to = droplet
}

func (f *forward) target() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Now().Before(f.from) {
		return 0
	}
	return f.to
}

func named(droplet int) string { return fmt.Sprintf("this is droplet %d", droplet) }

func (c *cloud) probe(t *testing.T, mend ...func(*Options)) *Probe {
	t.Helper()
	o := Options{
		IP: ip, Between: [2]int{101, 102}, Rounds: 1, URL: c.site, APIURL: c.api, MetadataURL: c.metadata,
		Token: secret, UserAgent: "buoy/test (probe)", Version: "test",
		Poll: 20 * time.Millisecond, Patience: 10 * time.Second, Progress: t.Logf,
	}
	for _, f := range mend {
		f(&o)
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// truth is, for each accepted assign that moved the address, how long after its arrival the
// cloud moved it.
func (c *cloud) truth() (moves []time.Duration) {
	j := c.Journal()
	for _, w := range j.Writes {
		for _, change := range j.Changes {
			if w.Action != 0 && change.Action == w.Action {
				moves = append(moves, change.At.Sub(w.Arrived))
			}
		}
	}
	return moves
}

// TestFiguresAreTheClouds: each figure of each move is what the fake's own journal says, not less
// and, within what a busy machine adds, not more.
func TestFiguresAreTheClouds(t *testing.T) {
	t.Parallel()
	const late = 2 * time.Second
	var mu sync.Mutex
	latencies := []time.Duration{3 * time.Second, 200 * time.Millisecond, 800 * time.Millisecond, 500 * time.Millisecond}
	c := newCloud(t, dotest.Options{Latency: func() time.Duration {
		mu.Lock()
		defer mu.Unlock()
		l := latencies[0]
		latencies = latencies[1:]
		return l
	}}, named)
	p := c.probe(t, func(o *Options) { o.Rounds = 2 })
	if holder, err := p.Check(t.Context()); err != nil || holder != 101 {
		t.Fatalf("Check = %d, %v", holder, err)
	}
	r, err := p.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	truth := c.truth()
	if len(r.Moves) != 4 || len(truth) != 4 {
		t.Fatalf("%d moves reported, %d made", len(r.Moves), len(truth))
	}
	within := func(name string, got *MS, want time.Duration) {
		t.Helper()
		if got == nil {
			t.Errorf("%s was not measured", name)
		} else if d := time.Duration(*got * MS(time.Millisecond)); d < want-time.Millisecond || d > want+late {
			t.Errorf("%s: %v, the cloud says %v", name, d, want)
		}
	}
	for i, m := range r.Moves {
		within("accepted", m.Accepted, 0)
		within("completed", m.Completed, truth[i])
		within("holder", m.Holder, truth[i])
		within("metadata", m.Metadata, truth[i]+metadataLag)
		within("first new", m.FirstNew, truth[i]+dataLag)
		within("last old", m.LastOld, max(truth[i]-webPeriod-late/2, 0))
		if m.Unserved == nil || *m.Unserved < MS(dataLag.Milliseconds())/2 || *m.Accepted > *m.Completed {
			t.Errorf("move %d: %+v", i, m)
		}
		if m.State != "completed" || m.Accept.Status != 201 || m.To != []int{102, 101}[i%2] || m.Failed == 0 {
			t.Errorf("move %d: %+v", i, m)
		}
	}
	if f := r.Summary[1]; f.Name != "completed" || f.N != 4 || f.Min > f.P50 || f.P50 > f.Max || f.Max < 3000 || f.Min > 2300 {
		t.Errorf("summary %+v", f)
	}
	if r.SameHolder == nil || r.SameHolder.Status != 422 || r.SameHolder.ID != "unprocessable_entity" {
		t.Errorf("an assign to the holder: %+v", r.SameHolder)
	}
	if r.Second == nil || r.Second.Status != 422 || !strings.Contains(r.Second.Message, "pending event") {
		t.Errorf("a second assign: %+v", r.Second)
	}
	if r.ToldBy != "body" || r.Here != 101 || !r.Restored || c.Holder(ip) != 101 {
		t.Errorf("report %+v; the holder is %d", r, c.Holder(ip))
	}
	if r.Limits.Limit != 100_000 || r.Limits.Remaining != 100_000-r.Limits.Requests {
		t.Errorf("limits %+v", r.Limits)
	}
	for i, w := range c.Writes(time.Time{}) {
		if before := c.Writes(time.Time{}); i > 0 && w.Arrived.Sub(before[i-1].Arrived) < postGap {
			t.Errorf("POST %d came %v after the one before", i, w.Arrived.Sub(before[i-1].Arrived))
		}
	}
	var text strings.Builder
	if err := r.Print(&text); err != nil || !strings.Contains(text.String(), "old, locked (4 of 4 moves)") {
		t.Errorf("%v\n%s", err, text.String())
	}
	t.Logf("\n%s", text.String())
	if doc, err := json.Marshal(r); err != nil || strings.Contains(string(doc), secret) {
		t.Errorf("%s, %v", doc, err)
	}
}

// TestWhatCanBeSeen: other things that the real API may turn out to do.
func TestWhatCanBeSeen(t *testing.T) {
	for name, c := range map[string]struct {
		view   dotest.PendingView
		fault  *dotest.Fault
		answer func(int) string
		want   []string // of the printed report
	}{
		"none while it moves": {dotest.PendingNull, nil, named, []string{"GET shows      null, locked (2 of 2"}},
		"the new one at once": {dotest.PendingNew, nil, named, []string{"GET shows      new, locked (2 of 2"}},
		"unknown action":      {fault: &dotest.Fault{Effect: dotest.ActionGone}, answer: named, want: []string{"ends as             unknown (2 of 2", "longer in progress        not measured"}},
		"undocumented status": {fault: &dotest.Fault{Effect: dotest.ActionDone}, answer: named, want: []string{"ends as             done (2 of 2"}},
		"twins behind the IP": {answer: func(int) string { return "hello" }, want: []string{"of the new holder      not measured", "do not tell the two droplets apart"}},
		"only one of them is up": {answer: func(d int) string {
			if d == 102 {
				panic(http.ErrAbortHandler)
			}
			return "hello"
		}, want: []string{"told apart by: answer", "1 of 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := newCloud(t, dotest.Options{Latency: dotest.Fixed(800 * time.Millisecond), PendingView: c.view}, c.answer)
			if c.fault != nil {
				c.fault.Method = http.MethodPost
				cloud.Inject(*c.fault)
			}
			p := cloud.probe(t, func(o *Options) { o.Patience = time.Second })
			p.api.between = 0
			if _, err := p.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			r, err := p.Run(t.Context())
			var text strings.Builder
			if err != nil || r.Print(&text) != nil || !r.Restored || cloud.Holder(ip) != 101 {
				t.Fatalf("%v; the holder is %d", err, cloud.Holder(ip))
			}
			for _, want := range c.want {
				if !strings.Contains(text.String(), want) {
					t.Errorf("no %q in\n%s", want, text.String())
				}
			}
		})
	}
}

// TestIPv6: other paths, no lock to be seen, and an action that can only be looked up by itself.
func TestIPv6(t *testing.T) {
	t.Parallel()
	ip6 := netip.MustParseAddr("2001:db8::10")
	cloud := newCloud(t, dotest.Options{Latency: dotest.Fixed(800 * time.Millisecond)}, named)
	if err := cloud.AddReservedIP(ip6, "nyc3", 101); err != nil {
		t.Fatal(err)
	}
	p := cloud.probe(t, func(o *Options) { o.IP = ip6 })
	p.api.between = 0
	cloud.await(t, func() bool { // the metadata's lag
		_, holds, err := p.metadata.ask(t.Context())
		return holds && err == nil
	})
	if _, err := p.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := p.Run(t.Context())
	if err != nil || cloud.Holder(ip6) != 101 || cloud.Holder(ip) != 101 {
		t.Fatalf("%v; the holder is %d", err, cloud.Holder(ip6))
	}
	for _, m := range r.Moves {
		if m.State != "completed" || *m.Holder < 800 || m.Metadata == nil || m.FirstNew == nil || m.Views[0].Droplet != "old" || m.Views[0].Locked {
			t.Errorf("%+v", m)
		}
	}
}

// TestItIsPutBack: whatever ends the measurement, the address ends where it was.
func TestItIsPutBack(t *testing.T) {
	for name, c := range map[string]struct {
		latency time.Duration
		disturb func(t *testing.T, c *cloud, interrupt func())
		wrong   string // part of the error
	}{
		"interrupted before the move": {time.Second, func(_ *testing.T, _ *cloud, interrupt func()) { interrupt() }, "canceled"},
		"interrupted while it moves": {2 * time.Second, func(t *testing.T, c *cloud, interrupt func()) {
			c.await(t, func() bool { return c.accepted() == 1 })
			interrupt()
		}, "canceled"},
		"interrupted when it has moved": {300 * time.Millisecond, func(t *testing.T, c *cloud, interrupt func()) {
			c.await(t, func() bool { return c.Holder(ip) == 102 })
			interrupt()
		}, "canceled"},
		"moved away by somebody else": {2 * time.Second, func(t *testing.T, c *cloud, interrupt func()) {
			c.await(t, func() bool { return c.accepted() == 1 })
			interrupt()
			c.await(t, func() bool { return c.Steal(ip, 103) == nil })
		}, "canceled"},
		"the API fails for a while": {300 * time.Millisecond, func(t *testing.T, c *cloud, _ func()) {
			c.await(t, func() bool { return c.Holder(ip) == 102 })
			c.Inject(dotest.Fault{Effect: dotest.HTML, Count: 10})
			c.Inject(dotest.Fault{Method: http.MethodPost, Effect: dotest.Refuse, Status: 429, Count: 2})
		}, "429"},
		"errored": {300 * time.Millisecond, func(_ *testing.T, c *cloud, _ func()) {
			c.Inject(dotest.Fault{Method: http.MethodPost, Droplet: 102, Effect: dotest.ActionErrored})
		}, "errored"},
		"the reply to a move is lost": {300 * time.Millisecond, func(_ *testing.T, c *cloud, _ func()) {
			c.Inject(dotest.Fault{Method: http.MethodPost, Droplet: 102, Effect: dotest.Drop, Accepted: true})
		}, "no answer"},
		"a lost move surfaces late": {300 * time.Millisecond, func(_ *testing.T, c *cloud, _ func()) {
			c.Inject(dotest.Fault{Method: http.MethodPost, Droplet: 102, Delay: 1500 * time.Millisecond})
		}, "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := newCloud(t, dotest.Options{Latency: dotest.Fixed(c.latency)}, named)
			p := cloud.probe(t, func(o *Options) { o.Rounds = 5 })
			if _, err := p.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.api.between = 100 * time.Millisecond
			p.api.client.Timeout, p.lostWait = time.Second, 3*time.Second
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			var disturbed sync.WaitGroup
			disturbed.Go(func() { c.disturb(t, cloud, interrupt) })
			r, err := p.Run(ctx)
			disturbed.Wait()
			if err == nil || !strings.Contains(err.Error(), c.wrong) || !r.Restored {
				t.Errorf("Run: %v, restored %v; want an error with %q", err, r.Restored, c.wrong)
			}
			cloud.await(t, func() bool { return cloud.quiet() && !p.api.get(t.Context()).locked })
			if h := cloud.Holder(ip); h != 101 {
				t.Errorf("the address is left at %d", h)
			}
		})
	}
}

func (c *cloud) accepted() (n int) {
	for _, w := range c.Writes(time.Time{}) {
		if !w.Accepted.IsZero() {
			n++
		}
	}
	return n
}

// quiet says that no request for change is held any more.
func (c *cloud) quiet() bool {
	return !slices.ContainsFunc(c.Writes(time.Time{}), func(w dotest.Write) bool { return w.Outcome == "in flight" })
}

func (c *cloud) await(t *testing.T, done func() bool) {
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("what was waited for has not happened")
			return
		}
	}
}

// TestNotPutBackIsSaid: with the API gone for good it says where the address is and what to do.
func TestNotPutBackIsSaid(t *testing.T) {
	t.Parallel()
	c := newCloud(t, dotest.Options{}, named)
	p := c.probe(t)
	if _, err := p.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.restoreWait = 2 * time.Second
	go func() {
		c.await(t, func() bool { return c.Holder(ip) == 102 })
		c.RevokeToken("probe")
	}()
	r, err := p.Run(t.Context())
	if err == nil || r.Restored || !strings.Contains(err.Error(), "NOT BACK") || !strings.Contains(err.Error(), "buoy assign 203.0.113.10 101") {
		t.Errorf("Run: %v, restored %v", err, r.Restored)
	}
}

func TestCheckRefuses(t *testing.T) {
	t.Parallel()
	c := newCloud(t, dotest.Options{Latency: dotest.Fixed(time.Hour)}, named)
	for name, o := range map[string]struct {
		mend func(*Options)
		text string
	}{
		"held by another":  {func(o *Options) { o.Between = [2]int{102, 103} }, "none of the two"},
		"no such address":  {func(o *Options) { o.IP = netip.MustParseAddr("203.0.113.11") }, "404 not_found"},
		"bad token":        {func(o *Options) { o.Token = "x" }, "401 unauthorized"},
		"nobody answers":   {func(o *Options) { o.APIURL = "http://127.0.0.1:1/" }, "no answer"},
		"another's answer": {func(o *Options) { o.APIURL = c.site }, "not JSON"},
	} {
		if _, err := c.probe(t, o.mend).Check(t.Context()); err == nil || !strings.Contains(err.Error(), o.text) {
			t.Errorf("%s: %v; want %q", name, err, o.text)
		}
	}
	if _, err := c.probe(t).api.assign(t.Context(), 102); err != nil {
		t.Fatal(err)
	}
	if _, err := c.probe(t).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("a locked address: %v", err)
	}
}
