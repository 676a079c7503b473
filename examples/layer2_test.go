package examples

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/buoy-lb/buoy/config"
)

const dropIn = "buoy.service.d/layer2.conf"

// docs/layer2.md: its configurations are valid, its links lead somewhere.
func TestLayer2Guide(t *testing.T) {
	dir := filepath.Join(root, "docs")
	data, err := os.ReadFile(filepath.Join(dir, "layer2.md"))
	if err != nil {
		t.Fatal(err)
	}
	text, snippets := string(data), 0
	for _, m := range readmeBlock.FindAllStringSubmatch(text, -1) {
		if m[2] != "yaml" {
			continue
		}
		snippets++
		c, err := config.Parse(fmt.Sprintf("docs/layer2.md, yaml block %d", snippets), []byte(m[3]))
		if err != nil {
			t.Error(err)
		} else if len(c.Warnings) > 0 || c.Provider.Kind() != "layer2" {
			t.Errorf("%s\n%q", m[3], c.Warnings)
		}
	}
	if snippets == 0 {
		t.Error("no configuration")
	}
	for _, m := range readmeLink.FindAllStringSubmatch(text, -1) {
		if target, _, _ := strings.Cut(m[1], "#"); !strings.Contains(target, "://") {
			if _, err := os.Stat(filepath.Join(dir, target)); err != nil {
				t.Error(err)
			}
		}
	}
}

// systemd takes the unit with the drop-in, and sees the two capabilities and no others.
func TestSystemdTakesTheDropIn(t *testing.T) {
	analyze := lookPath(t, "systemd-analyze")
	dir := t.TempDir()
	unit, err := os.ReadFile("buoy.service")
	if err != nil {
		t.Fatal(err)
	}
	unit = bytes.Replace(unit, []byte("ExecStart=/usr/bin/buoy run"), []byte("ExecStart=/bin/true"), 1)
	extra, err := os.ReadFile(dropIn)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "buoy.service.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"buoy.service": unit, dropIn: extra} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	installed := filepath.Join(dir, "buoy.service")
	out, err := exec.Command(analyze, "verify", "--man=no", "--recursive-errors=no", installed).CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("layer2.conf")) || bytes.Contains(out, []byte("buoy.service")) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err = exec.Command(analyze, "security", "--offline=true", "--threshold=30", "--no-pager", installed).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
	granted := 0
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "CapabilityBoundingSet=~CAP_") && strings.HasPrefix(line, "✗") {
			granted++
			if !strings.Contains(line, "CAP_NET_ADMIN") && !strings.Contains(line, "CAP_NET_(BIND_SERVICE|BROADCAST|RAW)") {
				t.Errorf("granted besides: %s", line)
			}
		}
	}
	if granted != 2 {
		t.Errorf("%d kinds of capabilities are granted, want 2:\n%s", granted, out)
	}
}
