package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/buoy-lb/buoy/assigner/dotest"
)

// cmdAccount makes an account without buoy: account LATENCY. It has the droplets 101, 102 and
// 103, the address at 101, and a token, TOKEN. The variables are those of DigitalOcean's tools,
// and site, the service behind the address, and metadata, as droplet 101 sees it.
func cmdAccount(ts *testscript.TestScript, _ bool, args []string) {
	latency, err := time.ParseDuration(args[0])
	ts.Check(err)
	var holder atomic.Int64
	w := &world{cloud: dotest.New(dotest.Options{
		Latency: dotest.Fixed(latency), Limits: dotest.Limits{Minute: 5000},
		OnAssigned: func(_ netip.Addr, _, to int) { holder.Store(int64(to)) },
	})}
	ts.Defer(w.close)
	all := <-worlds.ch
	all[ts.Getenv("WORK")] = w
	worlds.ch <- all
	site := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(rw, "droplet %d\n", holder.Load())
	}))
	ts.Defer(site.Close)
	for id := 101; id <= 103; id++ {
		w.cloud.AddDroplet(dotest.Droplet{ID: id, Name: fmt.Sprintf("d%d", id), Region: "nyc3"})
	}
	ts.Check(w.cloud.AddReservedIP(netip.MustParseAddr(floatingIP), "nyc3", 101))
	w.cloud.AddToken("operator", "dop_v1_operators_token", dotest.AssignScopes()...)
	endpoint, err := w.cloud.Start("127.0.0.1:0")
	ts.Check(err)
	metadata, err := w.cloud.StartMetadata(101, "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv("TOKEN", "dop_v1_operators_token")
	ts.Setenv("DIGITALOCEAN_API_URL", endpoint.URL)
	ts.Setenv("metadata", metadata.URL)
	ts.Setenv("site", site.URL)
}

// cmdHolder waits until a droplet holds the address: holder 102.
func cmdHolder(ts *testscript.TestScript, _ bool, args []string) {
	droplet, err := strconv.Atoi(args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err = worldOf(ts).cloud.WaitHolder(ctx, netip.MustParseAddr(floatingIP), droplet)
	ts.Check(err)
}

// cmdWrites waits until the cloud has got a number of requests for change, and fails if it has
// more: writes 1.
func cmdWrites(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	deadline := time.Now().Add(30 * time.Second)
	for {
		got := len(worldOf(ts).cloud.Writes(time.Time{}))
		if got == want {
			return
		}
		if got > want || time.Now().After(deadline) {
			ts.Fatalf("%d requests for change, want %d", got, want)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// cmdRefuse has the API answer all requests, or the next COUNT, with STATUS; 0 ends it: refuse
// STATUS [COUNT].
func cmdRefuse(ts *testscript.TestScript, _ bool, args []string) {
	cloud := worldOf(ts).cloud
	cloud.ClearFaults()
	f := dotest.Fault{Effect: dotest.Refuse}
	var err error
	f.Status, err = strconv.Atoi(args[0])
	ts.Check(err)
	if len(args) > 1 {
		f.Count, err = strconv.Atoi(args[1])
		ts.Check(err)
	}
	if f.Status != 0 {
		cloud.Inject(f)
	}
}

// cmdBusy keeps a droplet busy for a while, as a snapshot does: busy 102 1s.
func cmdBusy(ts *testscript.TestScript, _ bool, args []string) {
	droplet, err := strconv.Atoi(args[0])
	ts.Check(err)
	d, err := time.ParseDuration(args[1])
	ts.Check(err)
	ts.Check(worldOf(ts).cloud.PendDroplet(droplet, time.Now().Add(d)))
}
