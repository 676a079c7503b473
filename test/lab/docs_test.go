package lab

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var faultRow = regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\| (.*) \\|$")

// docs/lab.md lists every fault with its title, in the order of `buoy-lab list`.
func TestDocumentListsTheFaults(t *testing.T) {
	text, err := os.ReadFile("../../docs/lab.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "## The faults")
	list, _, _ = strings.Cut(list, "\n## ")
	var listed, want []string
	for _, m := range faultRow.FindAllStringSubmatch(list, -1) {
		listed = append(listed, m[1]+": "+m[2])
	}
	for _, f := range Faults() {
		want = append(want, f.Key+": "+f.Title)
	}
	if !slices.Equal(listed, want) {
		t.Errorf("docs/lab.md lists\n%s\nwant\n%s", strings.Join(listed, "\n"), strings.Join(want, "\n"))
	}
}

// The bounds that docs/lab.md gives are those of the judge.
func TestDocumentGivesTheBounds(t *testing.T) {
	text, err := os.ReadFile("../../docs/lab.md")
	if err != nil {
		t.Fatal(err)
	}
	s := (&World{system: Buoy{}}).setup()
	for property, bound := range map[string]string{
		"P2": s.Settle.String(), "P3": s.Detect.String(), "P4": s.Repair.String(), "P5": s.Cause.String(), "P6": s.Minority.String(),
	} {
		bound = strings.NewReplacer("s", " s").Replace(bound)
		row := regexp.MustCompile(`(?m)^\| ` + property + ` \|.*$`).FindString(string(text))
		if !strings.Contains(row, bound) {
			t.Errorf("%s is bound by %s; docs/lab.md: %s", property, bound, row)
		}
	}
}
