package examples

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/buoy-lb/buoy/config"
)

const root = ".."

var (
	readmeBlock = regexp.MustCompile("(?ms)^( *)```(\\w*)\n(.*?)^ *```$")
	readmeSpan  = regexp.MustCompile("`([^`\n]+)`")
	readmeLink  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	makeTarget  = regexp.MustCompile(`(?m)^([a-z]+):`)
)

// readme is the README, cut into fenced blocks by language and the text around them.
func readme(t *testing.T) (text string, blocks map[string][]string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks = map[string][]string{}
	for _, m := range readmeBlock.FindAllStringSubmatch(string(data), -1) {
		blocks[m[2]] = append(blocks[m[2]], m[3])
	}
	return readmeBlock.ReplaceAllString(string(data), ""), blocks
}

// readmeCommands are the lines that the README tells to type, in blocks and in spans that
// name a command, cut at pipes and lists, without comments.
func readmeCommands(t *testing.T) []string {
	t.Helper()
	text, blocks := readme(t)
	var typed []string
	for _, block := range blocks["sh"] {
		typed = append(typed, strings.Split(block, "\n")...)
	}
	for _, m := range readmeSpan.FindAllStringSubmatch(text, -1) {
		typed = append(typed, m[1])
	}
	for _, block := range blocks[""] {
		for line := range strings.Lines(block) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				typed = append(typed, command)
			}
		}
	}
	var commands []string
	for _, line := range typed {
		line, _, _ = strings.Cut(line, "#")
		for _, command := range regexp.MustCompile(`&&|[|;>()]`).Split(line, -1) {
			commands = append(commands, strings.TrimSpace(command))
		}
	}
	return commands
}

func TestReadmeConfigurationsAreValid(t *testing.T) {
	_, blocks := readme(t)
	if len(blocks["yaml"]) == 0 {
		t.Error("no configuration in the README")
	}
	for i, block := range blocks["yaml"] {
		c, err := config.Parse(fmt.Sprintf("README.md, yaml block %d", i+1), []byte(block))
		if err != nil {
			t.Error(err)
		} else if len(c.Warnings) > 0 {
			t.Errorf("%s\n%q", block, c.Warnings)
		}
	}
}

// Every command of buoy that the README names exists, with the flags it is shown with, and
// none that exists is left out.
func TestReadmeCommandsExist(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "buoy")
	build := exec.Command("go", "build", "-o", binary, "./cmd/buoy")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	help, err := exec.Command(binary, "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	exists := map[string]bool{}
	_, list, _ := strings.Cut(string(help), "Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	for line := range strings.Lines(list) {
		exists[strings.Fields(line)[0]] = true
	}
	named := map[string]bool{}
	for _, command := range readmeCommands(t) {
		words := strings.Fields(command)
		if len(words) < 2 || strings.TrimPrefix(words[0], "bin/") != "buoy" {
			continue
		}
		if named[words[1]] = true; !exists[words[1]] {
			t.Errorf("%s: there is no such command", command)
			continue
		}
		help, err := exec.Command(binary, words[1], "--help").Output()
		if err != nil {
			t.Errorf("%s: %v", command, err)
		}
		for _, word := range words[2:] {
			if strings.HasPrefix(word, "--") && !bytes.Contains(help, []byte(word+" ")) {
				t.Errorf("%s: no flag %s", command, word)
			}
		}
	}
	for name := range exists {
		if !named[name] {
			t.Errorf("the README does not name buoy %s", name)
		}
	}
}

func TestReadmeMakeTargetsExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	var targets, named []string
	for _, m := range makeTarget.FindAllStringSubmatch(string(makefile), -1) {
		targets = append(targets, m[1])
	}
	for _, command := range readmeCommands(t) {
		if words := strings.Fields(command); len(words) > 1 && words[0] == "make" {
			named = append(named, words[1])
		}
	}
	for _, name := range named {
		if !slices.Contains(targets, name) {
			t.Errorf("the Makefile has no target %s", name)
		}
	}
	for _, name := range []string{"demo", "test"} {
		if !slices.Contains(named, name) {
			t.Errorf("the README does not name make %s", name)
		}
	}
}

func TestReadmeLinksLeadSomewhere(t *testing.T) {
	text, _ := readme(t)
	for _, m := range readmeLink.FindAllStringSubmatch(text, -1) {
		target, fragment, _ := strings.Cut(m[1], "#")
		switch {
		case strings.Contains(target, "://"): // no network here
		case target == "":
			heading := regexp.MustCompile(`(?mi)^#+ ` + strings.ReplaceAll(regexp.QuoteMeta(fragment), "-", "[ -]") + `$`)
			if !heading.MatchString(text) {
				t.Errorf("no heading for %s", m[1])
			}
		default:
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Error(err)
			}
		}
	}
}
