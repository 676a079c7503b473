package healthcheck

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestVerdictTable(t *testing.T) {
	socket := map[string]socketLook{
		"ok":       {answer: answered, info: info{pid: 7}, text: "process 7 answers"},
		"stopping": {answer: answered, info: info{pid: 7, stopping: true}},
		"refused":  {answer: refused, text: "socket refused"},
		"silent":   {answer: silent, text: "socket silent"},
		"denied":   {answer: denied, text: "socket denied"},
	}
	monitor := map[string]monitorLook{
		"none":    {},
		"200":     {asked: true, answer: answered, status: 200},
		"503":     {asked: true, answer: answered, status: 503},
		"404":     {asked: true, answer: answered, status: 404},
		"refused": {asked: true, answer: refused, text: "refused"},
		"silent":  {asked: true, answer: silent, text: "silent"},
		"full":    {asked: true, answer: silent, full: true, text: "100 of 100"},
	}
	for _, row := range strings.Split(strings.TrimSpace(`
ok        none     good
ok        200      good
ok        503      soft no backends
ok        404      hard data path
ok        refused  hard data path
ok        silent   hard data path, again
ok        full     soft saturated
stopping  none     hard stopping
stopping  200      hard stopping
stopping  503      hard stopping
stopping  silent   hard stopping
refused   none     hard gone, again
refused   200      soft stats socket
refused   503      soft no backends
refused   404      hard data path
refused   refused  hard gone, again
refused   silent   hard hung, again
silent    none     hard hung, again
silent    200      soft stats socket
silent    503      soft no backends
silent    404      hard data path
silent    refused  hard hung, again
silent    silent   hard hung, again
denied    none     hard gone, again
denied    200      soft stats socket
denied    503      soft no backends
denied    refused  hard gone, again
denied    silent   hard hung, again`), "\n") {
		f := strings.Fields(row)
		want := strings.Join(f[2:], " ")
		r := judge(socket[f[0]], monitor[f[1]], -20)
		got := strings.TrimSpace(r.State.String() + " " + r.Cause)
		if r.Again > 0 {
			got += ", again"
		}
		if got != want {
			t.Errorf("socket %s, monitor %s: %s, want %s", f[0], f[1], got, want)
		}
		if (r.Weight != 0) != (r.Cause == causeBackends) {
			t.Errorf("socket %s, monitor %s: soft weight %d: only missing backends have one", f[0], f[1], r.Weight)
		}
		if s := socket[f[0]].text; r.State != Good && s != "" && f[0] != "ok" && r.Cause != causeBackends && r.Cause != causeDataPath && !strings.Contains(r.Output, s) {
			t.Errorf("socket %s, monitor %s: output %q hides why the socket failed", f[0], f[1], r.Output)
		}
	}
}

// fakeSocket is a statistics socket that answers each connection with the next
// reply; "" closes it without one, "hang" keeps it waiting.
func fakeSocket(t *testing.T, replies ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			reply := replies[min(i, len(replies)-1)]
			if reply == "hang" {
				continue // until the test ends
			}
			_, _ = conn.Read(make([]byte, 100))
			_, _ = io.WriteString(conn, reply)
			conn.Close()
		}
	}()
	return path
}

func showInfoReply(pid, stopping int) string {
	return fmt.Sprintf("Name: HAProxy\nPid: %d\nMaxconn: 100\nCurrConns: 3\nStopping: %d\n\n", pid, stopping)
}

func checkOnce(t *testing.T, h *HAProxy) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
	defer cancel()
	return h.Check(ctx)
}

func TestSocketAnswers(t *testing.T) {
	self := os.Getpid()
	for name, c := range map[string]struct {
		replies []string
		want    string
	}{
		"fine":                            {[]string{showInfoReply(self, 0)}, "good "},
		"stopping, then a successor":      {[]string{showInfoReply(1, 1), showInfoReply(1, 1), showInfoReply(self, 0)}, "good "},
		"stopping to the end":             {[]string{showInfoReply(1, 1)}, "hard stopping"},
		"stopping, then gone":             {[]string{showInfoReply(1, 1), ""}, "hard gone"},
		"closes without a word":           {[]string{""}, "hard gone"},
		"hangs":                           {[]string{"hang"}, "hard hung"},
		"something else answers":          {[]string{"220 smtp ready\r\n"}, "hard gone"},
		"a number that is none":           {[]string{"Pid: seven\n"}, "hard gone"},
		"a process number that is absurd": {[]string{showInfoReply(-1, 0)}, "hard gone"},
	} {
		t.Run(name, func(t *testing.T) {
			h := NewHAProxy(fakeSocket(t, c.replies...), "", 0)
			defer h.Close()
			r := checkOnce(t, h)
			if got := r.State.String() + " " + r.Cause; got != c.want {
				t.Errorf("%s (%s), want %s", got, r.Output, c.want)
			}
		})
	}
}

