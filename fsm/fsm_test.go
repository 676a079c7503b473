package fsm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"
)

func addr(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, byte(10 + i)}) }

// entry is one log entry.
type entry struct {
	c    Command
	term uint64
}

func (f *FSM) do(t rapid.TB, e entry) Applied {
	t.Helper()
	b, err := e.c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return f.Apply(&raft.Log{Term: e.term, Data: b}).(Applied)
}

// commands draws every kind of Command, over few members so that they meet.
var commands = rapid.Custom(func(t *rapid.T) Command {
	id := func() string { return pick("a", "b", "c").Draw(t, "id") }
	n := func() uint64 { return rapid.Uint64Range(0, 3).Draw(t, "n") }
	at := start.Add(time.Duration(rapid.Int64().Draw(t, "ns")))
	ticket := &Ticket{Epoch: n(), Node: id(), Seq: n(), Life: time.Second}
	kinds := []Command{
		{Found: &Found{ClusterID: id()}},
		{Member: &Member{ID: id(), Name: rapid.String().Draw(t, "name"), Priority: int(n())}},
		{Report: &Report{Member: id(), Boot: id(), Seq: n(), Health: HealthOK, Checks: []Check{{Name: id(), Since: at}}}},
		{Ticket: ticket},
		{Release: ticket},
		{Claim: &Holding{IP: addr(int(n())), Holder: id(), Since: at}},
		{Handover: &Handover{From: id(), To: id(), Requested: rapid.Bool().Draw(t, "requested"), Term: n()}},
		{Transition: &Transition{At: at, IP: addr(0), To: id(), Stages: Stages{Claim: time.Duration(n())}}},
		{Leads: &Leads{Member: id()}},
		{Pause: &Pause{Since: at, By: id()}},
		{Resume: &Resume{}},
		{Drain: &Drain{Member: id(), Since: at, Until: pick(time.Time{}, start).Draw(t, "until")}},
		{Undrain: &Undrain{Member: id(), Until: pick(time.Time{}, start).Draw(t, "until")}},
	}
	return pick(kinds...).Draw(t, "command")
})

// histories draws logs, the terms never falling.
var histories = rapid.Custom(func(t *rapid.T) []entry {
	var log []entry
	term := uint64(0)
	for _, c := range rapid.SliceOf(commands).Draw(t, "log") {
		term += rapid.Uint64Range(0, 1).Draw(t, "new term")
		log = append(log, entry{c, term})
	}
	return log
})

func TestCommandRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := commands.Draw(t, "command")
		b, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeCommand(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: got %+v, %v, want %+v", b, got, err, want)
		}
	})
}

// The same log gives the same State, whether or not a snapshot is taken on the way, and
// what State returned before is not touched by what is applied later.
func TestSameLogSameState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := histories.Draw(t, "log")
		cut := rapid.IntRange(0, len(log)).Draw(t, "snapshot after")
		straight, other := New(), New()
		for i, e := range log {
			if i == cut {
				other = restored(t, other)
			}
			before := straight.State()
			was := asJSON(t, before)
			if a, b := straight.do(t, e), other.do(t, e); a != b {
				t.Fatalf("entry %d: %+v and %+v", i, a, b)
			}
			if is := asJSON(t, before); is != was {
				t.Fatalf("entry %d changed a State handed out before:\n%s\n%s", i, was, is)
			}
		}
		if a, b := straight.State(), other.State(); !reflect.DeepEqual(a, b) {
			t.Fatalf("%+v\n%+v", a, b)
		}
	})
}

