package healthcheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asUser runs f on a thread without root's right to open any file. Without
// root there is nothing to give up.
func asUser(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	runtime.LockOSThread() // capabilities belong to the thread
	defer runtime.UnlockOSThread()
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have, less [2]unix.CapUserData
	if err := unix.Capget(&hdr, &have[0]); err != nil {
		t.Fatal(err)
	}
	for i, c := range have {
		less[i].Permitted, less[i].Inheritable = c.Permitted, c.Inheritable
	}
	if err := unix.Capset(&hdr, &less[0]); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Capset(&hdr, &have[0]); err != nil {
			t.Error(err)
		}
	}()
	f()
}

func within(t *testing.T, d time.Duration, c Checker) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	return c.Check(ctx)
}

func TestHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) {
		for range 100 {
			_, _ = w.Write(make([]byte, 64<<10))
		}
	})
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	srv := httptest.NewServer(mux)
	defer srv.Close()
	closed := httptest.NewServer(nil)
	closed.Close()
	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts (the kernel does), never answers
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()

	for _, c := range []struct {
		name, url string
		status    []int
		timeout   time.Duration
		want      State
		output    string
	}{
		{"2xx", srv.URL + "/ok", nil, 5 * time.Second, Good, "status 204"},
		{"a redirect is not followed", srv.URL + "/moved", nil, 5 * time.Second, Hard, "status 302"},
		{"a redirect may be wanted", srv.URL + "/moved", []int{301, 302}, 5 * time.Second, Good, "status 302"},
		{"not found", srv.URL + "/none", nil, 5 * time.Second, Hard, "status 404"},
		{"an endless body is cut", srv.URL + "/big", nil, 5 * time.Second, Good, "status 200"},
		{"slow", srv.URL + "/slow", nil, 30 * time.Millisecond, Hard, "no answer within the timeout"},
		{"mute", "http://" + mute.Addr().String(), nil, 30 * time.Millisecond, Hard, "no answer within the timeout"},
		{"closed", closed.URL, nil, 5 * time.Second, Hard, "connection refused"},
		{"other scheme", "ftp://127.0.0.1/", nil, 5 * time.Second, Hard, "want http or https"},
	} {
		r := within(t, c.timeout, HTTP{URL: c.url, Status: c.status})
		if r.State != c.want || !strings.Contains(r.Output, c.output) {
			t.Errorf("%s: %v %q, want %v %q", c.name, r.State, r.Output, c.want, c.output)
		}
	}
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if r := within(t, 5*time.Second, TCP{address}); r.State != Good {
		t.Errorf("listening: %+v", r)
	}
	l.Close()
	if r := within(t, 5*time.Second, TCP{address}); r.State != Hard || !strings.Contains(r.Output, "refused") {
		t.Errorf("closed: %+v", r)
	}
}

func TestCommandResults(t *testing.T) {
	for _, c := range []struct {
		name   string
		argv   []string
		want   State
		output string
	}{
		{"exit 0", []string{"sh", "-c", "echo all well"}, Good, "all well"},
		{"exit 3", []string{"sh", "-c", "echo sick >&2; exit 3"}, Hard, "sh: exit status 3: sick"},
		{"killed", []string{"sh", "-c", "kill -9 $$"}, Hard, "sh: signal: killed"},
		{"missing", []string{"/nonexistent/check"}, Hard, "start /nonexistent/check"},
		{"a child keeps the output open", []string{"sh", "-c", "sleep 1 & echo left one"}, Good, "left one"},
		{"no standard input", []string{"sh", "-c", "read x && exit 1; exit 0"}, Good, ""},
		{"endless output", []string{"sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x"}, Good, strings.Repeat("x", 100)},
		{"control characters", []string{"printf", "a\\033[31mb\\r\\nc"}, Good, "a [31mb"},
	} {
		r := within(t, 20*time.Second, NewCommand(c.argv))
		out := oneLine(r.Output)
		if r.State != c.want || !strings.HasPrefix(out, c.output) || len(out) > maxOutput {
			t.Errorf("%s: %v %q, want %v %q", c.name, r.State, out, c.want, c.output)
		}
	}
}

