package cluster

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/fsm"
)

func TestFinding(t *testing.T) {
	for name, c := range map[string]struct {
		e    evidence
		want finding
	}{
		"nothing is known":                              {evidence{}, unclear},
		"answers that it leads":                         {evidence{answered: true, leads: true}, alive},
		"answers that it leads, all else against it":    {evidence{answered: true, leads: true, silent: true}, alive},
		"answers and leads no more: restarted":          {evidence{answered: true, linked: true}, gone},
		"refuses and no stream is left":                 {evidence{refused: true}, gone},
		"refuses new connections, streams stay":         {evidence{refused: true, linked: true}, unclear},
		"silent, no answer":                             {evidence{silent: true, linked: true}, gone},
		"no answer yet":                                 {evidence{linked: true}, unclear},
		"a heartbeat meanwhile":                         {evidence{heard: true, refused: true, silent: true}, alive},
		"streams reset, the network does not answer":    {evidence{}, unclear},
		"its machine lives, its daemon does not":        {evidence{refused: true, linked: true, silent: true}, gone},
		"a newer leader was heard, this one leads none": {evidence{heard: true, answered: true}, alive},
	} {
		if got := c.e.finding(); got != c.want {
			t.Errorf("%s: finding %d, want %d", name, got, c.want)
		}
	}
}

// elections is what a test counts: how often leadership was contested.
func (w *world) term() uint64 {
	var term uint64
	for _, b := range w.boxes {
		if b.node != nil {
			term = max(term, b.node.raft.CurrentTerm())
		}
	}
	return term
}

// successor waits until another than old leads, and says who, and after how long.
func (w *world) successor(old string) (string, time.Duration) {
	began := time.Now()
	w.until(func() bool { l := w.leader(); return l != nil && l.name != old })
	return w.leader().name, time.Since(began)
}

// quietTerm fails the test if anything makes the term grow within d.
func (w *world) quietTerm(d time.Duration) {
	w.t.Helper()
	before := w.term()
	time.Sleep(d)
	if now := w.term(); now != before {
		w.t.Errorf("within %v the term went from %d to %d: a live leader was contested", d, before, now)
	}
}

func TestDeadDaemonIsSucceededAtOnce(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		term := w.term()
		bury := w.boxes["lb1"].die()
		if name, took := w.successor("lb1"); name != "lb2" || took > 50*time.Millisecond {
			t.Errorf("%s leads after %v, want lb2 within 50ms", name, took)
		}
		bury()
		w.settles("lb2", time.Second)
		time.Sleep(time.Second) // the others' turns pass
		if now := w.term(); now != term+1 {
			t.Errorf("%d elections for one death", now-term)
		}
		if s := w.boxes["lb2"].node.Status(); s.Last == nil || s.Last.Reason != "leader lb1 is gone" {
			t.Errorf("last move %+v, want the reason that lb1 is gone", s.Last)
		}
		w.cloud.disciplined(t)
	})
}

// TestSilentLeaderIsSucceededBeforeRaftsTimers has no connection end: power, cable, SIGSTOP.
func TestSilentLeaderIsSucceededBeforeRaftsTimers(t *testing.T) {
	for range 5 { // heartbeats and timers are drawn
		three(t, func(t *testing.T, w *world) {
			term := w.term()
			w.isolate("lb1", true)
			limit := testLAN.silence() + 2*testLAN.look()
			if name, took := w.successor("lb1"); name != "lb2" || took > limit {
				t.Errorf("%s leads after %v, want lb2 within %v", name, took, limit)
			}
			if now := w.term(); now != term+1 {
				t.Errorf("%d elections for one death", now-term)
			}
			w.settles("lb2", time.Second)
			w.isolate("lb1", false)
			w.settles("lb1", 30*time.Second)
			w.cloud.disciplined(t)
		})
	}
}

// TestRestartedLeaderIsNoLeader: a supervisor may have the process back within
// milliseconds, and something listens again.
func TestRestartedLeaderIsNoLeader(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.boxes["lb1"].kill()
		w.boxes["lb1"].boot()
		if _, took := w.successor(""); took > 50*time.Millisecond {
			t.Errorf("somebody leads after %v, want within 50ms", took)
		}
		w.settles("lb1", 10*time.Second)
		w.cloud.disciplined(t)
	})
}

