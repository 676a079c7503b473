package command

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/digitalocean/godo"
	"golang.org/x/oauth2"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/dotest"
)

// The programs that keepalived's notify_master called, as they were published but for the
// addresses of the API and of the metadata service, which stand fixed in them.

// blogAssignIP is the Go program of the blog post whose set-up buoy replaces. It prints what went
// wrong and ends with status 0 all the same. The test binary plays it under the name assign-ip.
func blogAssignIP() {
	yamlFile, err := os.ReadFile(os.Getenv("DO_CONFIG_FILE"))
	if err != nil {
		fmt.Printf("IO error: %s\n", err)
		return
	}
	token, _ := strings.CutPrefix(strings.TrimSpace(string(yamlFile)), "apiToken: ")
	oauthClient := oauth2.NewClient(context.Background(), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token}))
	client := godo.NewClient(oauthClient)
	client.BaseURL, _ = url.Parse(os.Getenv("API"))
	ip := os.Args[1]
	dropletID, err := strconv.Atoi(os.Args[2])
	if err != nil {
		fmt.Printf("Argument error: %s\n", err)
		return
	}
	if _, _, err = client.FloatingIPActions.Assign(context.Background(), ip, dropletID); err != nil {
		fmt.Printf("API error: %s\n", err)
	} else {
		fmt.Println("IP assigned")
	}
}

// tutorialAssignIP and tutorialMaster are DigitalOcean's: "How To Set Up Highly Available HAProxy
// Servers with Keepalived and Reserved IPs". Debian's python3-requests comes with
// python3-digitalocean, which other tests need too.
const tutorialAssignIP = `#!/usr/bin/python3

import os
import sys
import requests
import json

api_base = 'API/v2'


def main(floating_ip, droplet_id):
    payload = {'type': 'assign', 'droplet_id': droplet_id}
    headers = {'Authorization': 'Bearer {0}'.format(os.environ['DO_TOKEN']),
               'Content-type': 'application/json'}
    url = api_base + "/floating_ips/{0}/actions".format(floating_ip)
    r = requests.post(url, headers=headers, data=json.dumps(payload))

    resp = r.json()
    if 'message' in resp:
        print('{0}: {1}'.format(resp['id'], resp['message']))
        sys.exit(1)
    else:
        print('Moving IP address: {0}'.format(resp['action']['status']))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
`

const tutorialMaster = `#!/bin/sh
IP='203.0.113.10'
ID=$(curl -s METADATA/metadata/v1/id)
HAS_FLOATING_IP=$(curl -s METADATA/metadata/v1/floating_ip/ipv4/active)

if [ $HAS_FLOATING_IP = "false" ]; then
    n=0
    while [ $n -lt 10 ]
    do
        DIR/assign-ip.py $IP $ID && break
        n=$((n+1))
        sleep 3
    done
fi
`

// oldSetup is droplet 102 of a fake account in which 101 holds the address, with all of these
// programs in dir.
func oldSetup(t *testing.T) (cloud *dotest.Server, dir string) {
	t.Helper()
	if out, err := exec.Command("/usr/bin/python3", "-c", "import requests").CombinedOutput(); err != nil {
		t.Skipf("python3-requests is not installed (apt install python3-requests): %v: %.200s", err, out)
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed (apt install curl)")
	}
	cloud = dotest.New(dotest.Options{Latency: dotest.Fixed(200 * time.Millisecond)})
	t.Cleanup(cloud.Close)
	cloud.AddDroplet(dotest.Droplet{ID: 101, Region: "nyc3"})
	cloud.AddDroplet(dotest.Droplet{ID: 102, Region: "nyc3"})
	if err := cloud.AddReservedIP(ip, "nyc3", 101); err != nil {
		t.Fatal(err)
	}
	cloud.AddToken("old", "dop_v1_old", dotest.AssignScopes()...)
	api, err := cloud.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	metadata, err := cloud.StartMetadata(102, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	fit := strings.NewReplacer(
		"API", strings.TrimSuffix(api.URL, "/"), "METADATA", strings.TrimSuffix(metadata.URL, "/"), "DIR", dir,
		"https://api.digitalocean.com", strings.TrimSuffix(api.URL, "/"))
	for name, text := range map[string]string{
		"assign-ip.py": tutorialAssignIP, "master.sh": tutorialMaster, "show-ip-holder": documented(t, "show-ip-holder"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fit.Replace(text)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(dir, "digitalocean.yaml")
	if err := errors.Join(
		os.WriteFile(config, []byte("apiToken: dop_v1_old\n"), 0o600),
		os.Symlink(self(t), filepath.Join(dir, "assign-ip")),
	); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"API": api.URL, "DO_CONFIG_FILE": config, "DO_TOKEN": "dop_v1_old", "NO_PROXY": "127.0.0.1"} {
		t.Setenv(name, value) // programs inherit the daemon's environment
	}
	return cloud, dir
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// documented is the script of that name in docs/command.md.
func documented(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/command.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(m[1], "# "+name) {
			return m[1]
		}
	}
	t.Fatalf("docs/command.md has no script %s", name)
	return ""
}

// TestKeepalivedsProgramsMoveTheAddress, unchanged: proved where a holder program can tell,
// unverified where none can.
func TestKeepalivedsProgramsMoveTheAddress(t *testing.T) {
	for name, argv := range map[string][]string{
		"blog":     {"assign-ip", "{ip}", "{instance}"},
		"tutorial": {"assign-ip.py", "{ip}", "{instance}"},
		"master":   {"master.sh"},
	} {
		for _, told := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, holder %v", name, told), func(t *testing.T) {
				cloud, dir := oldSetup(t)
				out, err := ensure(t, t.Context(), dir, argv, told)
				if err != nil || !out.Moved || out.Unverified == told {
					t.Errorf("Ensure = %+v, %v", out, err)
				}
				if _, err := cloud.WaitHolder(t.Context(), ip, 102); err != nil {
					t.Error(err)
				}
				if n := len(cloud.Writes(time.Time{})); n != 1 {
					t.Errorf("%d requests; want 1", n)
				}
			})
		}
	}
}