func TestApply(t *testing.T) {
	f := New()
	ticket := Ticket{Epoch: 4, Node: "a", Seq: 1, Life: time.Second}
	later := start.Add(time.Hour)
	// One log; after each entry, what it came to and what State says.
	for i, c := range []struct {
		entry
		want Applied
		says func(s State) any
		that any
	}{
		{entry{Command{Found: &Found{"x"}}, 4}, Applied{}, func(s State) any { return s.ClusterID }, "x"},
		{entry{Command{Found: &Found{"y"}}, 4}, warn("this is cluster x already, not y"), func(s State) any { return s.ClusterID }, "x"},
		{entry{Command{Report: &Report{Member: "a"}}, 4}, warn(`a report of "a", which is no member`), func(s State) any { return len(s.Reports) }, 0},
		{entry{Command{Member: &Member{ID: "a", Name: "old"}}, 4}, Applied{}, func(s State) any { return s.Members["a"].Name }, "old"},
		{entry{Command{Member: &Member{ID: "a", Name: "new"}}, 4}, Applied{}, func(s State) any { return s.Members["a"].Name }, "new"},
		{entry{Command{Member: &Member{Name: "b"}}, 4}, warn(`a member without an ID (name "b")`), func(s State) any { return len(s.Members) }, 1},
		{entry{Command{Report: &Report{Member: "a", Boot: "1", Seq: 5, Priority: 5}}, 4}, Applied{}, func(s State) any { return s.Reports["a"].Priority }, 5},
		{entry{Command{Report: &Report{Member: "a", Boot: "1", Seq: 5, Priority: 6}}, 4}, Applied{}, func(s State) any { return s.Reports["a"].Priority }, 5},
		{entry{Command{Report: &Report{Member: "a", Boot: "1", Seq: 6, Priority: 7}}, 4}, Applied{}, func(s State) any { return s.Reports["a"].Priority }, 7},
		{entry{Command{Report: &Report{Member: "a", Boot: "2", Seq: 1, Priority: 8}}, 4}, Applied{}, func(s State) any { return s.Reports["a"].Priority }, 8},
		// A ticket that was queued across a change of leader is void, and so is a repeated one.
		{entry{Command{Ticket: &ticket}, 5}, Applied{Void: true}, func(s State) any { return s.Ticket }, Ticket{}},
		{entry{Command{Ticket: &ticket}, 4}, Applied{}, func(s State) any { return s.Ticket }, ticket},
		{entry{Command{Ticket: &ticket}, 4}, Applied{Void: true}, func(s State) any { return s.Ticket }, ticket},
		// A release is of one ticket.
		{entry{Command{Release: &Ticket{Epoch: 4, Node: "b", Seq: 1}}, 4}, Applied{}, func(s State) any { return s.Ticket.Released }, false},
		{entry{Command{Release: &Ticket{Epoch: 4, Node: "a", Seq: 2}}, 4}, Applied{}, func(s State) any { return s.Ticket.Released }, false},
		{entry{Command{Release: &Ticket{Epoch: 3, Node: "a", Seq: 1}}, 4}, Applied{}, func(s State) any { return s.Ticket.Released }, false},
		{entry{Command{Release: &ticket}, 4}, Applied{}, func(s State) any { return s.Ticket.Released }, true},
		{entry{Command{Ticket: &Ticket{Epoch: 4, Node: "a", Seq: 2, Released: true}}, 4}, Applied{}, func(s State) any { return s.Ticket.Released }, false},
		{entry{Command{Ticket: &Ticket{Epoch: 5, Node: "b", Seq: 1}}, 5}, Applied{}, func(s State) any { return s.Ticket.Node }, "b"},
		{entry{Command{Claim: &Holding{IP: addr(0), Holder: "a"}}, 5}, Applied{}, func(s State) any { return s.Claims[addr(0)].Holder }, "a"},
		{entry{Command{Claim: &Holding{Holder: "a"}}, 5}, warn(`a claim by "a" without a floating IP`), func(s State) any { return len(s.Claims) }, 1},
		// An operator's wish lasts until another hand-over or another leader.
		{entry{Command{Handover: &Handover{To: "b", Requested: true}}, 5}, Applied{}, func(s State) any { return s.Preferred }, "b"},
		{entry{Command{Leads: &Leads{"b"}}, 5}, Applied{}, func(s State) any { return s.Preferred }, "b"},
		{entry{Command{Leads: &Leads{"a"}}, 5}, Applied{}, func(s State) any { return s.Preferred }, ""},
		{entry{Command{Handover: &Handover{To: "b", Requested: true}}, 5}, Applied{}, func(s State) any { return s.Preferred }, "b"},
		{entry{Command{Handover: &Handover{To: "a"}}, 5}, Applied{}, func(s State) any { return s.Preferred + s.Handover.To }, "a"},
		// A new mark replaces the old one; the end of one that ran out spares its successor.
		{entry{Command{Drain: &Drain{Member: "b"}}, 5}, warn(`a drain of "b", which is no member`), func(s State) any { return len(s.Drains) }, 0},
		{entry{Command{Drain: &Drain{Member: "a", Until: start}}, 5}, Applied{}, func(s State) any { return s.Drains["a"].Until }, start},
		{entry{Command{Drain: &Drain{Member: "a", Until: later}}, 5}, Applied{}, func(s State) any { return s.Drains["a"].Until }, later},
		{entry{Command{Undrain: &Undrain{Member: "a", Until: start}}, 5}, Applied{}, func(s State) any { return len(s.Drains) }, 1},
		{entry{Command{Undrain: &Undrain{Member: "a", Until: later}}, 5}, Applied{}, func(s State) any { return len(s.Drains) }, 0},
		{entry{Command{Drain: &Drain{Member: "a"}}, 5}, Applied{}, func(s State) any { return s.Drains["a"].Until }, time.Time{}},
		{entry{Command{Undrain: &Undrain{Member: "a", Until: later}}, 5}, Applied{}, func(s State) any { return len(s.Drains) }, 1},
		{entry{Command{Undrain: &Undrain{Member: "a"}}, 5}, Applied{}, func(s State) any { return len(s.Drains) }, 0},
		{entry{Command{Undrain: &Undrain{Member: "a"}}, 5}, Applied{}, func(s State) any { return len(s.Drains) }, 0}, // again
		{entry{Command{Pause: &Pause{Since: start, By: "a"}}, 5}, Applied{}, func(s State) any { return *s.Paused }, Pause{start, "a"}},
		{entry{Command{Pause: &Pause{Since: later, By: "b"}}, 5}, Applied{}, func(s State) any { return *s.Paused }, Pause{start, "a"}}, // the first counts
		{entry{Command{Resume: &Resume{}}, 5}, Applied{}, func(s State) any { return s.Paused == nil }, true},
		{entry{Command{Resume: &Resume{}}, 5}, Applied{}, func(s State) any { return s.Paused == nil }, true}, // again
	} {
		got := f.do(t, c.entry)
		if got != c.want || !reflect.DeepEqual(c.says(f.State()), c.that) {
			t.Errorf("entry %d: %+v, state says %v; want %+v, %v", i, got, c.says(f.State()), c.want, c.that)
		}
	}
}