// The tests below are false alarms. Each of them would depose a healthy leader if the sign
// alone counted; the term says whether anybody tried.

func TestHangupOfALiveLeaderIsNoDeath(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		for range 10 { // a lone reset, and one of all streams: the leader answers a new connection
			w.boxes["lb2"].node.PeerGone(w.boxes["lb1"].member.ID)
			w.quietTerm(2 * time.Second)
			w.mark(w.unlinked, "lb1", true)
			w.boxes["lb1"].hangUp()
			w.quietTerm(2 * time.Second)
			w.mark(w.unlinked, "lb1", false)
		}
		w.stays(time.Minute)
	})
}

// TestFirewallThatRejectsIsNoDeath refuses new connections to the leader; its own streams
// go on, and its heartbeats with them.
func TestFirewallThatRejectsIsNoDeath(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.mark(w.rejects, "lb1", true)
		for range 10 {
			w.boxes["lb1"].hangUp() // one of its streams was reset, the others are open
			w.quietTerm(time.Second)
		}
	})
}

// TestOneWitnessIsNotEnough rejects and resets between the leader and one follower only,
// for as long as raft does not mind.
func TestOneWitnessIsNotEnough(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.mu.Lock()
		for _, link := range [][2]string{{"lb1", "lb3"}, {"lb3", "lb1"}} {
			w.cut[link] = true
		}
		w.mu.Unlock()
		w.connect()
		w.boxes["lb3"].node.PeerGone(w.boxes["lb1"].member.ID)
		w.quietTerm(time.Minute)
		w.stays(time.Minute)
	})
}

func TestRestartedFollowerDeposesNobody(t *testing.T) {
	three(t, func(_ *testing.T, w *world) {
		for range 5 {
			w.boxes["lb3"].kill()
			w.boxes["lb3"].boot()
			w.quietTerm(2 * time.Second)
		}
	})
}

// TestLaggingLinkDeposesNobody delays heartbeats to one follower for about as long as it takes to suspect.
func TestLaggingLinkDeposesNobody(t *testing.T) {
	three(t, func(_ *testing.T, w *world) {
		for _, pause := range []time.Duration{150, 220, 280} {
			w.oneWay("lb1", "lb3", true)
			time.Sleep(pause * time.Millisecond)
			w.oneWay("lb1", "lb3", false)
			w.quietTerm(2 * time.Second)
		}
	})
}

// TestTheBestOfTheSurvivorsStandsFirst has five nodes, one after the other killed.
func TestTheBestOfTheSurvivorsStandsFirst(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var names []string
		for i, p := range []int{150, 140, 130, 120, 110} {
			names = append(names, fmt.Sprintf("lb%d", i+1))
			w.add(names[i], p, nil)
		}
		w.form("lb1", names...)
		w.settles("lb1", 20*time.Second)
		time.Sleep(2 * tickInterval)
		w.boxes["lb2"].fault() // not fit: lb3 is the best
		time.Sleep(2 * tickInterval)
		term := w.term()
		defer w.boxes["lb1"].die()()
		if name, took := w.successor("lb1"); name != "lb3" || took > 50*time.Millisecond {
			t.Errorf("%s leads after %v, want lb3 within 50ms", name, took)
		}
		time.Sleep(time.Second)
		if now := w.term(); now != term+1 {
			t.Errorf("%d elections for one death", now-term)
		}
	})
}

// TestNobodyFitStillElects: a leader that holds is better than none, and the witness is the
// last to be it.
func TestNobodyFitStillElects(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.add("lb1", 150, nil)
		w.add("lb2", 100, nil)
		w.add("wit", 250, func(b *box) { b.member.Role = fsm.RoleWitness })
		w.form("lb1", "lb2", "wit")
		w.settles("lb1", 10*time.Second)
		w.boxes["lb2"].fault()
		w.boxes["lb1"].fault()
		time.Sleep(2 * tickInterval)
		defer w.boxes["lb1"].die()()
		if name, took := w.successor("lb1"); name != "lb2" || took > time.Second {
			t.Errorf("%s leads after %v, want lb2 within 1s", name, took)
		}
		w.stays(time.Minute)
		w.boxes["lb2"].heal()
		w.settles("lb2", 5*time.Second)
	})
}

