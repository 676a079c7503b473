package checker_test

import (
	"testing"
	"time"

	"github.com/buoy-lb/buoy/test/lab/checker"
)

// moved is when the address moves in planned, and turned when the network has followed.
const (
	moved  = 62010 * ms
	turned = 62013 * ms
)

// planned is good until lb2 takes the address over from a healthy lb1, as an operator
// wants it; the client asks every 100 ms. What breakIt does comes after that, what before
// does comes before.
func planned(before, breakIt func(*history)) *history {
	h := good()
	moveAt(61 * s)(h)
	if before != nil {
		before(h)
	}
	h.truth(60*s, "buoy transfer lb2", checker.Truth{MayMove: true, Planned: true})
	h.Holders[len(h.Holders)-1].Routed = turned
	for at := 60*s + 50*ms; at < h.End; at += 100 * ms {
		h.Requests = append(h.Requests, checker.Request{Begun: at, Ended: at + 2*ms, OK: true})
	}
	breakIt(h)
	return h
}

// fails adds a request that does.
func (h *history) fails(begun, ended time.Duration) {
	h.Requests = append(h.Requests, checker.Request{Begun: begun, Ended: ended, Error: "connection reset"})
}

func TestPlannedMovesLoseNoRequest(t *testing.T) {
	for name, c := range map[string]struct {
		breakIt func(*history)
		want    string   // the property of all violations, "" for none
		text    []string // all in one of them
		tally   checker.Tally
	}{
		"none failed": {func(*history) {}, "", nil, checker.Tally{Moves: 1, Requests: 60}},
		"refused before the move": {
			func(h *history) { h.fails(moved-10*ms, moved-5*ms) },
			"P8",
			[]string{"P8 at 1m2s", "1 of 61 requests", "connection reset", `"buoy transfer lb2"`},
			checker.Tally{Moves: 1, Requests: 61, Failed: 1},
		},
		"refused after the move": {
			func(h *history) { h.fails(turned+5*ms, turned+6*ms); h.fails(turned+7*ms, turned+8*ms) },
			"P8",
			[]string{"2 of 62 requests"},
			checker.Tally{Moves: 1, Requests: 62, Failed: 2},
		},
		"under way as the network turned": {
			func(h *history) { h.fails(moved-3*ms, moved+200*ms) }, "", nil,
			checker.Tally{Moves: 1, Requests: 61, Cut: 1},
		},
		"begun while the network turned": {
			func(h *history) { h.fails(moved+2*ms, turned+10*ms) }, "", nil,
			checker.Tally{Moves: 1, Requests: 61, Cut: 1},
		},
		"failed for another reason, later": {func(h *history) {
			h.truth(63*s, "kill HAProxy on lb2", checker.Truth{MayMove: true}).serving("lb2", false)
			h.fails(63*s+ms, 63*s+2*ms)
		}, "", nil, checker.Tally{Moves: 1, Requests: 30}},
		"rough": {func(h *history) {
			h.Truth[len(h.Truth)-1].Rough = true
			h.fails(moved-10*ms, moved-5*ms)
		}, "", nil, checker.Tally{}},
		"the holder did not serve": {func(h *history) {
			h.serving("lb1", false)
			h.fails(moved-10*ms, moved-5*ms)
		}, "", nil, checker.Tally{}},
		"the target has only just died": {func(h *history) {
			h.Truth[len(h.Truth)-1].At, h.End = 61500*ms, 62500*ms
			h.serving("lb2", false)
			h.fails(turned+10*ms, turned+20*ms)
		}, "", nil, checker.Tally{}},
	} {
		t.Run(name, func(t *testing.T) {
			h := planned(nil, c.breakIt)
			expect(t, checker.Judge(h.History), c.want, c.text)
			if got := checker.Planned(h.History); got != c.tally {
				t.Errorf("counts %+v, want %+v", got, c.tally)
			}
		})
	}
}

// What was wrong before a planned move excuses it while it lasts, and no longer.
func TestPlannedMoveAfterAFault(t *testing.T) {
	lose := func(h *history) { h.fails(moved-10*ms, moved-5*ms) }
	for name, c := range map[string]struct {
		before func(*history)
		want   string
	}{
		"the network was healed only just now": {func(h *history) {
			h.truth(50*s, "cut lb3", checker.Truth{}).cut("lb3", "lb1")
			h.truth(59500*ms, "heal", checker.Truth{})
		}, ""},
		"the network was healed": {func(h *history) {
			h.truth(50*s, "cut lb3", checker.Truth{}).cut("lb3", "lb1")
			h.truth(58*s, "heal", checker.Truth{})
		}, "P8"},
		"another one has died only just now": {func(h *history) {
			h.truth(59*s, "kill HAProxy on lb3", checker.Truth{}).serving("lb3", false)
		}, ""},
		"another one has long been dead": {func(h *history) {
			h.truth(50*s, "kill HAProxy on lb3", checker.Truth{}).serving("lb3", false)
		}, "P8"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, checker.Judge(planned(c.before, lose).History), c.want, nil)
		})
	}
}
