package command

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/buoy-lb/buoy/assigner"
)

// place is a folder with bin/assign-ip, a program that does nothing, and a link to it.
func place(t *testing.T) (dir, program string) {
	t.Helper()
	dir = t.TempDir()
	program = filepath.Join(dir, "bin", "assign-ip")
	if err := errors.Join(
		os.Mkdir(filepath.Dir(program), 0o755),
		os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755),
		os.Symlink(program, filepath.Join(dir, "link")),
	); err != nil {
		t.Fatal(err)
	}
	return dir, program
}

// TestRootRunsOnlyItsOwn: refused at the start, and again right before it runs.
func TestRootRunsOnlyItsOwn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be lured; TestOthersMayRunAnything covers everybody else")
	}
	for name, c := range map[string]struct {
		spoil func(dir, program string) error
		wrong string
	}{
		"root's own":                   {func(string, string) error { return nil }, ""},
		"not there":                    {func(_, p string) error { return os.Remove(p) }, ""},
		"written by root's group":      {func(_, p string) error { return os.Chmod(p, 0o775) }, ""},
		"in a sticky directory":        {func(d, _ string) error { return os.Chmod(d, 0o1777|os.ModeSticky) }, ""},
		"written by everybody":         {func(_, p string) error { return os.Chmod(p, 0o757) }, "everybody"},
		"written by a group":           {func(_, p string) error { return errors.Join(os.Chown(p, 0, 50), os.Chmod(p, 0o775)) }, "group 50"},
		"another's":                    {func(_, p string) error { return os.Chown(p, 1000, 0) }, "user 1000"},
		"in everybody's directory":     {func(_, p string) error { return os.Chmod(filepath.Dir(p), 0o777) }, "everybody"},
		"in another's directory":       {func(d, _ string) error { return os.Chown(d, 1000, 0) }, "user 1000"},
		"through a link of another's":  {func(d, _ string) error { return os.Lchown(filepath.Join(d, "link"), 1000, 0) }, "user 1000"},
		"through a link to everyone's": {func(_, p string) error { return os.Chmod(p, 0o777) }, "everybody"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, program := place(t)
			if strings.Contains(name, "link") {
				program = filepath.Join(dir, "link")
			}
			p := newProvider(t, Options{Claim: []string{program}, Holder: []string{program}})
			if err := c.spoil(dir, filepath.Join(dir, "bin", "assign-ip")); err != nil {
				t.Fatal(err)
			}
			var unsafe *ProgramError
			for what, o := range map[string]Options{
				"claim": {Claim: []string{program}}, "holder": {Claim: []string{"/bin/true"}, Holder: []string{program}},
			} {
				o.Instance = "lb1"
				_, err := New(o)
				if errors.As(err, &unsafe) != (c.wrong != "") || (err != nil && !strings.Contains(err.Error(), c.wrong)) {
					t.Errorf("%s: New: %v; want %q", what, err, c.wrong)
				}
			}
			_, err := p.Claim(t.Context(), ip, yes)
			var e *assigner.Error
			if c.wrong != "" && (!errors.As(err, &unsafe) || !errors.As(err, &e) || e.Class != assigner.Own) {
				t.Errorf("Claim: %v; want it refused, as an own fault", err)
			}
			if c.wrong == "" && name != "not there" && err != nil {
				t.Errorf("Claim: %v", err)
			}
		})
	}
}

func TestOthersMayRunAnything(t *testing.T) {
	_, program := place(t)
	if err := os.Chmod(program, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := trusted(program); (err != nil) != (os.Geteuid() == 0) {
		t.Errorf("user %d: %v", os.Geteuid(), err)
	}
}
