package examples

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/config"
)

// docs/vrrp.md: its configurations are valid, its links lead somewhere, and every difference
// from keepalived has a story that shows it.
func TestVRRPGuide(t *testing.T) {
	dir := filepath.Join(root, "docs")
	data, err := os.ReadFile(filepath.Join(dir, "vrrp.md"))
	if err != nil {
		t.Fatal(err)
	}
	text, snippets := string(data), 0
	for _, m := range readmeBlock.FindAllStringSubmatch(text, -1) {
		if m[2] != "yaml" {
			continue
		}
		snippets++
		c, err := config.Parse(fmt.Sprintf("docs/vrrp.md, yaml block %d", snippets), []byte(m[3]))
		if err != nil {
			t.Error(err)
		} else if len(c.Warnings) > 0 {
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
	_, differences, _ := strings.Cut(text, "## What differs, and why")
	differences, _, _ = strings.Cut(differences, "\n## ")
	rows := regexp.MustCompile(`(?m)^\| .*\|$`).FindAllString(differences, -1)
	if len(rows) < 5 {
		t.Errorf("%d rows of differences", len(rows))
	}
	for _, row := range rows[1:] {
		if !strings.Contains(row, "../fsm/testdata/") {
			t.Errorf("no story for %s", row)
		}
	}
}

// docs/timing.md: the configurations that it names are what it says.
func TestTimingGuide(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "docs", "timing.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`timing: ([^`]+)` [^|]*\\|").FindAllStringSubmatch(string(data), -1)
	if len(named) != 3 {
		t.Fatalf("%d settings in the table, want 3", len(named))
	}
	example, err := os.ReadFile(filepath.Join(root, "examples", "buoy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range named {
		text := regexp.MustCompile(`(?m)^timing: .*$`).ReplaceAllLiteralString(string(example), "timing: "+m[1])
		c, err := config.Parse("timing: "+m[1], []byte(text))
		if err != nil {
			t.Error(err)
			continue
		}
		row := regexp.MustCompile(`(?m)^\| .timing: ` + regexp.QuoteMeta(m[1]) + `.*$`).FindString(string(data))
		if m[1] == "lan" || m[1] == "wan" {
			for _, d := range []time.Duration{c.Timing.Heartbeat, c.Timing.Election, c.Timing.Lease} {
				if !strings.Contains(strings.ReplaceAll(row, " ", ""), "|"+d.String()+"|") {
					t.Errorf("timing %s has a timer of %v; the guide says %s", m[1], d, row)
				}
			}
		}
	}
}

// Every story is told in the guide, or is about something that VRRP does not know.
func TestVRRPGuideTellsEveryRule(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "docs", "vrrp.md"))
	if err != nil {
		t.Fatal(err)
	}
	stories, err := filepath.Glob(filepath.Join(root, "fsm", "testdata", "*.txt"))
	if err != nil || len(stories) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, story := range stories {
		head, err := os.ReadFile(story)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(story)
		// Of one address or several, and of who only listens, there is nothing to say.
		if name == "claim.txt" || name == "follower.txt" || strings.Contains(string(head), "No counterpart in VRRP") {
			continue
		}
		if !strings.Contains(string(data), "fsm/testdata/"+name) {
			t.Errorf("docs/vrrp.md does not tell of %s", name)
		}
	}
}
