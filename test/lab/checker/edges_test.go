package checker_test

import (
	"testing"
	"time"

	"github.com/buoy-lb/buoy/test/lab/checker"
)

// TestJudgeAtTheEdges holds the cases in which a judge is most likely to be wrong: too
// strict with what the lab did itself, or too lenient because of it.
func TestJudgeAtTheEdges(t *testing.T) {
	for _, c := range []struct {
		name    string
		breakIt func(*history)
		want    string   // the property of all violations, "" for none
		text    []string // all in one of them
	}{
		{"P1: two backups in a term", func(h *history) {
			h.Roles = append(h.Roles, checker.Role{At: 30 * s, Node: "lb3", State: "BACKUP", Term: 3})
		}, "", nil},
		{"P1: a write is late in rough times", func(h *history) {
			h.truth(49*s, "loss", checker.Truth{Rough: true})
			h.truth(60*s, "no loss", checker.Truth{})
			h.ticket("lb1", 4, 2, 50*s)
			h.write("lb1", 4, 55*s)
			h.Tickets[3].Seq = 3
		}, "", nil},

		{"P1: given back, and hung before it could say that it is released", func(h *history) {
			hungWithTicket(1020 * ms)(h)
			h.Tickets[0].Ended = 1015 * ms
		}, "", nil},
		{"P1: hung before it gave the ticket back", hungWithTicket(1020 * ms), "P1", []string{"tickets overlap"}},

		{"P2: a holder without a vote", cutAt(60*s, func(h *history) {
			h.truth(50*s, "take lb1's vote", checker.Truth{MayMove: true}).change("lb1", func(c *checker.Condition) { c.Voter = false })
		}), "P2", []string{"lb2, lb3: fit"}},
		{"P2: the clock starts when the rough time ends", cutAt(50*s, func(h *history) {
			h.truth(50*s, "loss", checker.Truth{Rough: true, MayMove: true})
			h.truth(60*s, "no loss", checker.Truth{})
			h.Holders = append(h.Holders, checker.Holder{At: 55 * s, To: "lb9"}, checker.Holder{At: 62 * s, To: "lb1"})
			h.End = 70 * s
		}), "", nil},
		{"P2: one daemon of three", cutAt(60*s, func(h *history) {
			h.truth(50*s, "kill lb1, and buoy on lb2", checker.Truth{}).daemon("lb1", false).daemon("lb2", false).serving("lb1", false)
		}), "", nil},
		{"P2: two of four are no majority", cutAt(60*s, func(h *history) {
			h.truth(50*s, "split", checker.Truth{}).serving("lb1", false).cut("lb1", "lb3", "lb4").cut("lb2", "lb3", "lb4")
			h.change("lb4", func(c *checker.Condition) {
				*c = checker.Condition{Serving: true, Daemon: true, Voter: true, API: true}
			})
		}), "", nil},

		{"P3: before the record began", func(h *history) {
			sickTarget(52500 * ms)(h)
			h.Truth = h.Truth[len(h.Truth)-1:]
			h.Truth[0].At = 51 * s
		}, "", nil},
		{"P3: rough", func(h *history) {
			sickTarget(52500 * ms)(h)
			h.Truth[len(h.Truth)-1].Rough = true
		}, "", nil},
		{"P3: nobody was fit all the time", func(h *history) {
			sickTarget(52500 * ms)(h)
			h.serving("lb2", false)
			h.truth(51500*ms, "lb2 instead of lb1", checker.Truth{}).serving("lb1", false).serving("lb2", true)
			h.End = 55 * s
		}, "", nil},

		{"P4: two writes before all had settled", cutAt(49*s, func(h *history) {
			h.truth(50*s, "kill HAProxy on lb3", checker.Truth{}).serving("lb3", false)
			h.Holders = append(h.Holders, checker.Holder{At: 51 * s, To: checker.Outside, Foreign: true})
			h.claim(52*s, "lb1", 4, 2)
			h.ticket("lb1", 4, 3, 53500*ms)
			h.write("lb1", 4, 53510*ms)
			h.End = 65 * s
		}), "", nil},

		{"P5: drift as the lab tells it", func(h *history) {
			moveAt(60 * s)(h)
			h.truth(59*s, "move it away, in vain", checker.Truth{Drift: true})
		}, "", nil},
		{"P5: drift as the cloud tells it", cutAt(60*s, func(h *history) {
			h.Holders = append(h.Holders, checker.Holder{At: 60 * s, To: checker.Outside, Foreign: true})
			h.claim(62*s, "lb1", 4, 2)
			h.End = 70 * s
		}), "", nil},
		{"P5: the rough time is over", func(h *history) {
			moveAt(65 * s)(h)
			h.truth(50*s, "loss", checker.Truth{MayMove: true, Rough: true})
			h.truth(52*s, "no loss", checker.Truth{})
		}, "P5", []string{"P5 at 1m6.01s", "lb2 without a cause"}},
		{"P5: a write held by the cloud had another target", func(h *history) {
			moveAt(60 * s)(h)
			oldWrite(60500 * ms)(h)
			w := &h.Writes[len(h.Writes)-1]
			w.Accepted, w.Held, w.Target = w.Arrived, 20400*ms, "lb3"
		}, "P5", []string{"lb2 without a cause"}},

		{"P6: held up on its way", func(h *history) {
			minority(52 * s)(h)
			h.cut("lb1", checker.Cloud)
			w := &h.Writes[len(h.Writes)-1]
			w.Arrived, w.Accepted = 58*s, 58*s
		}, "", nil},
		{"P6: the others' daemons are down", cutAt(50*s, func(h *history) {
			h.truth(50*s, "kill buoy on lb2 and lb3", checker.Truth{}).daemon("lb2", false).daemon("lb3", false)
			h.ticket("lb1", 4, 2, 55*s)
			h.write("lb1", 4, 55010*ms)
			h.End = 60 * s
		}), "P6", []string{"lb1", "since 50s"}},
		{"P6: reaches who has no vote", strandedWithLb3(false), "P6", []string{"lb1", "since 50s"}},
		{"P6: reaches who may just have got a vote", strandedWithLb3(true), "", nil},
		{"P6: one vote less may just be enough", cutAt(50*s, func(h *history) {
			h.truth(50*s, "remove lb4", checker.Truth{Rough: true}).cut("lb1", "lb3", "lb4")
			h.change("lb4", func(c *checker.Condition) { c.Daemon, c.Voter = true, true })
			h.ticket("lb1", 4, 2, 55*s)
			h.write("lb1", 4, 55010*ms)
			h.End = 60 * s
		}), "", nil},

		{"P7: lost before it was removed", func(h *history) {
			h.Samples[5].Members = []string{"lb1", "lb2"}
			h.Acks = append(h.Acks, checker.Ack{At: 97 * s, Member: "lb3", Left: true})
		}, "P7", []string{"P7 at 30s", "does not list lb3"}},
		{"P7: joined while the leader was asked", func(h *history) {
			h.Acks = append(h.Acks, checker.Ack{At: 29500 * ms, Member: "lb4"}, checker.Ack{At: 31 * s, Member: "lb4", Left: true})
		}, "", nil},
		{"P7: the old leader's last answer", func(h *history) {
			h.Samples = append(h.Samples,
				checker.Sample{At: 40800 * ms, Node: "lb1", Leads: true, Term: 4, Voters: 3, Members: h.Setup.Nodes, Moved: 4e9},
				checker.Sample{At: 41500 * ms, Node: "lb2", Leads: true, Term: 3, Voters: 3, Members: h.Setup.Nodes, Moved: 3e9})
		}, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := good()
			c.breakIt(h)
			expect(t, checker.Judge(h.History), c.want, c.text)
		})
	}
}

// strandedWithLb3 has lb1 write when it reaches lb3 alone, which has no vote; or may
// have one, if membership is in motion.
func strandedWithLb3(inMotion bool) func(*history) {
	return cutAt(50*s, func(h *history) {
		h.truth(50*s, "cut lb1 from lb2", checker.Truth{Rough: inMotion}).cut("lb1", "lb2")
		h.change("lb3", func(c *checker.Condition) { c.Voter = false })
		h.ticket("lb1", 4, 2, 55*s)
		h.write("lb1", 4, 55010*ms)
		h.End = 60 * s
	})
}

// hungWithTicket has lb1, which has just written, be hung at that time, and lb2 take a
// ticket at 1.7 s, in the lifetime of lb1's.
func hungWithTicket(at time.Duration) func(*history) {
	return cutAt(1500*ms, func(h *history) {
		h.truth(at, "hang lb1", checker.Truth{MayMove: true}).daemon("lb1", false)
		h.ticket("lb2", 3, 1, 1700*ms)
		h.End = 3 * s
	})
}
