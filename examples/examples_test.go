package examples

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/buoy-lb/buoy/config"
)

func load(t *testing.T, path string) *config.Config {
	t.Helper()
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// configurations are the paths of all configurations in this folder.
func configurations(t *testing.T) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".yaml" {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil || len(paths) < 8 {
		t.Fatalf("%d configurations, %v; want all of this folder", len(paths), err)
	}
	return paths
}

func TestEveryConfigurationLoadsWithoutWarnings(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "/run/credentials/buoy.service") // one names it
	for _, path := range configurations(t) {
		c := load(t, path)
		if path == "buoy.yaml" && len(c.Warnings) == 1 && strings.Contains(c.Warnings[0], "without monitor") {
			continue // it shows the default, and says what is better
		}
		if len(c.Warnings) > 0 {
			t.Errorf("%s: %q", path, c.Warnings)
		}
	}
}

// buoy.yaml claims to show defaults: with all but the required keys gone, the result must
// be the same.
func TestAnnotatedConfigurationShowsTheDefaults(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	short, err := config.Parse("short", []byte(`cluster: web
node: {id: lb1, listen: 10.114.0.2}
floating_ips: [203.0.113.10]
provider: {digitalocean: }
`))
	if err != nil {
		t.Fatal(err)
	}
	annotated := load(t, "buoy.yaml")
	annotated.Warnings, short.Warnings = nil, nil // they say on which line
	if !reflect.DeepEqual(annotated, short) {
		t.Errorf("got  %+v\nwant %+v", annotated, short)
	}
}

// hetzner.yaml spells out the defaults of that provider.
func TestHetznerShowsTheDefaults(t *testing.T) {
	spelt := load(t, "hetzner.yaml").Provider
	short, err := config.Parse("short", []byte(`cluster: web
node: {id: lb1, listen: 10.0.0.2}
floating_ips: [203.0.113.10]
provider: {hetzner: }
`))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(spelt, short.Provider) {
		t.Errorf("got  %+v\nwant %+v", spelt.Hetzner, short.Provider.Hetzner)
	}
}

