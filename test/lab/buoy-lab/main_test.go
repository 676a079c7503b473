package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
)

// bound is for a busy machine: what takes longer hangs.
const bound = 3 * time.Minute

// needLab skips a test that needs what only root has.
func needLab(t *testing.T) {
	t.Helper()
	switch {
	case testing.Short():
		t.Skip("starts daemons: not with -short")
	case os.Geteuid() != 0:
		t.Skip("needs root: it makes network namespaces")
	case sandbox.FindHAProxy() == "":
		t.Skip(sandbox.ErrNoHAProxy)
	}
	for _, tool := range []string{"mkfs.ext4", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip(err)
	}
}

// programs builds buoy and buoy-lab beside one another.
func programs(t *testing.T) (labPath string) {
	t.Helper()
	dir := t.TempDir()
	for name, pkg := range map[string]string{"buoy": "../../../cmd/buoy", "buoy-lab": ".", "assign-ip": "../assign-ip"} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, name), pkg)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return filepath.Join(dir, "buoy-lab")
}

func command(t *testing.T, path string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = t.TempDir() // for the record of a failure
	// The lab hands the signal on: kill -9 here would leave it without one.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	out := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

// One fault, and the judge is content; then a broken daemon, and it is not.
func TestLabJudges(t *testing.T) {
	needLab(t)
	path := programs(t)
	cmd, out := command(t, path, "run", "haproxy-killed", "drift")
	if err := cmd.Run(); err != nil {
		t.Errorf("buoy-lab run: %v", err)
	}
	t.Logf("%s", out)
	for _, want := range []string{"HAProxy killed (-9)", "no rule broken", "2 faults in", "all as it has to be"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nothing says %q", want)
		}
	}

	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	cmd, out = command(t, path, "mutants", "--root", root, "claim-without-ticket")
	if err := cmd.Run(); err != nil {
		t.Errorf("buoy-lab mutants: %v", err)
	}
	t.Logf("%s", out)
	for _, want := range []string{"caught: P1", "the true daemon: no rule broken"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("nothing says %q", want)
		}
	}
}

// The benchmark measures a system of each kind and writes the report.
func TestBenchReports(t *testing.T) {
	needLab(t)
	if _, err := exec.LookPath("keepalived"); err != nil {
		t.Skip(err)
	}
	path := programs(t)
	docs := t.TempDir()
	cmd, out := command(t, path, "bench", "--trials", "2", "--transfers", "2", "--faults", "haproxy-killed,transfer", "--systems", "buoy,tuned",
		"--quiet", "1s", "--load", "1s", "--docs", docs, "--results", filepath.Join(docs, "results.json"))
	if err := cmd.Run(); err != nil {
		t.Errorf("buoy-lab bench: %v", err)
	}
	t.Logf("%s", out)
	for file, wants := range map[string][]string{
		"benchmarks.md":  {"| HAProxy killed", "| buoy transfer, back and forth | 2 | "},
		"benchmarks.svg": {"keepalived well tuned"},
		"results.json":   {`"fault": "haproxy-killed"`},
	} {
		text, err := os.ReadFile(filepath.Join(docs, file))
		for _, want := range wants {
			if err != nil || !bytes.Contains(text, []byte(want)) {
				t.Errorf("%s: %v, want %q in\n%s", file, err, want, text)
			}
		}
	}
}

// Whatever way a lab ends, nothing of it is left, and the next one starts clean.
func TestLabLeavesNothing(t *testing.T) {
	needLab(t)
	path := programs(t)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			before := leftovers(t, path)
			cmd, out := command(t, path, "run", "haproxy-hung", "haproxy-hung", "haproxy-hung")
			cmd.Stdout, cmd.Stderr = nil, nil
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 4096)
			for !strings.Contains(out.String(), "hung (SIGSTOP)") {
				n, err := stdout.Read(buf)
				out.Write(buf[:n])
				if err != nil {
					t.Fatalf("it ended too early: %v\n%s", err, out)
				}
			}
			if during := leftovers(t, path); len(during) <= len(before) {
				t.Errorf("the lab runs nothing: %v", during)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("a lab that was ended says that all is well")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			err = sandbox.Poll(ctx, "everything to be gone", func(context.Context) error {
				if left := leftovers(t, path); len(left) > len(before) {
					return errors.New(strings.Join(left, "\n"))
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// leftovers are the processes of a lab, the named network namespaces, the lab's mounts,
// and the loop devices of its disks, as the rest of the machine sees them.
func leftovers(t *testing.T, path string) (found []string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range lines {
		text, err := os.ReadFile(file)
		line := strings.ReplaceAll(string(text), "\x00", " ")
		if err == nil && (strings.Contains(line, "/run/buoy-lab/") || strings.HasPrefix(line, path)) { // an error: it has just ended
			found = append(found, line)
		}
	}
	for _, pattern := range []string{"/run/netns/lb*", "/run/buoy-lab/*"} {
		names, _ := filepath.Glob(pattern)
		found = append(found, names...)
	}
	loops, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, file := range loops {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), "buoy-lab-disk") {
			found = append(found, fmt.Sprintf("%s: %s", file, strings.TrimSpace(string(text))))
		}
	}
	return found
}

func TestCommandLine(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	for _, c := range []struct {
		args []string
		code int
		want string // in what it prints
	}{
		{[]string{"list"}, 0, "haproxy-killed"},
		{[]string{"run", "earthquake"}, 2, `no fault "earthquake"`},
		{[]string{"run", "--how"}, 2, "unknown flag: --how"},
		{[]string{"check"}, 2, "accepts 1 arg(s)"},
		{[]string{"check", absent}, 1, absent},
		{[]string{"report", absent}, 1, absent},
	} {
		cmd := root()
		out := new(bytes.Buffer)
		cmd.SetOut(out)
		cmd.SetErr(out)
		cmd.SetArgs(c.args)
		if code := run(t.Context(), cmd); code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("buoy-lab %s: status %d, %q; want %d, %q", strings.Join(c.args, " "), code, out, c.code, c.want)
		}
	}
}
