package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// minimal is the shortest configuration; tests put lines after it or replace one.
const minimal = `cluster: web
node: {id: lb1, listen: 10.114.0.2}
floating_ips: [203.0.113.10]
provider: {digitalocean: {}}
`

func testEnvironment(credentials string) environment {
	return environment{
		hostname: func() (string, error) { return "lb7.example.org", nil },
		getenv: func(name string) string {
			if name == "CREDENTIALS_DIRECTORY" {
				return credentials
			}
			return ""
		},
	}
}

func parseText(t *testing.T, text string) (*Config, error) {
	t.Helper()
	return parse("buoy.yaml", []byte(text), testEnvironment(""))
}

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := parseText(t, text)
	if err != nil {
		t.Fatalf("%v\nin:\n%s", err, text)
	}
	return c
}

// otherWarnings are those besides the one that the default check, and so minimal, causes.
func otherWarnings(c *Config) []string {
	return slices.DeleteFunc(slices.Clone(c.Warnings), func(w string) bool { return strings.Contains(w, "without monitor") })
}

func TestMinimalConfigurationGetsTheDefaults(t *testing.T) {
	addr := netip.MustParseAddrPort("10.114.0.2:7400")
	want := &Config{
		Cluster:    "web",
		Node:       Node{ID: "lb1", Listen: addr, Advertise: addr, Role: RoleBalancer, DataDir: "/var/lib/buoy"},
		SecretFile: "/etc/buoy/secret",
		Socket:     "/run/buoy/buoy.sock",
		HTTP:       "127.0.0.1:7401",
		Priority:   100,
		Preempt:    true,
		Timing:     Timing{300 * time.Millisecond, 300 * time.Millisecond, 150 * time.Millisecond},
		FloatingIPs: []netip.Addr{
			netip.MustParseAddr("203.0.113.10"),
		},
		Provider: Provider{DigitalOcean: &DigitalOcean{
			TokenFile: "/etc/buoy/do-token", APIURL: "https://api.digitalocean.com/",
			MetadataURL: "http://169.254.169.254/", VerifyInterval: 30 * time.Second,
		}},
		Checks: []Check{{
			Name: "haproxy", Interval: 200 * time.Millisecond, Timeout: 250 * time.Millisecond, Rise: 2, Fall: 2,
			HAProxy: &HAProxyCheck{Socket: "/run/haproxy/admin.sock", SoftWeight: -20},
		}},
		Hooks:    Hooks{Timeout: 30 * time.Second},
		Log:      Log{Level: "info", Format: "text"},
		Warnings: []string{"buoy.yaml:1:1: " + fmt.Sprintf(noMonitor, "checks, by default")},
	}
	if got := mustParse(t, minimal); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// values looks at one value for each line of YAML added to the minimal configuration.
func TestValues(t *testing.T) {
	check := func(c *Config) Check { return c.Checks[0] }
	for _, test := range []struct {
		yaml string
		got  func(*Config) any
		want any
	}{
		{"http: off", func(c *Config) any { return c.HTTP }, ""},
		{"http: 127.0.0.1", func(c *Config) any { return c.HTTP }, "127.0.0.1:7401"},
		{"preempt_delay: 1000s", func(c *Config) any { return c.PreemptDelay }, 1000 * time.Second},
		{"preempt_delay: 0", func(c *Config) any { return c.PreemptDelay }, time.Duration(0)},
		{"priority: 255", func(c *Config) any { return c.Priority }, 255},
		{"timing: wan", func(c *Config) any { return c.Timing }, Timing{time.Second, time.Second, 500 * time.Millisecond}},
		{"timing: {heartbeat: 200ms}", func(c *Config) any { return c.Timing }, Timing{200 * time.Millisecond, 200 * time.Millisecond, 100 * time.Millisecond}},
		{"timing: {heartbeat: 50ms, election: 80ms, lease: 20ms, allow_unsafe: true}", func(c *Config) any { return c.Timing }, Timing{50 * time.Millisecond, 80 * time.Millisecond, 20 * time.Millisecond}},
		{"log: {level: debug, format: json}", func(c *Config) any { return c.Log }, Log{"debug", "json"}},
		{"secret_file: /etc/buoy/other", func(c *Config) any { return c.SecretFile }, "/etc/buoy/other"},
		{"bootstrap_expect: 0\npeers: []\ntls: {}\nhooks:\nalerts: []", func(c *Config) any { return c.Priority }, 100},
		{"checks: []", func(c *Config) any { return len(c.Checks) }, 0},
		{"checks: [{name: a, haproxy: , weight: +5}]", func(c *Config) any { return check(c).Weight }, 5},
		{"checks: [{http: {url: 'http://127.0.0.1/'}}]", func(c *Config) any { return check(c) }, Check{
			Name: "http", Interval: 500 * time.Millisecond, Timeout: 500 * time.Millisecond, Rise: 2, Fall: 2,
			HTTP: &HTTPCheck{URL: "http://127.0.0.1/"},
		}},
		{"checks: [{http: {url: 'http://127.0.0.1/', status: [200, 204]}}]", func(c *Config) any { return check(c).HTTP.Status }, []int{200, 204}},
		{"checks: [{tcp: {address: 'localhost:80'}}]", func(c *Config) any { return check(c).TCP }, &TCPCheck{"localhost:80"}},
		{"checks: [{process: {name: haproxy}}]", func(c *Config) any { return check(c).Fall }, 1},
		{"checks: [{process: {pidfile: /run/x.pid}}]", func(c *Config) any { return check(c).Process }, &ProcessCheck{PIDFile: "/run/x.pid"}},
		{"checks: [{name: script, command: [/bin/true, '-v', ''], init_fail: true, reverse: true}]", func(c *Config) any { return check(c) }, Check{
			Name: "script", Interval: 2 * time.Second, Timeout: 2 * time.Second, Rise: 1, Fall: 1, Reverse: true, InitFail: true,
			Command: &CommandCheck{[]string{"/bin/true", "-v", ""}},
		}},
		{"checks: [{command: [/bin/true], interval: 5m, weight: -5}]", func(c *Config) any { return check(c).Timeout }, time.Minute},
		{"hooks:\nalerts:", func(c *Config) any { return c.Hooks }, Hooks{Timeout: 30 * time.Second}},
		{"hooks: {on_master: , on_backup: [], on_fault: '', timeout: 1s}", func(c *Config) any { return c.Hooks }, Hooks{Timeout: time.Second}},
		{`hooks: {on_master: /bin/x eth1 'a b', on_stop: [/bin/y, "a b"], notify: '/bin/n "c d"'}`, func(c *Config) any { return c.Hooks }, Hooks{
			OnMaster: []string{"/bin/x", "eth1", "a b"}, OnStop: []string{"/bin/y", "a b"}, Notify: []string{"/bin/n", "c d"}, Timeout: 30 * time.Second,
		}},
		{"alerts: ['smtp://127.0.0.1:25/?from=a@b.c&to=d@e.f&starttls=no', 'file:/etc/buoy/alerts']", func(c *Config) any { return c.Alerts }, []string{
			"smtp://127.0.0.1:25/?from=a@b.c&to=d@e.f&starttls=no", "file:/etc/buoy/alerts",
		}},
	} {
		t.Run(test.yaml, func(t *testing.T) {
			if got := test.got(mustParse(t, minimal+test.yaml+"\n")); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	for _, test := range []struct{ node, listen, advertise string }{
		{"{listen: 10.0.0.1}", "10.0.0.1:7400", "10.0.0.1:7400"},
		{"{listen: '10.0.0.1:7000', advertise: 10.0.0.9}", "10.0.0.1:7000", "10.0.0.9:7000"},
		{"{listen: '[fd00::1]'}", "[fd00::1]:7400", "[fd00::1]:7400"},
		{"{listen: '[fd00::1]:99'}", "[fd00::1]:99", "[fd00::1]:99"},
		{"{listen: '[::ffff:10.0.0.1]:99'}", "10.0.0.1:99", "10.0.0.1:99"},
		{"{listen: 100.64.3.4}", "100.64.3.4:7400", "100.64.3.4:7400"},
		{"{listen: 127.0.0.1}", "127.0.0.1:7400", "127.0.0.1:7400"},
		{"{listen: 0.0.0.0, advertise: 198.51.100.7, allow_public_listen: true}", "0.0.0.0:7400", "198.51.100.7:7400"},
	} {
		c := mustParse(t, strings.Replace(minimal, "{id: lb1, listen: 10.114.0.2}", test.node, 1))
		if c.Node.Listen.String() != test.listen || c.Node.Advertise.String() != test.advertise {
			t.Errorf("%s: listen %s, advertise %s; want %s, %s", test.node, c.Node.Listen, c.Node.Advertise, test.listen, test.advertise)
		}
		if c.Node.ID != "lb7" {
			t.Errorf("%s: id %q, want the short host name lb7", test.node, c.Node.ID)
		}
	}
}

func TestCredentialsDirectory(t *testing.T) {
	explicit := minimal + "secret_file: ${CREDENTIALS_DIRECTORY}/mine\n"
	for _, test := range []struct {
		name, dir, yaml, secret, token string
		warnings                       int
	}{
		{"under systemd", "/run/credentials/buoy.service", minimal, "/run/credentials/buoy.service/secret", "/run/credentials/buoy.service/do-token", 0},
		{"explicit under systemd", "/run/c", explicit, "/run/c/mine", "/run/c/do-token", 0},
		{"explicit elsewhere", "", explicit, "${CREDENTIALS_DIRECTORY}/mine", "/etc/buoy/do-token", 1},
	} {
		c, err := parse("buoy.yaml", []byte(test.yaml), testEnvironment(test.dir))
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if c.SecretFile != test.secret || c.Provider.DigitalOcean.TokenFile != test.token || len(otherWarnings(c)) != test.warnings {
			t.Errorf("%s: secret %q, token %q, warnings %q", test.name, c.SecretFile, c.Provider.DigitalOcean.TokenFile, c.Warnings)
		}
	}
}

func TestAlertsFromACredential(t *testing.T) {
	text := minimal + "alerts: ['file:${CREDENTIALS_DIRECTORY}/alerts']\n"
	for dir, want := range map[string]string{"/run/c": "file:/run/c/alerts", "": "file:${CREDENTIALS_DIRECTORY}/alerts"} {
		c, err := parse("buoy.yaml", []byte(text), testEnvironment(dir))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(c.Alerts, []string{want}) || (len(otherWarnings(c)) == 0) != (dir != "") {
			t.Errorf("%q: %q, warnings %q", dir, c.Alerts, c.Warnings)
		}
	}
}

// A command in one text is cut as keepalived cuts it, and never by a shell.
func TestCommandsInOneText(t *testing.T) {
	for line, want := range map[string][]string{
		"":                              nil,
		" \t ":                          nil,
		"/bin/x":                        {"/bin/x"},
		"  /bin/x  a\tb ":               {"/bin/x", "a", "b"},
		`/bin/x "a b" 'c "d"' ""`:       {"/bin/x", "a b", `c "d"`, ""},
		`/bin/x a"b c"d\ e "\"" '\'`:    {"/bin/x", "ab cd e", `"`, `\`},
		"/bin/x $HOME | y > z && `w` ;": {"/bin/x", "$HOME", "|", "y", ">", "z", "&&", "`w`", ";"},
	} {
		if got, err := splitCommand(line); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, %v, want %q", line, got, err, want)
		}
	}
	for _, line := range []string{`/bin/x "a`, `/bin/x 'a`, `/bin/x a\`} {
		if got, err := splitCommand(line); err == nil {
			t.Errorf("%s: %q", line, got)
		}
	}
}

func TestCommandProvider(t *testing.T) {
	c := mustParse(t, strings.Replace(minimal, "{digitalocean: {}}", `{command: {claim: [/bin/a, "{ip}"], holder: [/bin/h], timeout: 1s, verify_interval: 5s}}`, 1))
	want := Provider{Command: &Command{
		Claim: []string{"/bin/a", "{ip}"}, Holder: []string{"/bin/h"}, Instance: "lb1", Timeout: time.Second, VerifyInterval: 5 * time.Second,
	}}
	if !reflect.DeepEqual(c.Provider, want) {
		t.Errorf("got %+v, want %+v", c.Provider.Command, want.Command)
	}
}

func TestHetznerProvider(t *testing.T) {
	both := strings.Replace(minimal, "[203.0.113.10]", "[203.0.113.10, 203.0.113.11, '2001:db8:0:1::53']", 1)
	c := mustParse(t, strings.Replace(both, "{digitalocean: {}}", "{hetzner: }", 1))
	want := &Hetzner{
		TokenFile: "/etc/buoy/hcloud-token", APIURL: "https://api.hetzner.cloud/v1/",
		MetadataURL: "http://169.254.169.254/", VerifyInterval: 30 * time.Second,
	}
	if !reflect.DeepEqual(c.Provider.Hetzner, want) || len(c.FloatingIPs) != 3 || c.Provider.Kind() != "hetzner" ||
		c.Provider.VerifyInterval() != want.VerifyInterval {
		t.Errorf("got %+v, %v; want %+v", c.Provider.Hetzner, c.FloatingIPs, want)
	}
	c = mustParse(t, strings.Replace(both, "{digitalocean: {}}",
		"{hetzner: {token_file: /t, server_id: 123, api_url: 'http://10.0.0.9/v1', metadata_url: 'http://10.0.0.9', verify_interval: 5s}}", 1))
	want = &Hetzner{TokenFile: "/t", ServerID: 123, APIURL: "http://10.0.0.9/v1/", MetadataURL: "http://10.0.0.9/", VerifyInterval: 5 * time.Second}
	if !reflect.DeepEqual(c.Provider.Hetzner, want) {
		t.Errorf("got %+v, want %+v", c.Provider.Hetzner, want)
	}
	if found := otherWarnings(c); len(found) != 1 || !strings.Contains(found[0], "plain http") {
		t.Errorf("warnings %q", found)
	}
}

func TestWitnessNeedsNothingToHold(t *testing.T) {
	c := mustParse(t, "cluster: web\nnode: {id: w, listen: 10.0.0.3, role: witness}\n")
	if c.Checks != nil || c.Provider.Kind() != "" || c.FloatingIPs != nil {
		t.Errorf("got %+v", c)
	}
}

func TestWindowsTextIsRead(t *testing.T) {
	mustParse(t, "\ufeff"+strings.ReplaceAll(minimal, "\n", "\r\n"))
}

func TestWarnings(t *testing.T) {
	for yaml, want := range map[string]string{
		"http: 0.0.0.0:7401":                                           "buoy.yaml:5:1: http: 0.0.0.0:7401 is not a loopback address",
		"priority: 255\npreempt: false":                                "buoy.yaml:6:1: preempt: false has no effect",
		"priority: 255\npreempt_delay: 1s":                             "buoy.yaml:6:1: preempt_delay has no effect",
		"preempt: false\npreempt_delay: 1s":                            "buoy.yaml:6:1: preempt_delay has no effect",
		"checks: []":                                                   "buoy.yaml:5:1: checks: none",
		"priority: 255\nchecks: [{haproxy: , weight: -5}]":             "checks[0].weight: has no effect: priority 255",
		"priority: 255\nchecks: [{haproxy: {soft_weight: -5}}]":        "checks[0].haproxy.soft_weight: has no effect",
		"priority: 1\nchecks: [{haproxy: , weight: -5}]":               "checks[0].weight: -5 cannot cause a failover",
		"priority: 254\nchecks: [{haproxy: , weight: 5}]":              "checks[0].weight: +5 cannot cause a failover",
		"checks: [{haproxy: , weight: -5, interval: 20s}]":             "checks[0]: fall 2 x interval 20s = 40s",
		"checks: [{haproxy: , timeout: 99ms}]":                         "buoy.yaml:5:22: checks[0].timeout: 99ms leaves no room to ask again while HAProxy reloads",
		"priority: 1\nchecks: [{tcp: {address: 'a:1'}, weight: -253}]": "cannot cause a failover",
	} {
		found := otherWarnings(mustParse(t, minimal+yaml+"\n"))
		if len(found) != 1 || !strings.Contains(found[0], want) {
			t.Errorf("%q: warnings %q, want one with %q", yaml, found, want)
		}
	}
	c := mustParse(t, strings.Replace(minimal, "digitalocean: {}", "digitalocean: {api_url: 'http://10.0.0.9'}", 1))
	if found := otherWarnings(c); len(found) != 1 || !strings.Contains(found[0], "plain http") || c.Provider.DigitalOcean.APIURL != "http://10.0.0.9/" {
		t.Errorf("api_url %q, warnings %q", c.Provider.DigitalOcean.APIURL, c.Warnings)
	}
}

// TestMonitorIsAskedFor: whoever looks at the stats socket alone is told what that misses,
// at its place; who has a monitor-uri, or another kind of check, is not.
func TestMonitorIsAskedFor(t *testing.T) {
	for yaml, where := range map[string]string{
		"":                      "buoy.yaml:1:1: checks, by default: ",
		"checks: [{haproxy: }]": "buoy.yaml:5:11: checks[0]: ",
		"checks: [{name: a, haproxy: {monitor: ''}}]":                          "buoy.yaml:5:20: checks[0]: ",
		"checks: [{haproxy: {monitor: 'http://127.0.0.1/h'}, timeout: 100ms}]": "",
		"checks: [{tcp: {address: 'a:1'}, timeout: 10ms}]":                     "",
	} {
		found := mustParse(t, minimal+yaml+"\n").Warnings
		if want := where + "kind haproxy without monitor: "; where == "" && len(found) > 0 ||
			where != "" && (len(found) != 1 || !strings.HasPrefix(found[0], want)) {
			t.Errorf("%q: warnings %q, want %q", yaml, found, where)
		}
	}
}

func TestDigestCoversWhatMembersShare(t *testing.T) {
	digest := func(text string) string { return mustParse(t, text).Digest() }
	base := digest(minimal)
	for _, same := range []string{
		minimal + "priority: 7\nhttp: off\nlog: {level: debug}\n",
		strings.Replace(minimal, "lb1, listen: 10.114.0.2", "lb2, listen: 10.114.0.3", 1),
		minimal + "timing: lan\n",
	} {
		if digest(same) != base {
			t.Errorf("digest differs without need:\n%s", same)
		}
	}
	for _, different := range []string{
		strings.Replace(minimal, "web", "web2", 1),
		strings.Replace(minimal, ".10]", ".11]", 1),
		strings.Replace(minimal, "{}", "{verify_interval: 10s}", 1),
		strings.Replace(minimal, "digitalocean: {}", `command: {claim: [/bin/a, "{ip}"]}`, 1),
		minimal + "timing: wan\n",
	} {
		if digest(different) == base {
			t.Errorf("digest does not differ:\n%s", different)
		}
	}
}

func TestLoadJudgesTheFileItself(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large.yaml")
	if err := os.WriteFile(large, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "no such file or directory; name another file with --config",
		dir:                             "is a directory; name the file in it",
		large:                           "is larger than 64 KiB",
	} {
		_, err := Load(path)
		var typed *Error
		if !errors.As(err, &typed) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v; want an *Error with %q", path, err, want)
		}
	}
	if _, err := Load(filepath.Join(dir, "none.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v does not wrap fs.ErrNotExist", err)
	}
}