// Likewise each check of command-provider.yaml, which spells out the defaults of its kind.
func TestChecksShowTheDefaultsOfTheirKind(t *testing.T) {
	kinds := map[string]string{
		"haproxy": "haproxy: {monitor: 'http://127.0.0.1:80/buoy-health'}",
		"site":    "http: {url: 'http://127.0.0.1:80/', status: [200, 204]}",
		"port":    "tcp: {address: '127.0.0.1:80'}",
		"running": "process: {name: haproxy}",
		"script":  "command: [/usr/local/bin/check-web, --quick]",
	}
	for _, check := range load(t, "command-provider.yaml").Checks {
		text, known := kinds[check.Name]
		if !known {
			t.Errorf("check %s is not compared with anything", check.Name)
			continue
		}
		c, err := config.Parse("short", []byte("cluster: web\nnode: {id: a, listen: 10.0.0.1, role: witness}\nchecks:\n- "+text+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		want := c.Checks[0]
		want.Name, want.Weight = check.Name, check.Weight
		if !reflect.DeepEqual(check, want) {
			t.Errorf("got  %+v\nwant %+v", check, want)
		}
	}
}

func TestMembersOfASetBelongTogether(t *testing.T) {
	for _, set := range []string{"three-node", "two-balancers-and-witness"} {
		paths, err := filepath.Glob(filepath.Join(set, "*.yaml"))
		if err != nil || len(paths) != 3 {
			t.Fatalf("%s: %q, %v; want three files", set, paths, err)
		}
		seen := map[any]bool{}
		digests := map[string]map[string]bool{} // role: digests
		var priorities []int                    // of the balancers
		softWeight := 0
		for _, path := range paths {
			c := load(t, path)
			if c.Cluster != "web" || seen[c.Node.ID] || seen[c.Node.Listen] || seen[c.Priority] && c.Node.Role == config.RoleBalancer {
				t.Errorf("%s: its cluster, id, address or priority does not go with the others", path)
			}
			seen[c.Node.ID], seen[c.Node.Listen], seen[c.Priority] = true, true, true
			if digests[c.Node.Role] == nil {
				digests[c.Node.Role] = map[string]bool{}
			}
			digests[c.Node.Role][c.Digest()] = true
			if c.Node.Role == config.RoleBalancer {
				priorities = append(priorities, c.Priority)
				softWeight = c.Checks[0].HAProxy.SoftWeight
			}
			if base := strings.TrimSuffix(filepath.Base(path), ".yaml"); base != c.Node.ID {
				t.Errorf("%s holds node %s", path, c.Node.ID)
			}
		}
		if len(digests[config.RoleBalancer]) != 1 {
			t.Errorf("%s: the balancers disagree: %v", set, digests)
		}
		if spread := slices.Max(priorities) - slices.Min(priorities); spread >= -softWeight {
			t.Errorf("%s: priorities %v: soft_weight %d never moves the address", set, priorities, softWeight)
		}
	}
}

// Under buoy.service the daemon is a user of its own, which cannot read what only root may:
// each file must leave the secrets where LoadCredential= of the unit puts them.
func TestTheUnitHandsOverTheSecrets(t *testing.T) {
	const credentials = "/run/credentials/buoy.service"
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	unit, err := os.ReadFile("buoy.service")
	if err != nil {
		t.Fatal(err)
	}
	hetzner, err := os.ReadFile("../docs/hetzner.md")
	if err != nil {
		t.Fatal(err)
	}
	handedOver := func(path, file string) {
		t.Helper()
		name, inside := strings.CutPrefix(file, credentials+"/")
		if !inside || !bytes.Contains(unit, []byte("\nLoadCredential="+name+":/etc/buoy/"+name+"\n")) {
			t.Errorf("%s reads %s, which buoy.service does not provide: name neither secret_file nor token_file", path, file)
		}
	}
	for _, path := range configurations(t) {
		c := load(t, path)
		handedOver(path, c.SecretFile)
		if do := c.Provider.DigitalOcean; do != nil {
			handedOver(path, do.TokenFile)
		}
		if h := c.Provider.Hetzner; h != nil {
			name := strings.TrimPrefix(h.TokenFile, credentials+"/")
			if !bytes.Contains(hetzner, []byte(" LoadCredential="+name+":/etc/buoy/"+name+"\n")) {
				t.Errorf("%s reads %s, which docs/hetzner.md does not have the unit provide", path, h.TokenFile)
			}
		}
		for _, alert := range c.Alerts {
			name, inside := strings.CutPrefix(alert, "file:"+credentials+"/")
			// Commented out: without the file the unit would not start.
			if !inside || !bytes.Contains(unit, []byte("\n# LoadCredential="+name+":/etc/buoy/"+name+"\n")) {
				t.Errorf("%s reads %s, of which buoy.service says nothing", path, alert)
			}
		}
	}
}

func TestHAProxyTakesItsConfiguration(t *testing.T) {
	out, err := exec.Command(lookPath(t, "haproxy"), "-c", "-f", "haproxy.cfg").CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("[WARNING]")) {
		t.Errorf("haproxy -c: %v\n%s", err, out)
	}
}

// The socket and the monitor that the examples name are the ones that haproxy.cfg opens.
func TestConfigurationsMatchHAProxy(t *testing.T) {
	cfg, err := os.ReadFile("haproxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	check := load(t, "three-node/lb1.yaml").Checks[0].HAProxy
	host, path, _ := strings.Cut(strings.TrimPrefix(check.Monitor, "http://"), "/")
	for _, line := range []string{"stats socket " + check.Socket + " ", "bind " + host + "\n", "monitor-uri /" + path + "\n"} {
		if !strings.Contains(string(cfg), line) {
			t.Errorf("haproxy.cfg has no line with %q", line)
		}
	}
}

// systemd judges the unit as if the program were installed. 1.5 of 10 is what a daemon costs
// that needs the network and a look at the processes of others.
func TestSystemdTakesItsUnit(t *testing.T) {
	analyze := lookPath(t, "systemd-analyze")
	unit, err := os.ReadFile("buoy.service")
	if err != nil {
		t.Fatal(err)
	}
	installed := filepath.Join(t.TempDir(), "buoy.service")
	present := bytes.Replace(unit, []byte("ExecStart=/usr/bin/buoy run"), []byte("ExecStart=/bin/true"), 1)
	if bytes.Equal(unit, present) {
		t.Fatal("the unit does not start /usr/bin/buoy run")
	}
	if err := os.WriteFile(installed, present, 0o600); err != nil {
		t.Fatal(err)
	}
	// It reads the units that this one names, too; their faults are not ours.
	out, err := exec.Command(analyze, "verify", "--man=no", "--recursive-errors=no", installed).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("buoy.service")) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	if out, err := exec.Command(analyze, "security", "--offline=true", "--threshold=15", installed).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

func lookPath(t *testing.T, program string) string {
	t.Helper()
	for _, name := range []string{program, "/usr/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed", program)
	return ""
}