// TestUnfitNodesLetOthersBeElected restarts everybody, so that only raft's timers elect.
func TestUnfitNodesLetOthersBeElected(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		sick := w.boxes["lb1"]
		sick.fault()
		w.settles("lb2", 5*time.Second)
		for range 10 {
			for _, b := range w.boxes {
				b.kill()
			}
			for _, b := range w.boxes {
				b.boot()
			}
			if name, _ := w.successor(""); name == "lb1" {
				t.Fatal("lb1 was elected first though it is in FAULT")
			}
			time.Sleep(5 * time.Second)
		}
	})
}

// TestVetoLapses leaves only unfit nodes to elect one of them by raft's timers.
func TestVetoLapses(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		for _, b := range w.boxes {
			b.fault()
		}
		for _, b := range w.boxes {
			b.kill()
		}
		for _, b := range w.boxes {
			b.boot()
		}
		_, took := w.successor("")
		if least, most := vetoLapses*testLAN.Election, 2*vetoLapses*testLAN.Election; took < least || took > most {
			t.Errorf("somebody leads after %v, want %v to %v", took, least, most)
		}
	})
}

func TestWhoMayAskToTakeOver(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		lb1, lb2, lb3 := w.boxes["lb1"], w.boxes["lb2"], w.boxes["lb3"]
		from := func(b *box) *raft.TimeoutNowRequest {
			return &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(b.member.ID)}}
		}
		if err := lb2.node.gate.refuse(from(lb1)); err != nil {
			t.Errorf("the leader was refused: %v", err)
		}
		if lb2.node.gate.refuse(from(lb3)) == nil || lb2.node.gate.refuse(&raft.TimeoutNowRequest{}) == nil {
			t.Error("somebody who does not lead was not refused")
		}
		stranger := w.add("lb9", 10, nil)
		if stranger.node.gate.refuse(from(lb1)) == nil {
			t.Error("a node that does not vote would take over")
		}
		lb2.fault()
		if lb2.node.gate.refuse(from(lb1)) == nil {
			t.Error("a node in FAULT would take over")
		}
	})
}

// TestANodeDoesNotStandTooOften has the best one's turns used up: the next one is elected,
// and hands over to it.
func TestANodeDoesNotStandTooOften(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		for w.boxes["lb2"].node.campaigns.Allow() {
		}
		term := w.term()
		defer w.boxes["lb1"].die()()
		w.settles("lb2", time.Second)
		if now := w.term(); now != term+2 {
			t.Errorf("%d changes of leader, want 2", now-term)
		}
	})
}

// TestStandingIsTakenBack: raft's loop hangs with its disk, and what it would do on waking is
// no longer right.
func TestStandingIsTakenBack(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		lb3 := w.boxes["lb3"]
		resume := lb3.disk.hang()
		w.boxes["lb2"].fault() // an entry that lb3 cannot store
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		if err := lb3.node.gate.stand(t.Context()); err == nil || time.Since(began) > testLAN.Election {
			t.Errorf("standing with a hung disk: %v after %v, want an error within %v", err, time.Since(began), testLAN.Election)
		}
		resume()
		w.quietTerm(5 * time.Second)
	})
}

func TestSteadyLinks(t *testing.T) {
	beatAt := func(p *pulse, at time.Time, term uint64) {
		p.note(&raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{ID: []byte("lb1")}, Term: term}, at)
	}
	p := newPulse(Timing{Heartbeat: time.Hour, Election: time.Hour, Lease: time.Hour / 2}, func() {})
	t.Cleanup(p.stop)
	now := time.Now()
	var steady []bool
	for _, gap := range []time.Duration{time.Minute, 45 * time.Minute, time.Second, 6 * time.Second, 6 * time.Second, 6 * time.Second} {
		now = now.Add(gap)
		beatAt(p, now, 3)
		steady = append(steady, p.steady())
	}
	if want := []bool{true, false, false, true, true, true}; !slices.Equal(steady, want) {
		t.Errorf("steady: %v, want %v", steady, want)
	}
	beatAt(p, now.Add(time.Minute), 2)
	if got := p.last(); got.term != 3 || !got.at.Equal(now) {
		t.Errorf("a heartbeat of a former term counted: %+v", got)
	}
}