// A script and the program that it started end together at the timeout.
func TestCommandTimeoutKillsTheGroup(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	c := NewCommand([]string{"sh", "-c", "sh -c 'trap \"\" TERM; echo $$ > " + pidFile + "; sleep 300' & wait"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan Result, 1)
	go func() { result <- c.Check(ctx) }()
	eventually(t, "the grandchild has started", func() bool {
		data, _ := os.ReadFile(pidFile)
		return strings.HasSuffix(string(data), "\n")
	})
	cancel()
	if r := <-result; r.State != Hard || r.Cause != "timeout" {
		t.Fatalf("got %+v", r)
	}
	data, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the grandchild, which ignores SIGTERM, has ended", func() bool {
		st, err := readStat(pid)
		return err != nil || st.zombie
	})
}

func TestCommandThatDoesNotEndKeepsFailing(t *testing.T) {
	c := NewCommand([]string{"sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"})
	if r := within(t, 100*time.Millisecond, c); r.Cause != "timeout" {
		t.Fatalf("got %+v", r)
	}
	first := c.last.pid()
	if r := within(t, 20*time.Second, c); r.State != Hard || r.Cause != "stuck" || !strings.Contains(r.Output, strconv.Itoa(first)) {
		t.Errorf("while it ignores SIGTERM: %+v", r)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if !c.last.over() {
		t.Error("Close returned before the program had ended")
	}
}

// sleeper starts a process under a name of its own.
func sleeper(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o700); err != nil {
		t.Fatal(err)
	}
	var cmd *exec.Cmd
	eventually(t, name+" has started", func() bool {
		cmd = exec.Command(path, "300")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		err := cmd.Start()
		if err != nil && !errors.Is(err, syscall.ETXTBSY) { // busy: a fork elsewhere in this program has the file open
			t.Fatal(err)
		}
		return err == nil
	})
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	eventually(t, name+" has its name", func() bool {
		st, err := readStat(cmd.Process.Pid)
		return err == nil && st.comm == name[:min(len(name), maxComm)]
	})
	return cmd
}

func TestProcessDeathIsAnEvent(t *testing.T) {
	name := fmt.Sprintf("bsleep-%d-long", os.Getpid()) // more than 15 bytes
	p := NewProcess(name, "")
	defer p.Close()
	if r := p.Check(t.Context()); r.State != Hard || r.Now || !strings.Contains(r.Output, name[:maxComm]) {
		t.Fatalf("before the start: %+v", r)
	}
	cmd := sleeper(t, name)
	if r := p.Check(t.Context()); r.State != Good || r.Output != fmt.Sprintf("process %d lives", cmd.Process.Pid) {
		t.Fatalf("running: %+v", r)
	}
	_ = cmd.Process.Kill() // and not reaped: a zombie keeps its name and is dead
	select {
	case <-p.Events():
	case <-time.After(20 * time.Second):
		t.Fatal("no event")
	}
	if r := p.Check(t.Context()); r.State != Hard || !r.Now || r.Begin.IsZero() {
		t.Errorf("killed: %+v, want certain", r)
	}
	sleeper(t, name)
	if r := p.Check(t.Context()); r.State != Good {
		t.Errorf("a new one: %+v", r)
	}
}

func TestProcessByPIDFile(t *testing.T) {
	cmd := sleeper(t, "bpidfile")
	file := filepath.Join(t.TempDir(), "pid")
	for _, c := range []struct {
		name, content, want string
		state               State
	}{
		{"", strconv.Itoa(cmd.Process.Pid) + "\n", "lives", Good},
		{"bpidfile", strconv.Itoa(cmd.Process.Pid), "lives", Good},
		{"other", strconv.Itoa(cmd.Process.Pid), `is "bpidfile", want "other"`, Hard},
		{"", "none", `found "none", want one number`, Hard},
		{"", "", `found ""`, Hard},
		{"", "99999999", "no process 99999999", Hard},
	} {
		if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		p := NewProcess(c.name, file)
		if r := p.Check(t.Context()); r.State != c.state || !strings.Contains(r.Output, c.want) {
			t.Errorf("%q in the file, name %q: %v %q, want %v %q", c.content, c.name, r.State, r.Output, c.state, c.want)
		}
		p.Close()
	}
	p := NewProcess("", file+".none")
	if r := p.Check(t.Context()); r.State != Hard || !strings.Contains(r.Output, file+".none") {
		t.Errorf("no file: %+v", r)
	}
}
