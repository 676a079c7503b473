package notify

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/buoy-lb/buoy/fsm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testIdentity = Identity{
	Cluster: "web", Node: "lb1", Instance: "1001",
	FloatingIPs: []netip.Addr{netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8::10")},
}

// logBook is a logger's output that may be read while it is written.
type logBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logBook) logger() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Output: l, Level: hclog.Debug})
}

// stage is a folder with scripts, and what they wrote.
type stage struct {
	t   *testing.T
	dir string
	log logBook
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t, dir: t.TempDir()}
	for dir := s.dir; strings.Contains(dir, t.Name()); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask
			t.Fatal(err)
		}
	}
	return s
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

// script makes a program. $dir is the stage's folder.
func (s *stage) script(name, body string) string {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte("#!/bin/sh\ndir='"+s.dir+"'\n"+body+"\n"), 0o755); err != nil {
		s.t.Fatal(err)
	}
	return s.path(name)
}

func (s *stage) read(name string) string {
	data, err := os.ReadFile(s.path(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	return string(data)
}

func (s *stage) touch(name string) {
	if err := os.WriteFile(s.path(name), nil, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// until waits until done says so.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// lines waits until a file holds n lines and returns them.
func (s *stage) lines(name string, n int) []string {
	s.t.Helper()
	until(s.t, name, func() bool { return strings.Count(s.read(name), "\n") >= n })
	return strings.Split(strings.TrimSuffix(s.read(name), "\n"), "\n")
}

// hooks runs hooks until stop, which returns when those of the end have run.
func (s *stage) hooks(p Programs) (h *Hooks, stop func()) {
	s.t.Helper()
	if p.Timeout == 0 {
		p.Timeout = time.Minute
	}
	h, err := NewHooks(p, s.log.logger())
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Run(ctx, testIdentity, func() fsm.Event { return role(fsm.VRRPStop) })
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	s.t.Cleanup(stop)
	return h, stop
}

func role(s fsm.VRRP) fsm.Event {
	return fsm.Event{Kind: fsm.EventRole, State: s, Term: 7, Leader: "lb2", Priority: 130, Reason: "lb2 is well,\nand\x00outranks"}
}

// What a hook is called with, to the letter: keepalived gives its specific scripts no arguments,
// and the generic one four, after those of the configuration.
func TestHooksAreCalledAsKeepalivedCallsThem(t *testing.T) {
	s := newStage(t)
	record := s.script("record", `{ printf '%s' "${0##*/}"; printf '|%s' "$@"; echo; } >>"$dir/calls"
{ env | grep ^BUOY_ | sort | tr '\n' ';'; echo; } >>"$dir/env"`)
	h, stop := s.hooks(Programs{
		OnMaster: []string{record, "master", "two words", `"$HOME"`}, OnBackup: []string{record, "backup"},
		OnFault: []string{record, "fault"}, OnStop: []string{record, "stop"}, Notify: []string{record, "any"},
	})
	for _, state := range []fsm.VRRP{fsm.VRRPBackup, fsm.VRRPMaster, fsm.VRRPFault} {
		h.Tell(role(state))
	}
	s.lines("env", 6) // what each writes last
	stop()
	want := []string{
		"record|backup", "record|any|INSTANCE|web|BACKUP|130",
		`record|master|two words|"$HOME"`, "record|any|INSTANCE|web|MASTER|130",
		"record|fault", "record|any|INSTANCE|web|FAULT|130",
		"record|stop", "record|any|INSTANCE|web|STOP|130",
	}
	if got := s.lines("calls", 8); !slices.Equal(got, want) {
		t.Errorf("called\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	env := s.lines("env", 8)
	for i, state := range []string{"BACKUP", "MASTER", "FAULT", "STOP"} {
		previous := []string{"", "BACKUP", "MASTER", "FAULT"}[i]
		want := "BUOY_CLUSTER=web;BUOY_INSTANCE=1001;BUOY_IP=203.0.113.10 2001:db8::10;BUOY_LEADER=lb2;BUOY_NODE=lb1;BUOY_PREVIOUS=" + previous +
			";BUOY_REASON=lb2 is well, and outranks;BUOY_STATE=" + state + ";BUOY_TERM=7;"
		if env[2*i] != want || env[2*i+1] != want {
			t.Errorf("%s: environment\n%s\n%s\nwant\n%s", state, env[2*i], env[2*i+1], want)
		}
	}
}

func TestOtherEventsRunNoHook(t *testing.T) {
	s := newStage(t)
	h, stop := s.hooks(Programs{Notify: []string{s.script("record", `echo "$3" >>"$dir/calls"`)}})
	h.Tell(fsm.Event{Kind: fsm.EventMoved, State: fsm.VRRPMaster})
	h.Tell(fsm.Event{Kind: fsm.EventUnreachable, Phase: fsm.PhaseBegan, State: fsm.VRRPMaster})
	stop()
	if got := s.lines("calls", 1); !slices.Equal(got, []string{"STOP"}) {
		t.Errorf("called %q", got)
	}
}

// gated waits for the file go before it writes its state.
const gated = `echo x >>"$dir/started"; while [ ! -e "$dir/go" ]; do sleep 0.01; done; echo "$BUOY_PREVIOUS>$BUOY_STATE" >>"$dir/calls"`

func TestHooksRunInOrderOneAtATime(t *testing.T) {
	s := newStage(t)
	h, _ := s.hooks(Programs{Notify: []string{s.script("slow", `mkdir "$dir/alone" || echo overlap >>"$dir/calls"
`+gated+`
rmdir "$dir/alone"`)}})
	for _, state := range []fsm.VRRP{fsm.VRRPBackup, fsm.VRRPMaster, fsm.VRRPFault, fsm.VRRPBackup} {
		h.Tell(role(state))
	}
	s.lines("started", 1)
	s.touch("go")
	if got, want := s.lines("calls", 4), []string{">BACKUP", "BACKUP>MASTER", "MASTER>FAULT", "FAULT>BACKUP"}; !slices.Equal(got, want) {
		t.Errorf("called %q, want %q", got, want)
	}
}

// A hook that hangs while states flap: the queue stays short, telling does not block, the newest
// state comes through, and the log says what was left out.
func TestHooksThatCannotKeepUpSkipToTheNewest(t *testing.T) {
	s := newStage(t)
	h, _ := s.hooks(Programs{Notify: []string{s.script("slow", gated)}})
	h.Tell(role(fsm.VRRPBackup))
	s.lines("started", 1)
	for range 500 {
		h.Tell(role(fsm.VRRPMaster))
		h.Tell(role(fsm.VRRPBackup))
	}
	h.Tell(role(fsm.VRRPFault))
	h.mu.Lock()
	waiting := len(h.pending)
	h.mu.Unlock()
	if waiting > maxPending {
		t.Errorf("%d wait", waiting)
	}
	s.touch("go")
	got := s.lines("calls", 1+waiting)
	if len(got) != 1+waiting || !strings.HasSuffix(got[waiting], ">FAULT") {
		t.Errorf("called %q", got)
	}
	if log := s.log.String(); !strings.Contains(log, `states are left out: states="MASTER, BACKUP, MASTER, BACKUP"`) {
		t.Errorf("not logged:\n%s", log)
	}
}

func TestHookThatHangsIsKilledWithItsChildren(t *testing.T) {
	s := newStage(t)
	hang := s.script("hang", `trap "" TERM; (trap "" TERM; while :; do sleep 0.05; echo x >>"$dir/beats"; done) & while :; do sleep 0.05; done`)
	h, _ := s.hooks(Programs{
		OnMaster: []string{hang}, OnBackup: []string{s.script("backup", `echo backup >>"$dir/calls"`)}, Timeout: 300 * time.Millisecond,
	})
	h.Tell(role(fsm.VRRPMaster))
	h.Tell(role(fsm.VRRPBackup))
	s.lines("calls", 1)
	beats := s.read("beats")
	if beats == "" {
		t.Error("the child never ran: this test proves nothing")
	}
	if log := s.log.String(); !strings.Contains(log, "hook killed") || !strings.Contains(log, "not done within 300ms") {
		t.Errorf("not logged:\n%s", log)
	}
	h.Tell(role(fsm.VRRPBackup)) // time enough for a child that lives to show itself: a whole other run
	s.lines("calls", 2)
	if s.read("beats") != beats {
		t.Error("a child of the hook lives on")
	}
}

func TestHookOutputAndExitStatusAreLogged(t *testing.T) {
	s := newStage(t)
	h, stop := s.hooks(Programs{OnMaster: []string{s.script("fails", `echo first; echo second >&2; exit 3`)}})
	h.Tell(role(fsm.VRRPMaster))
	until(t, "the log", func() bool { return strings.Contains(s.log.String(), "hook failed") })
	stop()
	log := s.log.String()
	if !strings.Contains(log, `exit status 3`) || !strings.Contains(log, `output="first second"`) || strings.Count(log, "\n") != 1 {
		t.Errorf("log:\n%s", log)
	}
}

func TestHookThatCannotRunIsRefusedAtTheStart(t *testing.T) {
	s := newStage(t)
	good := s.script("good", "")
	for key, p := range map[string]Programs{
		"hooks.on_master": {OnMaster: []string{s.path("missing")}},
		"hooks.on_backup": {OnBackup: []string{s.dir}},
		"hooks.on_fault":  {OnMaster: []string{good}, OnFault: []string{s.path("missing")}},
		"hooks.on_stop":   {OnStop: []string{s.path("missing")}},
		"hooks.notify":    {Notify: []string{s.path("missing")}},
	} {
		var wrong *Error
		if _, err := NewHooks(p, s.log.logger()); !errors.As(err, &wrong) || wrong.Key != key {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// As root, what others could replace is refused: at the start, and right before it is run.
func TestRootRunsNoHookThatOthersMayChange(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: a hook can do no more than its user")
	}
	s := newStage(t)
	mine, open := s.script("mine", `echo mine >>"$dir/calls"`), s.script("open", `echo open >>"$dir/calls"`)
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	var wrong *Error
	if _, err := NewHooks(Programs{OnMaster: []string{open}}, s.log.logger()); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "chmod") {
		t.Errorf("started with a program that everybody may write: %v", err)
	}
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	h, _ := s.hooks(Programs{OnMaster: []string{open}, Notify: []string{mine}})
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	h.Tell(role(fsm.VRRPMaster))
	if got := s.lines("calls", 1); !slices.Equal(got, []string{"mine"}) {
		t.Errorf("ran %q", got)
	}
	if log := s.log.String(); !strings.Contains(log, "a hook is not run") || !strings.Contains(log, "writable by everybody") {
		t.Errorf("not logged:\n%s", log)
	}
}

// At the end what runs is killed, what waits is left out, and the hooks of the end are run.
func TestStopHooksRunAtTheEnd(t *testing.T) {
	s := newStage(t)
	h, stop := s.hooks(Programs{
		OnMaster: []string{s.script("hang", `echo x >>"$dir/started"; exec sleep 300`)},
		OnBackup: []string{s.script("backup", `echo backup >>"$dir/calls"`)},
		OnStop:   []string{s.script("stop", `echo "$BUOY_PREVIOUS>$BUOY_STATE" >>"$dir/calls"`)},
	})
	h.Tell(role(fsm.VRRPMaster))
	s.lines("started", 1)
	h.Tell(role(fsm.VRRPBackup))
	stop()
	if got := s.lines("calls", 1); !slices.Equal(got, []string{"MASTER>STOP"}) {
		t.Errorf("called %q", got)
	}
	log := s.log.String()
	for _, text := range []string{"the daemon stops: the hooks of states are left out: states=BACKUP", "hook killed"} {
		if !strings.Contains(log, text) {
			t.Errorf("no %q in\n%s", text, log)
		}
	}
}

// The service manager waits: hooks of the end that hang are killed, whatever their timeout.
func TestStopHooksAreBounded(t *testing.T) {
	s := newStage(t)
	_, stop := s.hooks(Programs{OnStop: []string{s.script("hang", "exec sleep 300")}, Notify: []string{s.script("never", `touch "$dir/ran"`)}, Timeout: 5 * time.Minute})
	start := time.Now()
	stop()
	if took := time.Since(start); took > time.Minute {
		t.Errorf("took %v", took)
	}
	if log := s.log.String(); !strings.Contains(log, "the hooks of the end took longer than 5s") || !strings.Contains(log, "a hook is not run") {
		t.Errorf("not logged:\n%s", log)
	}
}