func TestHistoryIsCappedAndSaysNothingTwice(t *testing.T) {
	f := New()
	for i := range MaxTransitions + 7 {
		f.do(t, entry{Command{Transition: &Transition{Term: uint64(i)}}, 1})
	}
	f.do(t, entry{Command{Transition: &Transition{Term: MaxTransitions + 6}}, 1}) // proposed again
	got := f.State().Transitions
	if len(got) != MaxTransitions || got[0].Term != 7 || got[MaxTransitions-1].Term != MaxTransitions+6 {
		t.Errorf("%d transitions, terms %d to %d", len(got), got[0].Term, got[len(got)-1].Term)
	}
}

// Versions N-1 and N share a cluster: what a newer member writes is skipped, with a
// warning, and the rest goes on.
func TestMixedVersions(t *testing.T) {
	f := New()
	f.do(t, entry{Command{Member: &Member{ID: "a"}}, 1})
	want := f.State()
	for _, data := range []string{
		`{"v":1,"banish":{"member":"a"}}`,
		`{"v":2,"report":["in","another","form"]}`,
		`{"v":2,"member":{"id":"b"}}`,
	} {
		if _, err := DecodeCommand([]byte(data)); !errors.Is(err, ErrUnknownCommand) {
			t.Errorf("%s: %v", data, err)
		}
		got := f.Apply(&raft.Log{Index: 7, Term: 1, Data: []byte(data)}).(Applied)
		if !strings.Contains(got.Warning, "entry 7 skipped") || !reflect.DeepEqual(f.State(), want) {
			t.Errorf("%s: %+v", data, got)
		}
	}
	known := `{"v":1,"member":{"id":"b","name":"lb2","zone":"new in N"}}`
	if got := f.Apply(&raft.Log{Term: 1, Data: []byte(known)}).(Applied); got != (Applied{}) || f.State().Members["b"].Name != "lb2" {
		t.Errorf("%s: %+v, %+v", known, got, f.State())
	}
}

