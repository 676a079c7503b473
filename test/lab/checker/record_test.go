package checker_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/buoy-lb/buoy/test/lab/checker"
)

func TestSaveAndLoad(t *testing.T) {
	want := good().History
	want.Truth[1].Cut = [][2]string{{"lb1", checker.Cloud}}
	dir := filepath.Join(t.TempDir(), "run", "7")
	if err := checker.Save(dir, want); err != nil {
		t.Fatal(err)
	}
	got, err := checker.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("loaded %+v\nsaved %+v", got, want)
	}
	text, err := os.ReadFile(filepath.Join(dir, "writes.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(text), "\n"); lines != len(want.Writes) {
		t.Errorf("%d lines for %d writes", lines, len(want.Writes))
	}
}

// A record that cannot be read must not pass for a good run.
func TestLoadNamesFileAndLine(t *testing.T) {
	for _, c := range []struct{ name, file, text, want string }{
		{"a misspelt word", "writes.jsonl", "{\"Node\":\"lb1\"}\n\n{\"Nodes\":\"lb2\"}\n", "writes.jsonl:3: "},
		{"a torn line", "truth.jsonl", "{\"At\":1}\n{\"At\":", "truth.jsonl:2: "},
		{"no number", "setup.json", "{\n  \"Setup\": {\n    \"Assign\": \"1s\"\n  }\n}\n", "setup.json:"},
		{"no file", "acks.jsonl", "", "acks.jsonl: no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := checker.Save(dir, good().History); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, c.file)
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if c.text != "" {
				if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := checker.Load(dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}
