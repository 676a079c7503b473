package variant

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../../.."

func TestVariantsCompile(t *testing.T) {
	names := map[string]bool{}
	for _, v := range append(Mutants(), SteppedClock(), Next()) {
		t.Run(v.Name, func(t *testing.T) {
			if names[v.Name] || v.Name == "" || v.Breaks == "" || v.Scene == "" {
				t.Errorf("incomplete, or its name is taken: %+v", v)
			}
			names[v.Name] = true
			if _, err := Apply(t.Context(), v, root, t.TempDir()); err != nil {
				t.Fatal(err)
			}
			if testing.Short() {
				t.Skip("not compiled with -short")
			}
			if err := Build(t.Context(), v, root, os.DevNull); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestEveryPropertyHasAMutant(t *testing.T) {
	caught := map[string]bool{}
	for _, v := range Mutants() {
		caught[v.Property] = true
	}
	// P8 has none: the daemon has no hand in HAProxy, and none that lets go of the address.
	for _, p := range []string{"P1", "P2", "P3", "P4", "P5", "P6", "P7"} {
		if !caught[p] {
			t.Errorf("no mutant breaks %s", p)
		}
		delete(caught, p)
	}
	if len(caught) > 0 {
		t.Errorf("unknown properties: %v", caught)
	}
}

// module makes a tiny module in which a main prints what edits are about.
func module(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for file, text := range map[string]string{
		"go.mod":           "module tiny\n\ngo 1.26\n",
		"cmd/buoy/main.go": "package main\n\nfunc main() { println(\"one\", \"two\", \"two\") }\n",
	} {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAnEditMustFindItsTextOnce(t *testing.T) {
	const file = "cmd/buoy/main.go"
	for _, c := range []struct {
		name    string
		variant Variant
		want    []string // in the error
	}{
		{"missing", Variant{Edits: []Edit{{file, `"three"`, ""}}}, []string{file, "0 times", `three`}},
		{"twice", Variant{Edits: []Edit{{file, `"two"`, ""}}}, []string{file, "2 times", `two`}},
		{"gone by an earlier edit", Variant{Edits: []Edit{{file, `"one"`, `"1"`}, {file, `"one"`, `"eins"`}}}, []string{"0 times"}},
		{"no text", Variant{Edits: []Edit{{file, "", "x"}}}, []string{file, "none"}},
		{"no change", Variant{Edits: []Edit{{file, `"one"`, `"one"`}}}, []string{file, "none"}},
		{"no such file", Variant{Edits: []Edit{{"fsm/gone.go", "a", "b"}}}, []string{"fsm/gone.go", "no such file"}},
		{"no such file of Go", Variant{Edits: []Edit{{"GOROOT/src/gone.go", "a", "b"}}}, []string{"GOROOT/src/gone.go"}},
		{"outside", Variant{Edits: []Edit{{"../x.go", "a", "b"}}}, []string{"../x.go", "not a path below"}},
		{"added over another", Variant{Add: map[string]string{file: "package main"}}, []string{file, "exists"}},
		{"nothing", Variant{}, []string{"changes nothing"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.variant.Name = "mutant-x"
			err := Build(t.Context(), c.variant, module(t), filepath.Join(t.TempDir(), "out"))
			if err == nil {
				t.Fatal("it was built")
			}
			for _, want := range append(c.want, "variant mutant-x: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q, want %q in it", err, want)
				}
			}
		})
	}
}

func TestAVariantIsBuiltBesideTheModule(t *testing.T) {
	const file = "cmd/buoy/main.go"
	v := Variant{
		Name:  "mutant-x",
		Edits: []Edit{{file, `"one"`, `"1"`}, {file, `"1", "two"`, `added, "2"`}},
		Add:   map[string]string{"cmd/buoy/added.go": "package main\n\nconst added = \"eins\"\n"},
	}
	dir, out := module(t), filepath.Join(t.TempDir(), "out")
	before, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	if err := Build(t.Context(), v, dir, out); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command(out).CombinedOutput(); err != nil || string(said) != "eins 2 two\n" {
		t.Errorf("it says %q, %v", said, err)
	}
	after, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil || string(after) != string(before) {
		t.Errorf("the module has changed: %q, %v", after, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "cmd/buoy/added.go")); err == nil {
		t.Error("the added file is in the module")
	}
}

func TestABuildThatFailsSaysWhy(t *testing.T) {
	v := Variant{Name: "mutant-x", Edits: []Edit{{"cmd/buoy/main.go", `"one"`, `undefined`}}}
	err := Build(t.Context(), v, module(t), os.DevNull)
	if err == nil || !strings.Contains(err.Error(), "undefined: undefined") || !strings.Contains(err.Error(), "mutant-x") {
		t.Errorf("error %v", err)
	}
}
