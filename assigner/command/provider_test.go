package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/assignertest"
	"github.com/buoy-lb/buoy/program"
)

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "assign-ip" {
		blogAssignIP()
		return
	}
	goleak.VerifyTestMain(m)
}

var ip = netip.MustParseAddr("203.0.113.10")

func yes() error { return nil }

// The cloud of these tests is a directory: holder names the instance that holds the address, writes
// has a line for each claim, and fault says how the programs misbehave.
const (
	claimScript = `case $(cat fault) in
RateLimited|Unavailable) echo 'come back later' >&2; exit 75 ;;
Refused) echo 'unauthorized: Unable to authenticate you'; exit 1 ;;
Foreign) exit 75 ;;
LostReply) echo "$1 $2" >>writes; printf %s "$2" >holder; exit 75 ;;
Hang) exec sleep 1000 ;;
esac
echo "$1 $2" >>writes
printf %s "$2" >holder
echo 'Moving IP address: in-progress'
`
	holderScript = `case $(cat fault) in
RateLimited|Unavailable) exit 75 ;;
Refused) exit 1 ;;
Foreign) echo 'a b c'; exit 0 ;;
esac
cat holder
`
)

var faultNames = map[assignertest.Fault]string{
	assignertest.None:        "None",
	assignertest.RateLimited: "RateLimited",
	assignertest.Unavailable: "Unavailable",
	assignertest.Refused:     "Refused",
	assignertest.Foreign:     "Foreign",
	assignertest.LostReply:   "LostReply",
	assignertest.Hang:        "Hang",
}

// script returns the argv of a shell program that runs in dir with the given further arguments.
func script(dir, text string, args ...string) []string {
	return append([]string{"/bin/sh", "-c", "cd " + dir + " || exit 9\n" + text, "sh"}, args...)
}

func TestConforms(t *testing.T) {
	assignertest.Run(t, func(t *testing.T) *assignertest.Cloud {
		dir := t.TempDir()
		put := func(name, content string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Error(err)
			}
		}
		get := func(name string) string {
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Error(err)
			}
			return string(content)
		}
		put("holder", "")
		put("writes", "")
		put("fault", "None")
		return &assignertest.Cloud{
			Provider: newProvider(t, Options{
				Claim:  script(dir, claimScript, "{ip}", "{instance}"),
				Holder: script(dir, holderScript, "{ip}"),
			}),
			IP:        ip,
			Self:      "lb1",
			Other:     "lb2",
			SetHolder: func(instance string) { put("holder", instance) },
			Holder:    func() string { return get("holder") },
			Writes:    func() int { return strings.Count(get("writes"), ip.String()+" lb1\n") },
			Fail:      func(f assignertest.Fault) bool { put("fault", faultNames[f]); return true },
		}
	})
}

func newProvider(t *testing.T, o Options) *Provider {
	t.Helper()
	o.Instance = "lb1"
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestOldAssignIPWithoutHolder: keepalived's script as it is; what it did stays unproved.
func TestOldAssignIPWithoutHolder(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "argv")
	p := newProvider(t, Options{Claim: []string{"/bin/sh", "-c", `echo "$@" >>` + out + `; echo Moving IP address: in-progress`, "assign-ip", "{ip}", "id={instance}"}})
	c := assigner.New(p, nil)
	fence := func(context.Context) (func() error, func(), error) { return yes, func() {}, nil }
	for range 3 { // the caller verifies again and again
		o, err := c.Ensure(t.Context(), assigner.Request{IP: ip, Fence: fence, Epoch: 1})
		if err != nil || !o.Unverified {
			t.Errorf("Ensure = %+v, %v; want unverified", o, err)
		}
	}
	if argv, _ := os.ReadFile(out); string(argv) != "203.0.113.10 id=lb1\n" {
		t.Errorf("the script ran with %q; want once, with the placeholders filled in", argv)
	}
}

