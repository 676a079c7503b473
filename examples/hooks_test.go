package examples

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/buoy-lb/buoy/config"
	"github.com/buoy-lb/buoy/fsm"
	"github.com/buoy-lb/buoy/notify"
)

// hooks.yaml, with the programs that it names, through two states and the end.
func TestHooksOfTheExample(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "/run/credentials/buoy.service")
	dir := t.TempDir()
	t.Setenv("RUNTIME_DIRECTORY", dir)
	script, err := os.ReadFile("hook.sh")
	if err != nil {
		t.Fatal(err)
	}
	installed := filepath.Join(dir, "hook.sh")
	if err := os.WriteFile(installed, script, 0o755); err != nil {
		t.Fatal(err)
	}
	for at := dir; strings.Contains(at, t.Name()); at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o755); err != nil { // whatever the umask
			t.Fatal(err)
		}
	}
	h := load(t, "hooks.yaml").Hooks
	if !slices.Equal(h.Notify, []string{"/etc/buoy/hook.sh"}) || !slices.Equal(h.OnFault, []string{"/usr/bin/logger", "-t", "buoy-hook", "lb1 is unfit"}) {
		t.Fatalf("hooks %+v", h)
	}
	// logger writes to this machine's journal: its place is taken by echo.
	echo := func(argv []string) []string { return append([]string{lookPath(t, "echo")}, argv[1:]...) }
	var log bytes.Buffer
	hooks, err := notify.NewHooks(notify.Programs{
		OnMaster: echo(h.OnMaster), OnFault: echo(h.OnFault), Notify: []string{installed}, Timeout: h.Timeout,
	}, hclog.New(&hclog.LoggerOptions{Output: &log}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // at once: what is left are the hooks of the last event
	for _, state := range []fsm.VRRP{fsm.VRRPMaster, fsm.VRRPFault, fsm.VRRPStop} {
		hooks.Run(ctx, notify.Identity{Cluster: "web", Node: "lb1"}, func() fsm.Event {
			return fsm.Event{Kind: fsm.EventRole, State: state, Priority: 100, Leader: "lb2", Reason: "because of " + string(state)}
		})
		got, err := os.ReadFile(filepath.Join(dir, "state"))
		want := regexp.MustCompile(fmt.Sprintf(`^state=%s\nsince=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\nwhy=because of %[1]s\nleader=lb2\n$`, state))
		if err != nil || !want.Match(got) {
			t.Errorf("%v\n%s", err, got)
		}
	}
	for _, text := range []string{`output="-t buoy-hook lb1 holds the address"`, `output="-t buoy-hook lb1 is unfit"`, `output="MASTER -> FAULT"`} {
		if !strings.Contains(log.String(), text) {
			t.Errorf("no %s in\n%s", text, &log)
		}
	}
}

// examples/alerts is a file as the daemon wants it.
func TestAlertsOfTheExample(t *testing.T) {
	data, err := os.ReadFile("alerts")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "alerts")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := notify.NewAlerts([]string{"file:" + path}, hclog.NewNullLogger()); err != nil {
		t.Error(err)
	}
	for _, scheme := range []string{"\nsmtp://", "\nslack://", "\ngeneric+https://"} {
		if !bytes.Contains(data, []byte(scheme)) {
			t.Errorf("no line with %q", scheme)
		}
	}
}

// docs/hooks.md: its configurations and URLs are valid, its links lead somewhere, and the
// environment that it promises is what a hook gets.
func TestHooksGuide(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "docs", "hooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	const rest = "cluster: web\nnode: {id: lb1, listen: 10.0.0.1, role: witness}\n"
	configurations := 0
	for _, m := range readmeBlock.FindAllStringSubmatch(string(data), -1) {
		if m[2] != "yaml" {
			continue
		}
		configurations++
		if c, err := config.Parse("docs/hooks.md", []byte(rest+m[3])); err != nil || len(c.Warnings) > 0 {
			t.Errorf("%v\n%s", err, m[3])
		}
	}
	urls := regexp.MustCompile("`((?:smtps?|slack|generic\\+https?)://[^`]*)`").FindAllStringSubmatch(string(data), -1)
	for _, m := range urls {
		if err := notify.Check(m[1]); err != nil {
			t.Errorf("%s: %v", m[1], err)
		}
	}
	if configurations == 0 || len(urls) < 4 {
		t.Errorf("%d configurations, %d URLs", configurations, len(urls))
	}
	for _, m := range readmeLink.FindAllStringSubmatch(string(data), -1) {
		if target, _, _ := strings.Cut(m[1], "#"); !strings.Contains(target, "://") {
			if _, err := os.Stat(filepath.Join(root, "docs", target)); err != nil {
				t.Error(err)
			}
		}
	}
	got := environment(t)
	var promised []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(BUOY_[A-Z]+)` \\|").FindAllStringSubmatch(string(data), -1) {
		promised = append(promised, m[1])
	}
	slices.Sort(promised)
	if !slices.Equal(got, promised) {
		t.Errorf("a hook gets %q, the guide names %q", got, promised)
	}
}

// environment are the names of the variables that a hook gets.
func environment(t *testing.T) []string {
	t.Helper()
	var log bytes.Buffer
	hooks, err := notify.NewHooks(notify.Programs{
		OnStop: []string{lookPath(t, "sh"), "-c", "env | grep -o '^BUOY_[A-Z]*' | sort"}, Timeout: 10e9,
	}, hclog.New(&hclog.LoggerOptions{Output: &log}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	hooks.Run(ctx, notify.Identity{}, func() fsm.Event { return fsm.Event{State: fsm.VRRPStop} })
	m := regexp.MustCompile(`output="([^"]*)"`).FindStringSubmatch(log.String())
	if m == nil {
		t.Fatalf("no output in\n%s", &log)
	}
	return strings.Fields(m[1])
}
