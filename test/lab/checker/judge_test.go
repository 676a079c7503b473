package checker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/test/lab/checker"
)

// TestJudge breaks a good history in one way each. Where a correct system would have
// gone on, the history is cut there.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name    string
		breakIt func(*history)
		want    string   // the property of all violations, "" for none
		text    []string // all in one of them
	}{
		{"as it should be", func(*history) {}, "", nil},

		{"P1: no ticket", func(h *history) { h.Tickets = h.Tickets[1:] }, "P1", []string{"P1 at 1.01s", "lb1", "no valid ticket"}},
		{"P1: two writes for a ticket", func(h *history) { h.write("lb1", 2, 1020*ms) }, "P1", []string{"no valid ticket"}},
		{"P1: a foreign token", func(h *history) { h.Writes[1].Token = "lb1" }, "P1", []string{`by "lb2"`, `token of "lb1"`, "names no leader"}},
		{"P1: tickets overlap", func(h *history) { h.ticket("lb2", 3, 0, 1700*ms) }, "P1", []string{"tickets overlap", "lb1 epoch 2", "lb2 epoch 3"}},
		{"P1: released in time", func(h *history) {
			h.Tickets[0].Ended = 1690 * ms
			h.ticket("lb2", 3, 0, 1700*ms)
		}, "", nil},
		{"P1: overlap before it was granted", func(h *history) {
			tk := ticket("lb2", 3, 0, 1700*ms)
			tk.Granted, tk.Begun = 2*s, 0
			h.Tickets = append(h.Tickets, tk)
		}, "P1", []string{"tickets overlap"}},
		{"P1: two masters in a term", func(h *history) {
			h.Roles = append(h.Roles, checker.Role{At: 30 * s, Node: "lb3", State: "MASTER", Term: 3})
		}, "P1", []string{"P1 at 30s", "lb3", "term 3", "lb2"}},
		{"P1a: the old leader's write comes after the new one's", oldWrite(40600 * ms), "P1", []string{"P1 at 40.6s", "lb2 of epoch 3", "epoch 4"}},
		{"P1a: held by the cloud", func(h *history) {
			oldWrite(40600 * ms)(h)
			h.Writes[len(h.Writes)-1].Held = 100 * ms
		}, "", nil},
		{"P1a: hung meanwhile", func(h *history) {
			oldWrite(70600 * ms)(h)
			h.truth(50*s, "hang lb2", checker.Truth{MayMove: true}).daemon("lb2", false)
			h.truth(60*s, "resume lb2", checker.Truth{}).daemon("lb2", true)
		}, "", nil},
		{"P1a: cut from the cloud meanwhile", func(h *history) {
			oldWrite(70600 * ms)(h)
			h.truth(50*s, "cut lb2 from the cloud", checker.Truth{}).cut("lb2", checker.Cloud)
			h.truth(60*s, "join it", checker.Truth{})
		}, "", nil},
		{"P1a: long after the ticket, unhindered", oldWrite(70600 * ms), "P1", []string{"P1 at 1m10.6s", "lb2", "no valid ticket"}},

		{"P2: never at anybody", func(h *history) {
			h.Holders, h.Writes, h.End = nil, nil, 19*s
			h.Truth = h.Truth[:1]
		}, "P2", []string{"P2 at 4s", "at nobody until 19s", "lb1, lb2, lb3: fit", `"all well"`}},
		{"P2: stays at the sick one", cutAt(30*s, func(h *history) { h.dropMove(1) }), "P2", []string{"P2 at 24s", "lb1 until 30s", "lb2, lb3: fit"}},
		{"P2: too early to ask", cutAt(23900*ms, func(h *history) { h.dropMove(1) }), "", nil},
		{"P2: nobody else is fit", cutAt(30*s, func(h *history) {
			h.serving("lb2", false).serving("lb3", false)
			h.dropMove(1)
		}), "", nil},
		{"P2: rough", cutAt(30*s, func(h *history) {
			h.Truth[1].Rough = true
			h.dropMove(1)
		}), "", nil},
		{"P2: leaves a fit one for a moment", func(h *history) {
			h.truth(60*s, "a transfer", checker.Truth{MayMove: true})
			h.Holders = append(h.Holders, checker.Holder{At: 62 * s, To: "lb9"}, checker.Holder{At: 62*s + 200*ms, To: "lb1"})
		}, "P2", []string{"P2 at 1m2s", "lb9 until 1m2.2s"}},
		{"P2: the holder is cut from the majority", cutAt(60*s, func(h *history) {
			h.truth(50*s, "cut lb1", checker.Truth{MayMove: true}).cut("lb1", "lb2", "lb3")
		}), "P2", []string{"P2 at 54s", "lb1", "lb2, lb3: fit"}},
		{"P2: one direction is enough", cutAt(60*s, func(h *history) {
			h.truth(50*s, "cut lb1", checker.Truth{MayMove: true, Cut: [][2]string{{"lb1", "lb2"}, {"lb3", "lb1"}}})
		}), "P2", []string{"lb2, lb3: fit"}},
		{"P2: a bridge reaches both", cutAt(60*s, func(h *history) {
			h.truth(50*s, "cut lb1 from lb3", checker.Truth{MayMove: true}).cut("lb1", "lb3")
		}), "", nil},
		{"P2: no majority", cutAt(60*s, func(h *history) {
			h.truth(50*s, "cut all", checker.Truth{MayMove: true}).cut("lb1", "lb2", "lb3").cut("lb2", "lb3")
		}), "", nil},
		{"P2: the holder is cut from the cloud", cutAt(60*s, func(h *history) {
			h.truth(50*s, "cut lb1 from the cloud", checker.Truth{MayMove: true}).cut("lb1", checker.Cloud)
		}), "P2", []string{"lb1", "lb2, lb3: fit"}},
		{"P2: the holder's token is revoked", cutAt(60*s, func(h *history) {
			h.truth(50*s, "revoke", checker.Truth{MayMove: true}).change("lb1", func(c *checker.Condition) { c.API = false })
		}), "P2", []string{"lb1", "lb2, lb3: fit"}},

		{"P2: the client is not served", unservedFor(1200 * ms), "P2", []string{"P2 at 1m0s", "client is not served until 1m1.2s", "no route", "lb1, lb2, lb3: fit"}},
		{"P2: the client is not served for a moment", unservedFor(800 * ms), "", nil},

		{"P3: moves to one long sick", sickTarget(52500 * ms), "P3", []string{"P3 at 52.5s", "lb3, which has not served since 50s", "lb1, lb2"}},
		{"P3: it fell sick only now", sickTarget(51900 * ms), "", nil},
		{"P3: there is no better one", func(h *history) {
			sickTarget(52500 * ms)(h)
			h.serving("lb1", false).serving("lb2", false)
		}, "", nil},
		{"P3: the write was held by the cloud", func(h *history) {
			sickTarget(52500 * ms)(h)
			h.ticket("lb3", 5, 1, 50*s)
			w := h.write("lb3", 5, 51500*ms)
			w.Held = 1400 * ms
		}, "", nil},

		{"P4: is not moved back", cutAt(80*s, func(h *history) { h.dropMove(4) }), "P4", []string{"P4 at 1m16.1s", "outside", "until 1m20s"}},
		{"P4: is moved to a fit one from outside", cutAt(80*s, func(h *history) {
			h.Holders[3].To = "lb3"
			h.dropMove(4)
		}), "", nil},
		{"P4: too early to ask", cutAt(76*s, func(h *history) { h.dropMove(4) }), "", nil},
		{"P4: asks again for what is under way", func(h *history) {
			h.ticket("lb2", 3, 2, 20800*ms)
			h.write("lb2", 3, 20810*ms).Accepted = 0
		}, "P4", []string{"P4 at 20.81s", "lb2 asks again in epoch 3", "since 20.51s"}},
		{"P1: begins a write too late, which never arrives", func(h *history) {
			h.ticket("lb2", 3, 2, 30*s)
			h.Tickets[len(h.Tickets)-1].Begun = 30800 * ms
		}, "P1", []string{"P1 at 30.8s", "lb2 begins a write", "ended at 30.75s"}},
		{"P4: two writes", func(h *history) {
			h.ticket("lb1", 4, 3, 75*s)
			h.write("lb1", 4, 75010*ms)
		}, "P4", []string{"P4 at 1m15.01s", "2 writes", "lb1", "1 deviations since 1m10.1s"}},
		{"P4: two writes for two", func(h *history) {
			h.truth(74*s+500*ms, "move it away again", checker.Truth{Drift: true})
			h.Holders = append(h.Holders, checker.Holder{At: 74*s + 600*ms, To: checker.Outside, Foreign: true})
			h.claim(78*s, "lb1", 4, 3)
		}, "", nil},
		{"P4: one write each for two far apart", cutAt(69*s, func(h *history) {
			for _, at := range []time.Duration{70 * s, 80 * s} {
				h.truth(at, "move it away", checker.Truth{Drift: true})
				h.Holders = append(h.Holders, checker.Holder{At: at + 100*ms, To: checker.Outside, Foreign: true})
				h.claim(at+3*s, "lb1", 4, uint64(at/s))
			}
			h.ticket("lb1", 4, 99, 85*s)
			h.write("lb1", 4, 85010*ms)
			h.End = 100 * s
		}), "P4", []string{"P4 at 1m25.01s", "2 writes", "for 1 deviations since 1m20.1s"}},
		{"P4: hesitates after three", cutAt(69*s, duel(3, 7*s)), "", nil},
		{"P4: hesitates too long after three", cutAt(69*s, duel(3, 8300*ms)), "P4", []string{"P4 at 2m18.1s", "outside"}},
		{"P4: hesitates after two", cutAt(69*s, duel(2, 7*s)), "P4", []string{"P4 at 1m56.1s", "outside"}},
		{"P4: another leader's write for a reason of its own", func(h *history) {
			h.truth(71*s, "buoy transfer lb2", checker.Truth{MayMove: true})
			h.claim(75*s, "lb2", 5, 1)
		}, "", nil},
		{"P4: an old write, held by the cloud, is not undone", cutAt(49*s, func(h *history) {
			h.truth(50*s, "kill HAProxy on lb2", checker.Truth{}).serving("lb2", false)
			h.ticket("lb2", 3, 2, 39500*ms)
			h.write("lb2", 3, 60*s).Held = 20400 * ms
			h.Holders = append(h.Holders, checker.Holder{At: 61 * s, To: "lb2"})
			h.End = 69 * s
		}), "P4", []string{"P4 at 1m7s", "lb2"}},

		{"P5: moves without a cause", moveAt(60 * s), "P5", []string{"P5 at 1m1.01s", "lb2 without a cause"}},
		{"P5: the cause is too long ago", moveAt(51 * s), "P5", []string{"lb2 without a cause", `"start HAProxy on lb1" at 40s`}},
		{"P5: just in time", moveAt(49900 * ms), "", nil},
		{"P5: the cause was spent", func(h *history) {
			moveAt(46 * s)(h)
			h.truth(45*s, "at rest", checker.Truth{Rest: true})
		}, "P5", []string{"lb2 without a cause", `"at rest" at 45s`}},
		{"P5: a cause after the rest", func(h *history) {
			moveAt(46 * s)(h)
			h.truth(44*s, "at rest", checker.Truth{Rest: true})
			h.truth(45*s, "kill the daemon of lb1", checker.Truth{MayMove: true})
		}, "", nil},
		{"P5: a rough time with a reason lasts", func(h *history) {
			moveAt(65 * s)(h)
			h.truth(50*s, "loss", checker.Truth{MayMove: true, Rough: true})
		}, "", nil},
		{"P5: roughness alone is no reason", func(h *history) {
			moveAt(65 * s)(h)
			h.truth(50*s, "load", checker.Truth{Rough: true})
		}, "P5", []string{"lb2 without a cause"}},

		{"P6: writes without a majority", minority(55 * s), "P6", []string{"P6 at 55.01s", "lb1", "since 50s"}},
		{"P6: the majority is lost only now", minority(52 * s), "", nil},
		{"P6: begun before, held by the cloud", func(h *history) {
			minority(52 * s)(h)
			w := &h.Writes[len(h.Writes)-1]
			w.Arrived += 5 * s
			w.Accepted, w.Held = w.Arrived, 5*s
		}, "", nil},

		{"P7: a member is lost", func(h *history) { h.Samples[5].Members = []string{"lb1", "lb2"} }, "P7", []string{"P7 at 30s", "lb2 does not list lb3", "joined at 1s"}},
		{"P7: a vote is lost", func(h *history) { h.Samples[5].Voters = 2 }, "P7", []string{"lb2 counts 2 voters, and 3"}},
		{"P7: a member was removed", func(h *history) {
			h.Acks = append(h.Acks, checker.Ack{At: 25 * s, Member: "lb3", Left: true})
			for i := range h.Samples[5:] {
				h.Samples[5+i].Members, h.Samples[5+i].Voters = []string{"lb1", "lb2"}, 2
			}
		}, "", nil},
		{"P7: a follower knows less", func(h *history) {
			h.Samples = append(h.Samples, checker.Sample{At: 50 * s, Node: "lb2", Term: 1})
		}, "", nil},
		{"P7: the term goes back", func(h *history) { h.Samples[10].Term = 3 }, "P7", []string{"P7 at 55s", "term goes back: 3 at leader lb1, after 4"}},
		{"P7: a leader that has just woken", func(h *history) {
			h.truth(50*s, "hang lb2", checker.Truth{}).daemon("lb2", false)
			h.truth(55*s, "resume lb2", checker.Truth{}).daemon("lb2", true)
			h.Samples = append(h.Samples, checker.Sample{At: 55200 * ms, Node: "lb2", Leads: true, Term: 3, Voters: 3, Members: h.Setup.Nodes})
		}, "", nil},
		{"P7: the last move goes back", func(h *history) { h.Samples[10].Moved = 1 }, "P7", []string{"last move goes back"}},
		{"P7: an epoch of two nodes", func(h *history) { h.ticket("lb3", 3, 2, 30*s) }, "P7", []string{"P7 at 30s", "ticket of lb3 in epoch 3, which is of lb2"}},
		{"P7: epochs go back", func(h *history) { h.ticket("lb1", 2, 2, 30*s) }, "P7", []string{"ticket of lb1 of epoch 2 seq 2 after one of lb2 of epoch 3 seq 1"}},
		{"P7: numbers go back", func(h *history) { h.ticket("lb2", 3, 1, 30*s) }, "P7", []string{"epoch 3 seq 1 after"}},

		{"keepalived has no tickets", func(h *history) {
			h.Setup.System, h.Tickets, h.Roles, h.Samples = "keepalived (usual)", nil, nil, nil
			for i := range h.Writes {
				h.Writes[i].Node, h.Writes[i].Epoch = "", 0
			}
		}, "", nil},
		{"keepalived stays at the sick one", cutAt(30*s, func(h *history) {
			h.Setup.System, h.Tickets = "keepalived (usual)", nil
			h.dropMove(1)
		}), "P2", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := good()
			c.breakIt(h)
			expect(t, checker.Judge(h.History), c.want, c.text)
		})
	}
}

// expect checks that all of got are of one property, and that one has all of text.
func expect(t *testing.T, got []checker.Violation, property string, text []string) {
	t.Helper()
	if (property == "") != (len(got) == 0) {
		t.Fatalf("violations %q, want property %q", got, property)
	}
	found := len(got) == 0
	for _, v := range got {
		if v.Property != property {
			t.Errorf("%v, want only %s", v, property)
		}
		has := true
		for _, part := range text {
			has = has && strings.Contains(v.String(), part)
		}
		found = found || has
	}
	if !found {
		t.Errorf("violations %q, want one with all of %q", got, text)
	}
}

// duel has somebody move the address away again and again, and it is repaired 3 s later,
// free times, and once after took.
func duel(free int, took time.Duration) func(*history) {
	return func(h *history) {
		at := 70 * s
		for i := range free + 1 {
			after := 3 * s
			if i == free {
				after = took
			}
			h.truth(at, "move it away", checker.Truth{Drift: true})
			h.Holders = append(h.Holders, checker.Holder{At: at + 100*ms, To: checker.Outside, Foreign: true})
			h.claim(at+after, "lb1", 4, uint64(100+i))
			at += 20 * s
		}
		h.End = at
	}
}