func TestFailuresAreClassedAndLogged(t *testing.T) {
	flood := `i=0; while [ $i -lt 2000 ]; do echo noise noise noise; i=$((i+1)); done; exit 3`
	for name, c := range map[string]struct {
		claim []string
		class assigner.Class
		text  string
	}{
		"own":           {script("/", `echo "not_found: no such droplet" >&2; exit 1`), assigner.Own, "no such droplet"},
		"temporary":     {script("/", `exit 75`), assigner.Shared, "exit status 75"},
		"signalled":     {script("/", `kill -9 $$`), assigner.Own, "killed"},
		"missing":       {[]string{"/nonexistent/assign-ip"}, assigner.Own, "cannot be run"},
		"too much said": {script("/", flood), assigner.Own, "noise"},
		"too slow":      {script("/", `exec sleep 1000`), assigner.Shared, "not done within 300ms"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			o := Options{Claim: c.claim, Logger: hclog.New(&hclog.LoggerOptions{Output: &log})}
			if name == "too slow" {
				o.Timeout = 300 * time.Millisecond
			}
			_, err := newProvider(t, o).Claim(t.Context(), ip, yes)
			var e *assigner.Error
			if !errors.As(err, &e) || e.Class != c.class || !strings.Contains(err.Error(), c.text) || len(err.Error()) > 400 {
				t.Errorf("error %v; want class %v, with %q, short", err, c.class, c.text)
			}
			if name != "missing" && (!strings.Contains(log.String(), "program failed") || log.Len() > 1000) {
				t.Errorf("log: %s", log.String())
			}
		})
	}
}

// TestWholeGroupIsKilled: a program that ignores SIGTERM, and its child that holds the output open.
func TestWholeGroupIsKilled(t *testing.T) {
	dir := t.TempDir()
	p := newProvider(t, Options{Claim: script(dir, `trap "" TERM; sleep 1000 & echo $! >child; echo $$ >pid; wait; wait`)})
	ctx, deposed := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := p.Claim(ctx, ip, yes)
		ended <- err
	}()
	pids := []string{waitFor(t, filepath.Join(dir, "pid")), waitFor(t, filepath.Join(dir, "child"))}
	begun := time.Now()
	deposed()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Claim: %v; want canceled", err)
	}
	if took := time.Since(begun); took > 5*program.Grace {
		t.Errorf("it took %v to end the program", took)
	}
	for _, pid := range pids {
		waitDead(t, pid)
	}
}

// TestLeftBehindChildIsKilled: a script that has succeeded must not go on claiming behind our back.
func TestLeftBehindChildIsKilled(t *testing.T) {
	dir := t.TempDir()
	p := newProvider(t, Options{Claim: script(dir, `sleep 1000 >/dev/null 2>&1 & echo $! >child`)})
	if _, err := p.Claim(t.Context(), ip, yes); err != nil {
		t.Errorf("Claim: %v", err)
	}
	waitDead(t, waitFor(t, filepath.Join(dir, "child")))
}

func TestNeverTwoAtOnce(t *testing.T) {
	dir := t.TempDir()
	p := newProvider(t, Options{Claim: script(dir, `mkdir lock || exit 1; sleep 0.02; rmdir lock`)})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := p.Claim(t.Context(), ip, yes); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestSelfTestFindsMissingPrograms(t *testing.T) {
	good, missing := script("/", "exit 0"), []string{"/nonexistent/assign-ip"}
	for i, o := range []Options{{Claim: missing}, {Claim: good, Holder: missing}, {Claim: good}, {Claim: good, Holder: good}} {
		err := assigner.New(newProvider(t, o), nil).SelfTest(t.Context(), ip)
		if (err == nil) != (i >= 2) {
			t.Errorf("options %+v: %v", o, err)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for i, o := range []Options{
		{Instance: "lb1"},
		{Claim: []string{""}, Instance: "lb1"},
		{Claim: []string{"x"}},
		{Claim: []string{"x"}, Holder: []string{""}, Instance: "lb1"},
		{Claim: []string{"x"}, Instance: "lb1", Timeout: -1},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%d: %+v is accepted", i, o)
		}
	}
}

// waitFor returns the content of a file that a program is about to write.
func waitFor(t *testing.T, path string) string {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if content, err := os.ReadFile(path); err == nil && strings.HasSuffix(string(content), "\n") {
			return strings.TrimSpace(string(content))
		}
	}
	t.Fatalf("%s has not been written", path)
	return ""
}

// waitDead waits until a process is gone, or a zombie that only waits for its new parent.
func waitDead(t *testing.T, pid string) {
	t.Helper()
	var stat []byte
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		var err error
		stat, err = os.ReadFile(fmt.Sprintf("/proc/%s/stat", pid))
		if err != nil || bytes.Contains(stat, []byte(") Z ")) {
			return
		}
	}
	t.Errorf("process %s is still alive: %s", pid, stat)
}
