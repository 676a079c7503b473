package digitalocean

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/dotest"
)

// TestDriftNamesItsAction: who moved the address is asked when it is being brought back already. A
// holder that is gone was moved by nobody.
func TestDriftNamesItsAction(t *testing.T) {
	for _, ip := range []netip.Addr{ip, ip6} {
		t.Run(ip.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newTrial(t, ip)
				var log bytes.Buffer
				claimer := assigner.New(r.p, hclog.New(&hclog.LoggerOptions{Output: &log}))
				ensure := func() {
					t.Helper()
					time.Sleep(time.Minute)
					if out, err := claimer.Ensure(t.Context(), assigner.Request{IP: ip, Fence: freely, Epoch: 7}); err != nil || !out.Moved {
						t.Fatalf("%+v, %v", out, err)
					}
				}
				ensure()
				if err := r.Steal(ip, stranger); err != nil {
					t.Fatal(err)
				}
				changes := r.Journal().Changes
				ensure()
				const line = "not this node's: ip="
				if n := strings.Count(log.String(), line); n != 1 || !strings.Contains(log.String(), "action="+strconv.Itoa(changes[len(changes)-1].Action)+" kind=assign_ip") {
					t.Errorf("told %d times; want once, with the action:\n%s", n, &log)
				}
				if err := r.Steal(ip, 0); err != nil {
					t.Fatal(err)
				}
				ensure()
				if !strings.Contains(log.String(), "kind=unassign_ip") {
					t.Errorf("the unassign is not told:\n%s", &log)
				}
				log.Reset()
				if err := r.DestroyDroplet(lb1); err != nil { // and build it again
					t.Fatal(err)
				}
				r.heal()
				r.AddDroplet(dotest.Droplet{ID: lb1, Name: "lb1", Region: "nyc3"})
				ensure()
				if strings.Contains(log.String(), line) {
					t.Errorf("our own action is blamed:\n%s", &log)
				}
			})
		})
	}
}