func TestBadCommands(t *testing.T) {
	for _, data := range []string{
		``, `null`, `[]`, `{}`, `{"v":0,"leads":{"member":"a"}}`, `{"v":-1}`, `{"v":"1"}`, `{"v":1,"leads":3}`,
		`{"v":1,"leads":{"member":"a"}} trailing`, `{"v":1,"leads":{"member":"a"},"found":{"cluster_id":"x"}}`,
		`{"v":1,"leads":{"member":"` + strings.Repeat("a", MaxCommand) + `"}}`,
	} {
		_, err := DecodeCommand([]byte(data))
		if err == nil || errors.Is(err, ErrUnknownCommand) {
			t.Errorf("%.60s: %v", data, err)
		}
		if got := New().Apply(&raft.Log{Data: []byte(data)}).(Applied); got.Warning == "" {
			t.Errorf("%.60s: applied without a warning", data)
		}
	}
	for name, c := range map[string]Command{
		"empty":     {},
		"two":       {Found: &Found{}, Leads: &Leads{}},
		"too large": {Leads: &Leads{strings.Repeat("a", MaxCommand)}},
	} {
		if _, err := c.Encode(); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
}

func TestRestoreRefuses(t *testing.T) {
	f := New()
	f.do(t, entry{Command{Member: &Member{ID: "a"}}, 1})
	want := f.State()
	for name, in := range map[string]string{
		"nothing":       ``,
		"junk":          "\x00\x01",
		"no version":    `{"state":{}}`,
		"newer version": `{"v":2,"state":{}}`,
		"no state":      `{"v":1}`,
		"wrong type":    `{"v":1,"state":{"members":[]}}`,
		"bad address":   `{"v":1,"state":{"claims":{"here":{}}}}`,
		"cut off":       `{"v":1,"state":{"members":{"b"`,
	} {
		if err := f.Restore(reader(in)); err == nil || !reflect.DeepEqual(f.State(), want) {
			t.Errorf("%s: %v, %+v", name, err, f.State())
		}
	}
	if err := f.Restore(io.NopCloser(failing{})); !errors.Is(err, errDisk) || !reflect.DeepEqual(f.State(), want) {
		t.Errorf("unreadable: %v", err)
	}
	// What is missing is empty, not nil: the next entry writes into it.
	if err := f.Restore(reader(`{"v":1,"state":{}}`)); err != nil {
		t.Fatal(err)
	}
	f.do(t, entry{Command{Member: &Member{ID: "b"}}, 1})
	if got := f.State().Members; len(got) != 1 {
		t.Errorf("after an empty snapshot: %+v", got)
	}
}

// A snapshot of the release that knew no drain opens, and while nobody is drained this
// release writes the same bytes.
func TestSnapshotBeforeDrain(t *testing.T) {
	old, err := os.ReadFile("testdata/snapshot-before-drain.json")
	if err != nil {
		t.Fatal(err)
	}
	f := New()
	if err := f.Restore(reader(string(old))); err != nil {
		t.Fatal(err)
	}
	if got := persisted(t, f); got != string(old) {
		t.Errorf("written again:\n%s\nwas\n%s", got, old)
	}
	f.do(t, entry{Command{Drain: &Drain{Member: "lb1-a"}}, 5})
	if got := persisted(t, f); !strings.Contains(got, `"drains":{"lb1-a":{"member":"lb1-a","since":"0001-01-01T00:00:00Z"}}`) {
		t.Errorf("drained: %s", got)
	}
	f.do(t, entry{Command{Pause: &Pause{By: "lb1"}}, 5})
	if got := persisted(t, f); !strings.Contains(got, `"paused":{"since":"0001-01-01T00:00:00Z","by":"lb1"}`) {
		t.Errorf("paused: %s", got)
	}
}

func TestPersistCancelsWhatItCannotWrite(t *testing.T) {
	s, err := New().Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	sink := &sink{Writer: failing{}}
	if err := s.Persist(sink); !errors.Is(err, errDisk) || !sink.cancelled || sink.closed {
		t.Errorf("%v, %+v", err, sink)
	}
}

func TestStateIsACopy(t *testing.T) {
	f := New()
	for _, c := range []Command{
		{Member: &Member{ID: "a"}},
		{Report: &Report{Member: "a", Checks: []Check{{Name: "haproxy"}}}},
		{Claim: &Holding{IP: addr(0)}},
		{Transition: &Transition{To: "a"}},
		{Drain: &Drain{Member: "a"}},
		{Pause: &Pause{By: "a"}},
	} {
		f.do(t, entry{c, 1})
	}
	want := asJSON(t, f.State())
	s := f.State()
	s.Reports["a"].Checks[0].Name = "mine"
	s.Transitions[0].To = "mine"
	delete(s.Members, "a")
	delete(s.Reports, "a")
	delete(s.Claims, addr(0))
	delete(s.Drains, "a")
	s.Paused.By = "mine"
	if got := asJSON(t, f.State()); got != want {
		t.Errorf("changed from outside:\n%s\n%s", want, got)
	}
}

// The race detector is the judge here: readers, snapshots and Apply at the same time.
func TestConcurrentUse(t *testing.T) {
	f := New()
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 100 {
			f.do(t, entry{Command{Member: &Member{ID: fmt.Sprint(i % 3)}}, 1})
			f.do(t, entry{Command{Report: &Report{Member: fmt.Sprint(i % 3), Seq: uint64(i), Checks: []Check{{}}}}, 1})
		}
	})
	wg.Go(func() {
		for range 100 {
			for _, r := range f.State().Reports {
				r.Checks[0].Name = "mine"
			}
			restored(t, f)
		}
	})
	wg.Wait()
}

