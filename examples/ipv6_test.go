package examples

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReservedIPv6IsCarried runs the commands of the unit in a network namespace of its own.
func TestReservedIPv6IsCarried(t *testing.T) {
	unit, err := os.ReadFile("reserved-ipv6.service")
	if err != nil {
		t.Fatal(err)
	}
	var address netip.Addr
	for _, ip := range load(t, "both-families.yaml").FloatingIPs {
		if ip.Is6() {
			address = ip
		}
	}
	command := func(key string) string {
		m := regexp.MustCompile(`(?m)^` + key + `=/sbin/(ip .*)$`).FindStringSubmatch(string(unit))
		if m == nil || !strings.Contains(m[1], address.String()+"/128") {
			t.Fatalf("%s does not name the address of both-families.yaml, %s", key, address)
		}
		return m[1]
	}
	start, stop := command("ExecStart"), command("ExecStop")
	unshare := lookPath(t, "unshare")
	lookPath(t, "ip")
	if out, err := exec.Command(unshare, "-rn", "true").CombinedOutput(); err != nil {
		t.Skipf("no network namespace for us: %v %s", err, out)
	}
	// Twice, as after a restart.
	script := start + "\n" + start + "\nip -6 addr show dev lo\necho ---\n" + stop + "\nip -6 addr show dev lo"
	out, err := exec.Command(unshare, "-rn", "sh", "-ec", script).CombinedOutput()
	before, after, _ := strings.Cut(string(out), "---")
	if err != nil || !strings.Contains(before, address.String()+"/128") || strings.Contains(after, address.String()) {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestSystemdTakesTheIPv6Unit(t *testing.T) {
	analyze := lookPath(t, "systemd-analyze")
	unit, err := os.ReadFile("reserved-ipv6.service")
	if err != nil {
		t.Fatal(err)
	}
	installed := filepath.Join(t.TempDir(), "reserved-ipv6.service")
	present := strings.ReplaceAll(string(unit), "/sbin/ip", "/bin/true") // where iproute2 is not installed
	if err := os.WriteFile(installed, []byte(present), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--man=no", "--recursive-errors=no", installed).CombinedOutput()
	if err != nil || strings.Contains(string(out), "reserved-ipv6.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
