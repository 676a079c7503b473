package notify

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

// diary feeds a ledger and writes down what it tells, a line "at: title" for each alert.
type diary struct {
	t     *testing.T
	l     ledger
	begin time.Time
	now   time.Time
	told  []string
}

func newDiary(t *testing.T) *diary {
	begin := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	return &diary{t: t, begin: begin, now: begin}
}

// until lets time pass to d after the beginning, as a timer set to next would.
func (d *diary) until(to time.Duration) {
	for {
		due, next := d.l.due(d.now)
		for _, a := range due {
			line := fmt.Sprintf("%v: %s", d.now.Sub(d.begin), testIdentity.happened(a))
			if a.times > 1 {
				line += fmt.Sprintf(" (%d times)", a.times)
			}
			d.told = append(d.told, line)
		}
		if next.IsZero() || next.After(d.begin.Add(to)) {
			d.now = d.begin.Add(to)
			return
		}
		d.now = next
	}
}

func (d *diary) at(at time.Duration, e fsm.Event) {
	d.until(at)
	e.At = d.now
	d.l.add(e, d.now)
	d.until(at)
}

func (d *diary) wants(lines ...string) {
	d.t.Helper()
	if got, want := strings.Join(d.told, "\n"), strings.Join(lines, "\n"); got != want {
		d.t.Errorf("told\n%s\nwant\n%s", got, want)
	}
}

func moved(from, why string) fsm.Event {
	return fsm.Event{Kind: fsm.EventMoved, Subject: "203.0.113.10", From: from, Reason: why}
}

func away(phase fsm.Phase) fsm.Event {
	return fsm.Event{Kind: fsm.EventUnreachable, Subject: "lb3", Phase: phase}
}

func TestMovesAreToldAtOnce(t *testing.T) {
	d := newDiary(t)
	d.at(0, moved("", "first leader"))
	d.at(time.Second, moved("lb2", "lb1 outranks 150>100"))
	d.until(time.Hour)
	d.wants("0s: lb1 has taken 203.0.113.10, which nobody held", "1s: lb1 has taken 203.0.113.10 from lb2")
}

// Somebody else keeps moving the address: one alert in ten minutes, which says how often.
func TestTheSameMoveIsToldOnceInTenMinutes(t *testing.T) {
	d := newDiary(t)
	for i := range 60 {
		d.at(time.Duration(i)*20*time.Second, moved("lb9", "the address had been moved away"))
	}
	d.until(2 * time.Hour)
	d.wants("0s: lb1 has taken 203.0.113.10 from lb9", "10m0s: lb1 has taken 203.0.113.10 from lb9 (29 times)", "20m0s: lb1 has taken 203.0.113.10 from lb9 (30 times)")
}

func TestProblemsAreToldWhenTheyLast(t *testing.T) {
	d := newDiary(t)
	d.at(0, away(fsm.PhaseBegan)) // a restart
	d.at(4*time.Second, away(fsm.PhaseOver))
	d.at(time.Minute, away(fsm.PhaseBegan))
	d.at(5*time.Minute, away(fsm.PhaseOver))
	d.until(time.Hour)
	d.wants("1m10s: lb3 does not answer", "5m10s: lb3 answers again")
}

// A problem that comes and goes is told once in ten minutes; the last word is the truth.
func TestFlappingProblems(t *testing.T) {
	d := newDiary(t)
	for i := range 20 {
		d.at(time.Duration(i)*time.Minute, away(fsm.PhaseBegan))
		d.at(time.Duration(i)*time.Minute+30*time.Second, away(fsm.PhaseOver))
	}
	d.at(30*time.Minute, away(fsm.PhaseBegan))
	d.until(2 * time.Hour)
	d.wants("10s: lb3 does not answer", "40s: lb3 answers again",
		"10m10s: lb3 does not answer (10 times)", "10m40s: lb3 answers again", "30m10s: lb3 does not answer (10 times)")
	if _, next := d.l.due(d.now); !next.IsZero() {
		t.Errorf("something is left for %v", next)
	}
}

// A node that leads no more leaves the end of the story to its successor.
func TestLapsedProblemsAreDropped(t *testing.T) {
	d := newDiary(t)
	d.at(0, away(fsm.PhaseBegan))
	d.at(5*time.Second, away(fsm.PhaseLapsed))
	d.at(time.Minute, away(fsm.PhaseBegan))
	d.at(2*time.Minute, away(fsm.PhaseLapsed))
	d.at(3*time.Minute, away(fsm.PhaseBegan)) // it leads again: the same alert, so not yet
	d.until(time.Hour)
	d.wants("1m10s: lb3 does not answer", "11m10s: lb3 does not answer")
}

func TestOwnFaultIsToldAndItsEnd(t *testing.T) {
	d := newDiary(t)
	d.at(0, role(fsm.VRRPBackup))
	d.at(time.Second, role(fsm.VRRPMaster))
	d.at(time.Minute, role(fsm.VRRPFault))
	d.at(2*time.Minute, role(fsm.VRRPBackup))
	d.at(2*time.Minute+time.Second, role(fsm.VRRPMaster))
	d.until(time.Hour)
	d.wants("1m10s: lb1 is in FAULT", "2m10s: lb1 is out of FAULT")
}

func TestTheLedgerForgets(t *testing.T) {
	d := newDiary(t)
	for i := range 1000 {
		d.at(time.Duration(i)*time.Minute, moved("", fmt.Sprint(i)))
	}
	if n := len(d.l.entries); n > 11 {
		t.Errorf("%d entries after as many minutes as need 10", n)
	}
}

func TestAlertsInWords(t *testing.T) {
	begin := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	e := fsm.Event{Kind: fsm.EventUnconfirmed, Subject: "203.0.113.10", Reason: "503 \x1b[2J Service\nUnavailable", State: fsm.VRRPMaster, Term: 7, Leader: "lb1", At: begin}
	m := testIdentity.message(alert{event: e, since: begin, times: 3})
	if want := "buoy web: 203.0.113.10 cannot be confirmed"; m.Title != want {
		t.Errorf("title %q, want %q", m.Title, want)
	}
	want := `203.0.113.10 cannot be confirmed.
Why: 503 [2J Service Unavailable.
Since: 2026-11-26 12:00:00 UTC.
It has happened 3 times since it was last told.

Told by lb1 of cluster web; term 7, leader lb1.
`
	if m.Text != want {
		t.Errorf("got\n%s\nwant\n%s", m.Text, want)
	}
	e.Leader = ""
	m = testIdentity.message(alert{event: e, over: true, since: begin, until: begin.Add(90 * time.Second), times: 1})
	want = `203.0.113.10 is confirmed again.
Since: 2026-11-26 12:00:00 UTC.
Until: 2026-11-26 12:01:30 UTC, 1m30s later.

Told by lb1 of cluster web; term 7, leader unknown.
`
	if m.Text != want {
		t.Errorf("got\n%s\nwant\n%s", m.Text, want)
	}
}
