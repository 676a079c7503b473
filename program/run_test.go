package program

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sh(script string, args ...string) []string {
	return append([]string{"/bin/sh", "-c", script, "sh"}, args...)
}

func TestRunPassesArgumentsAndEnvironment(t *testing.T) {
	t.Setenv("INHERITED", "yes")
	out, err := Run(t.Context(), sh(`printf '%s|' "$@" "$ADDED" "$INHERITED"; echo problem >&2`, "a b", `"c"`), []string{"ADDED=x y"})
	if want := `a b|"c"|x y|yes|`; err != nil || out.Stdout != want || out.Stderr != "problem\n" {
		t.Errorf("%q, %v, want %q", out, err, want)
	}
}

func TestRunTellsTheExitStatus(t *testing.T) {
	_, err := Run(t.Context(), sh("exit 3"), nil)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("got %v", err)
	}
	if _, err := Run(t.Context(), []string{"/no/such/program"}, nil); !errors.Is(err, os.ErrNotExist) || !errors.Is(err, ErrNotStarted) {
		t.Errorf("got %v", err)
	}
}

func TestRunKeepsAnUnendingFloodShort(t *testing.T) {
	out, err := Run(t.Context(), sh("head -c 1000000 /dev/zero | tr '\\0' x"), nil)
	if err != nil || len(out.Stdout) != maxOutput {
		t.Errorf("%d bytes, %v", len(out.Stdout), err)
	}
}

// A script and its child both ignore SIGTERM: nothing of them may be left.
func TestRunKillsTheWholeGroup(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := Run(ctx, sh(`trap "" TERM; (trap "" TERM; echo up >&2; while :; do sleep 1; done) & echo $! $$ >"$1.new"; mv "$1.new" "$1"; wait`, pids), nil)
		done <- err
	}()
	family := strings.Fields(await(t, pids))
	cancel()
	if err := <-done; err == nil {
		t.Error("no error for a program that was stopped")
	}
	for _, text := range family {
		pid, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		gone(t, pid)
	}
}

// A child that outlives its program is no reason to wait, and is not left behind.
func TestRunLeavesNoDaemonBehind(t *testing.T) {
	start := time.Now()
	out, err := Run(t.Context(), sh("sleep 300 & echo $!"), nil)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out.Stdout))
	if err != nil {
		t.Fatal(err)
	}
	gone(t, pid)
	if took := time.Since(start); took > 60*time.Second {
		t.Errorf("took %v", took)
	}
}

// await reads path as soon as it is there.
func await(t *testing.T, path string) string {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if data, err := os.ReadFile(path); err == nil {
			return string(data)
		}
	}
	t.Fatalf("%s does not come", path)
	return ""
}

// gone wants pid to have ended; who reaps it may take a moment.
func gone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) || strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	t.Errorf("process %d lives", pid)
}

func TestSummaryIsOnePrintableLine(t *testing.T) {
	if got := Summary("  a\n\tb\x1b[31m\x00c "); got != "a b [31m c" {
		t.Errorf("got %q", got)
	}
	if got := Summary(strings.Repeat("ä", 300)); got != strings.Repeat("ä", 200)+"…" {
		t.Errorf("got %q", got)
	}
}