// TestWhatTheyClaimIsNotBelieved: the blog's program ends with status 0 when the API refuses. A
// holder program finds it out; without one the claim counts as unverified, which is all that can
// be said.
func TestWhatTheyClaimIsNotBelieved(t *testing.T) {
	for name, c := range map[string]struct {
		argv  []string
		admit bool // by its exit status
	}{
		"blog":     {[]string{"assign-ip", "{ip}", "{instance}"}, false},
		"tutorial": {[]string{"assign-ip.py", "{ip}", "{instance}"}, true},
	} {
		for _, told := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, holder %v", name, told), func(t *testing.T) {
				cloud, dir := oldSetup(t)
				cloud.Inject(dotest.Fault{Method: http.MethodPost, Effect: dotest.Refuse, Status: 422})
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				out, err := ensure(t, ctx, dir, c.argv, told)
				if believed := err == nil; believed != (!told && !c.admit) || (believed && !out.Unverified) || !out.Confirmed.IsZero() {
					t.Errorf("Ensure = %+v, %v", out, err)
				}
				if cloud.Holder(ip) != 101 || len(cloud.Writes(time.Time{})) == 0 {
					t.Errorf("the holder is %d after %d requests", cloud.Holder(ip), len(cloud.Writes(time.Time{})))
				}
			})
		}
	}
}

func ensure(t *testing.T, ctx context.Context, dir string, argv []string, told bool) (assigner.Outcome, error) { //nolint:revive // t comes first in tests
	t.Helper()
	o := Options{Claim: append([]string{filepath.Join(dir, argv[0])}, argv[1:]...), Instance: "102", Timeout: 40 * time.Second}
	if told {
		o.Holder = []string{filepath.Join(dir, "show-ip-holder"), "{ip}"}
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	fence := func(context.Context) (func() error, func(), error) { return yes, func() {}, nil }
	return assigner.New(p, nil).Ensure(ctx, assigner.Request{IP: ip, Fence: fence, Epoch: 1})
}

// TestClaimIsNotAwaitedForEver: a program that did nothing and ended with 0 must not cost a minute.
func TestClaimIsNotAwaitedForEver(t *testing.T) {
	p := newProvider(t, Options{Claim: []string{"/bin/true"}, Holder: []string{"/bin/echo", "lb2"}})
	for name, c := range map[string]struct {
		ended time.Time
		want  bool
	}{
		"just now":              {time.Now(), true},
		"long ago":              {time.Now().Add(-arrival - time.Second), false},
		"in a future, it seems": {time.Now().Add(time.Minute), false},
	} {
		pending, err := p.Pending(t.Context(), ip, strconv.FormatInt(c.ended.UnixMilli(), 10))
		if err != nil || pending != c.want {
			t.Errorf("%s: %v, %v; want %v", name, pending, err, c.want)
		}
	}
	if _, err := p.Pending(t.Context(), ip, "/bin/true"); err == nil {
		t.Error("an action that is none is followed")
	}
}
