package dotest_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/digitalocean/godo"
	"golang.org/x/oauth2"

	"github.com/buoy-lb/buoy/assigner/dotest"
)

// TestGodo drives the fake with DigitalOcean's own client, through the calls
// that buoy makes.
func TestGodo(t *testing.T) {
	s := newCloud(t, dotest.Options{Latency: dotest.Fixed(20 * time.Millisecond)})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: transport})
	do, err := godo.New(oauth2.NewClient(ctx, oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "secret"})),
		godo.SetBaseURL(start(t, s).URL), godo.SetUserAgent("buoy/1.0 (node=lb2; epoch=7)"))
	if err != nil {
		t.Fatal(err)
	}

	all, resp, err := do.ReservedIPs.List(ctx, &godo.ListOptions{})
	if err != nil || len(all) != 2 || resp.Meta.Total != 2 || resp.Limit != 5000 || resp.Remaining != 4999 {
		t.Fatalf("list: %v, %v, %v", all, resp, err)
	}
	action, _, err := do.ReservedIPActions.Assign(ctx, ip.String(), 102)
	if err != nil || action.Status != godo.ActionInProgress || action.CompletedAt != nil || action.ResourceType != "reserved_ip" {
		t.Fatalf("assign: %v, %v", action, err)
	}
	waitHolder(t, s, ip, 102)
	action, _, err = do.ReservedIPActions.Get(ctx, ip.String(), action.ID)
	if err != nil || action.Status != godo.ActionCompleted || action.CompletedAt == nil {
		t.Errorf("action: %v, %v", action, err)
	}
	got, _, err := do.ReservedIPs.Get(ctx, ip.String())
	if err != nil || got.Locked || got.Droplet == nil || got.Droplet.ID != 102 || got.Region.Slug != "nyc3" {
		t.Errorf("get: %v, %v", got, err)
	}
	_, _, err = do.ReservedIPActions.Assign(ctx, ip.String(), 102)
	var refused *godo.ErrorResponse
	if !errors.As(err, &refused) || refused.Response.StatusCode != http.StatusUnprocessableEntity || refused.RequestID == "" {
		t.Errorf("second assign: %v", err)
	}
	v6, _, err := do.ReservedIPV6s.Get(ctx, ip6.String())
	if err != nil || v6.RegionSlug != "nyc3" || v6.Droplet != nil || v6.ReservedAt.IsZero() {
		t.Errorf("IPv6: %v, %v", v6, err)
	}
	if w := s.Writes(time.Time{}); len(w) != 2 || w[0].Node != "lb2" || w[0].Epoch != 7 || !strings.Contains(w[0].UserAgent, "godo/") {
		t.Errorf("journal: %+v", w)
	}
}

// TestAssignIPScript makes the request of the assign-ip script in DigitalOcean's
// keepalived and Heartbeat tutorials, which looks at action.status, or at id
// and message.
func TestAssignIPScript(t *testing.T) {
	s := newCloud(t, dotest.Options{})
	const path = "/v2/floating_ips/203.0.113.10/actions"
	got := ask(t, s.API(), "POST", path, `{"droplet_id": "102", "type": "assign"}`)
	wantStatus(t, got, http.StatusCreated)
	if got.at("action", "status") != "in-progress" || got.at("action", "resource_type") != "floating_ip" {
		t.Errorf("answer: %s", got.text)
	}
	waitHolder(t, s, ip, 102)
	again := ask(t, s.API(), "POST", path, `{"droplet_id": "102", "type": "assign"}`)
	if again.at("id") != "unprocessable_entity" || again.at("message") == "" {
		t.Errorf("answer: %s", again.text)
	}
}

const foreignClient = `
import time, digitalocean

manager = digitalocean.Manager()
ips = manager.get_all_floating_ips()
print("ips", sorted(f.ip for f in ips))
print("droplets", sorted(d.id for d in manager.get_all_droplets()))

fip = digitalocean.FloatingIP(ip="203.0.113.10").load()
print("before", fip.droplet["id"], fip.locked)
print("action", fip.assign(102)["action"]["type"])
deadline = time.time() + 30
while fip.load().locked and time.time() < deadline:
    time.sleep(0.02)
print("after", fip.droplet["id"], fip.droplet["networks"]["v4"][-1]["ip_address"])
try:
    fip.assign(102)
except digitalocean.DataReadError as e:
    print("refused", e)
`

// TestPythonDigitalocean lets Debian's python3-digitalocean, which knows
// nothing of buoy, move the address.
func TestPythonDigitalocean(t *testing.T) {
	const python = "/usr/bin/python3" // the one that sees Debian's packages
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import digitalocean").CombinedOutput(); err != nil {
		t.Skipf("python3-digitalocean is not installed (apt install python3-digitalocean): %v: %.200s", err, out)
	}
	s := newCloud(t, dotest.Options{Latency: dotest.Fixed(50 * time.Millisecond)})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-c", foreignClient)
	cmd.Env = append(os.Environ(), "DIGITALOCEAN_ACCESS_TOKEN=secret", "DIGITALOCEAN_END_POINT="+start(t, s).URL+"v2/", "NO_PROXY=127.0.0.1")
	out, err := cmd.CombinedOutput()
	const want = `ips ['203.0.113.10', '203.0.113.11']
droplets [101, 102, 103, 104]
before 101 False
action assign_ip
after 102 203.0.113.10
refused Droplet already has a floating IP assigned.
`
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
	if s.Holder(ip) != 102 {
		t.Errorf("holder %d, want 102", s.Holder(ip))
	}
}