func TestMissingSocketSaysWhatToDo(t *testing.T) {
	dead := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false) // as after kill -9
	l.Close()
	for path, reason := range map[string]string{"/nonexistent/haproxy.sock": "no such file or directory", dead: "connection refused"} {
		r := checkOnce(t, NewHAProxy(path, "", 0))
		want := "gone: stats socket " + path + ": " + reason + ": is HAProxy running? Its `stats socket` line must name this path"
		if r.State != Hard || r.Now || r.Output != want {
			t.Errorf("got %+v, want %s", r, want)
		}
	}
}

// The longest path that a unix socket can have (unix(7)) leaves room for the remedy.
func TestRemedyIsNotCutOff(t *testing.T) {
	path := "/" + strings.Repeat("p", 106)
	for _, err := range []error{unix.ENOENT, unix.EACCES, unix.ECONNREFUSED} {
		r := judge(socketLook{text: "stats socket " + path + ": " + remedy(err)}, monitorLook{}, 0)
		if oneLine(r.Output) != r.Output {
			t.Errorf("cut off: %s", oneLine(r.Output))
		}
	}
}

func TestUnreadableSocketSaysWhatToDo(t *testing.T) {
	path := fakeSocket(t, showInfoReply(os.Getpid(), 0))
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	var look socketLook
	asUser(t, func() { look = lookSocket(t.Context(), path) })
	r := judge(look, monitorLook{}, 0)
	if r.State != Hard || !strings.Contains(r.Output, path) || !strings.Contains(r.Output, "add buoy to the group haproxy") {
		t.Errorf("got %+v", r)
	}
}

func TestFullBacklogIsSilenceNotRefusal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil { // room for one connection
		t.Fatal(err)
	}
	waiting, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	h := NewHAProxy(path, "", 0)
	if r := checkOnce(t, h); r.Cause != causeHung {
		t.Errorf("got %+v, want hung", r)
	}
}

// TestSilenceAfterFullIsLoad: connections are free again, and the monitor's request is
// still in the queue.
func TestSilenceAfterFullIsLoad(t *testing.T) {
	h := NewHAProxy("unused", "http://unused/", 0)
	ok := socketLook{answer: answered}
	full := socketLook{answer: answered, info: info{currConns: 10, maxConn: 10}}
	quiet := monitorLook{asked: true, answer: silent, text: "no answer"}
	now := time.Now()
	for _, step := range []struct {
		after time.Duration
		s     socketLook
		m     monitorLook
		want  bool
	}{
		{0, ok, quiet, false},
		{time.Second, full, monitorLook{asked: true, answer: answered, status: 200}, false},
		{backlogged / 2, ok, quiet, true},
		{backlogged / 4, ok, quiet, true},
		{backlogged / 4, ok, quiet, false}, // a hang is found a second later, not never
		{time.Second, ok, monitorLook{asked: true, answer: silent, full: true}, true},
		{backlogged / 2, ok, monitorLook{asked: true, answer: refused}, false},
		{0, ok, quiet, true},
	} {
		now = now.Add(step.after)
		if got := h.load(step.s, step.m, now).full; got != step.want {
			t.Errorf("%v after %+v: full %v, want %v", step.after, step.m, got, step.want)
		}
	}
}

func TestFullFrontend(t *testing.T) {
	const head = "pxname,svname,scur,slim,status,\n"
	for rows, want := range map[string]string{
		"www,FRONTEND,5,5,OPEN,\n":                     "frontend www: 5 of 5 connections in use",
		"a,FRONTEND,1,5,OPEN,\nb,FRONTEND,9,9,OPEN,\n": "frontend b: 9 of 9 connections in use",
		"www,FRONTEND,4,5,OPEN,\n":                     "",
		"www,FRONTEND,5,5,STOP,\n":                     "",
		"www,FRONTEND,,,OPEN,\n":                       "",
		"short\n":                                      "",
		"\"unbalanced,FRONTEND,5,5,OPEN,\n":            "",
		"":                                             "",
		"www,FRONTEND,0,0,OPEN,\nx,FRONTEND,-1,-1,OPEN,\n\n": "",
	} {
		if got, full := fullFrontend(head + rows); got != want || full != (want != "") {
			t.Errorf("%q: %q, %v; want %q", rows, got, full, want)
		}
	}
}