func FuzzDecodeCommand(f *testing.F) {
	f.Add([]byte(`{"v":1,"ticket":{"epoch":4,"node":"a","seq":1,"life":750000000}}`))
	f.Add([]byte(`{"v":1,"claim":{"ip":"2001:db8::10%eth0","since":"2026-01-02T03:04:05.6+23:59"}}`))
	f.Add([]byte(`{"V":1,"Report":{"member":"\ud800","checks":[{"weight":-253}]},"report":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		machine := New()
		machine.do(t, entry{Command{Member: &Member{ID: "a"}}, 1})
		machine.Apply(&raft.Log{Term: 4, Data: data})
		if a, b := asJSON(t, machine.State()), asJSON(t, restored(t, machine).State()); a != b {
			t.Fatalf("%s\nrestored %s", a, b)
		}
		c, err := DecodeCommand(data)
		if err != nil {
			return
		}
		b, err := c.Encode()
		if err != nil {
			return // escapes may make it longer than MaxCommand
		}
		again, err := DecodeCommand(b)
		if err != nil || asJSON(t, again) != asJSON(t, c) {
			t.Fatalf("%s\nagain %+v, %v", b, again, err)
		}
	})
}

func FuzzRestore(f *testing.F) {
	f.Add([]byte(`{"v":1,"state":{"members":{"a":{"id":"a"}},"claims":{"203.0.113.10":{}},"transitions":[{}]}}`))
	f.Add([]byte(`{"v":1,"state":{"reports":{"a":{"checks":null}},"claims":{"":{}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		machine := New()
		if err := machine.Restore(reader(string(data))); err != nil {
			if !reflect.DeepEqual(machine.State(), New().State()) {
				t.Fatalf("%v, and yet %+v", err, machine.State())
			}
			return
		}
		if a, b := asJSON(t, machine.State()), asJSON(t, restored(t, machine).State()); a != b {
			t.Fatalf("%s\nrestored %s", a, b)
		}
		machine.do(t, entry{Command{Claim: &Holding{IP: addr(0)}}, 1})
	})
}

// restored is a new FSM with f's snapshot.
func restored(t rapid.TB, f *FSM) *FSM {
	t.Helper()
	g := New()
	if err := g.Restore(reader(persisted(t, f))); err != nil {
		t.Fatal(err)
	}
	return g
}

// persisted is f's snapshot as it is on disk.
func persisted(t rapid.TB, f *FSM) string {
	t.Helper()
	s, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var disk bytes.Buffer
	to := &sink{Writer: &disk}
	if err := s.Persist(to); err != nil || !to.closed {
		t.Fatalf("persist: %v, %+v", err, to)
	}
	s.Release()
	return disk.String()
}

func asJSON(t rapid.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func reader(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }

// sink is a raft.SnapshotSink.
type sink struct {
	io.Writer
	closed, cancelled bool
}

func (s *sink) Close() error  { s.closed = true; return nil }
func (s *sink) Cancel() error { s.cancelled = true; return nil }
func (s *sink) ID() string    { return "test" }

var errDisk = errors.New("disk full")

// failing neither reads nor writes.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errDisk }
func (failing) Read([]byte) (int, error)  { return 0, errDisk }
