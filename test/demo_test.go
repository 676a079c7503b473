package test

import (
	"bufio"
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

// demoCommand is `buoy demo` with its files in a folder of its own, by which everything
// that it leaves behind can be found. A test that fails shows what the demo complained of.
func demoCommand(t *testing.T, args ...string) (cmd *exec.Cmd, dir string) {
	t.Helper()
	if sandbox.FindHAProxy() == "" {
		t.Skip(sandbox.ErrNoHAProxy)
	}
	binary, err := releaseBinary()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	cmd = exec.CommandContext(t.Context(), binary, append([]string{"demo"}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	stderr := new(bytes.Buffer)
	cmd.Stderr = stderr
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("standard error of buoy demo:\n%s", stderr)
		}
	})
	return cmd, dir
}

// processesOf lists the processes whose command line names dir.
func processesOf(t *testing.T, dir string) (found []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err == nil && bytes.Contains(line, []byte(dir)) { // an error: it has just ended
			found = append(found, string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return found
}

// noProcesses waits until nothing is left running; what has been killed may take a
// moment to go.
func noProcesses(t *testing.T, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	err := sandbox.Poll(ctx, "all processes to end", func(context.Context) error {
		if left := processesOf(t, dir); len(left) > 0 {
			return fmt.Errorf("%d are left: %q", len(left), left)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestDemoRecoversFromEverything(t *testing.T) {
	cmd, dir := demoCommand(t)
	out, err := cmd.Output()
	text := string(out)
	t.Logf("buoy demo:\n%s", text)
	if err != nil {
		t.Fatalf("buoy demo: %v", err)
	}
	for _, want := range []string{
		"buoy init on lb1", "lb1 holds 203.0.113.10",
		"kill -9 HAProxy on lb1", "kill -9 the buoy daemon on lb1", "a script moves the address", "buoy transfer lb2",
		"every step recovered",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no line says %q", want)
		}
	}
	if steps, stages := strings.Count(text, "holds the address after"), strings.Count(text, " + elect "); steps != 6 || stages != 6 {
		t.Errorf("%d steps and %d lines of stages, want 6 of each", steps, stages)
	}
	if strings.Contains(text, "\x1b") {
		t.Error("control characters where there is no terminal")
	}
	noProcesses(t, dir)
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
}

// A demo that is ended midway, politely or not, takes its processes with it.
func TestDemoLeavesNothingRunning(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd, dir := demoCommand(t)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for lines := bufio.NewScanner(stdout); lines.Scan(); {
				t.Log(lines.Text())
				if !strings.Contains(lines.Text(), "lb1 holds") {
					continue
				}
				if running := processesOf(t, dir); len(running) != 6 {
					t.Errorf("%d processes, want 3 daemons and 3 HAProxies: %q", len(running), running)
				}
				if err := cmd.Process.Signal(sig); err != nil {
					t.Error(err)
				}
			}
			var exit *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) || sig != syscall.SIGKILL && exit.ExitCode() != 1 {
				t.Errorf("ended with %v, want exit code 1", err)
			}
			noProcesses(t, dir)
			if left, _ := os.ReadDir(dir); sig != syscall.SIGKILL && len(left) > 0 {
				t.Errorf("files are left: %v", left)
			}
		})
	}
}

// With --keep the world stays as it is until Ctrl-C, which is then no failure.
func TestDemoKeep(t *testing.T) {
	cmd, dir := demoCommand(t, "--keep")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	began, interrupted := time.Now(), false
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		t.Log(lines.Text())
		if _, url, ok := strings.Cut(lines.Text(), "curl -i "); ok {
			t.Logf("kept after %v", time.Since(began))
			if out, err := exec.CommandContext(t.Context(), "curl", "-sSi", url).CombinedOutput(); err != nil || !bytes.Contains(bytes.ToLower(out), []byte("x-served-by: lb2")) {
				t.Errorf("the printed command answers %v, %s", err, out)
			}
			interrupted = true
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil || !interrupted {
		t.Errorf("ended with %v (interrupted %v), want exit code 0 after Ctrl-C", err, interrupted)
	}
	noProcesses(t, dir)
}
