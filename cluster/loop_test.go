package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/fsm"
)

// leads is a loop without raft, in its term 7.
func leads() *loop {
	l := &loop{Node: bare(), bars: map[string]bar{}, actions: map[*action]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	l.tenure = &tenure{
		term: 7, ctx: ctx, cancel: cancel, looked: true, committed: true, readyAt: time.Now(),
		peers: map[string]*peer{"lb2-id": {}},
	}
	return l
}

func contactOf(boot string, seq uint64) fsm.Contact {
	return fsm.Contact{ID: "lb2-id", Report: fsm.Report{Member: "lb2-id", Boot: boot, Seq: seq}}
}

// TestReportsDoNotGoBack: a report and the answer to a probe travel side by side.
func TestReportsDoNotGoBack(t *testing.T) {
	l := leads()
	now := func() fsm.Report { return l.tenure.peers["lb2-id"].contact.Report }
	for i, step := range []struct {
		probe bool
		boot  string
		seq   uint64
		want  string
	}{
		{false, "a", 2, "a2"}, // before the first answer
		{true, "a", 1, "a2"},  // which had been on its way
		{false, "a", 3, "a3"},
		{true, "a", 2, "a3"},
		{false, "a", 2, "a3"},
		{true, "a", 4, "a4"},
		{true, "b", 1, "b1"}, // restarted: its reports count anew
		{false, "b", 2, "b2"},
	} {
		c := contactOf(step.boot, step.seq)
		if step.probe {
			l.probed(l.tenure, "lb2-id", c, nil)
		} else if err := l.received(c.Report); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(now().Boot, now().Seq); got != step.want {
			t.Errorf("step %d: report %s counts, want %s", i, got, step.want)
		}
	}
	if err := l.received(fsm.Report{Member: "stranger"}); err != nil || len(l.tenure.peers) != 1 {
		t.Errorf("a report of nobody's: %v, %d peers", err, len(l.tenure.peers))
	}
}

func TestRequestIsAnsweredOnce(t *testing.T) {
	var refused *fsm.RefusedError
	ask := func(l *loop, target string) chan requestAnswer {
		answer := make(chan requestAnswer, 2) // room for one too many
		l.requested(&request{Request: fsm.Request{Target: target}, answer: answer})
		return answer
	}
	for name, tc := range map[string]struct {
		target, leader string
		to, err        string
	}{
		"to the one asked for": {"lb2-id", "lb2-id", "lb2", ""},
		"to the best":          {"", "lb3-id", "lb3", ""},
		"to somebody else":     {"lb2-id", "lb3", "", "lb3 leads now instead"},
	} {
		t.Run(name, func(t *testing.T) {
			l := leads()
			first, second := ask(l, tc.target), ask(l, tc.target)
			if a := <-second; !errors.As(a.err, &refused) {
				t.Errorf("a second request: %+v, want a refusal", a)
			}
			l.succeeded(tc.leader)
			l.succeeded(tc.leader)
			l.answerRequest("", errors.New("late"))
			a := <-first
			if a.to != tc.to || (a.err == nil) != (tc.err == "") || (a.err != nil && !strings.Contains(a.err.Error(), tc.err)) {
				t.Errorf("answer %+v, want %q, %q", a, tc.to, tc.err)
			}
			if len(first) != 0 || l.request != nil {
				t.Error("answered twice, or still pending")
			}
		})
	}
}

// TestRequestThatComesTooLate reaches the loop when the node has just ceased to lead.
func TestRequestThatComesTooLate(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		answer := make(chan requestAnswer, 1)
		w.boxes["lb2"].node.post(func(l *loop) { l.requested(&request{answer: answer}) })
		var elsewhere *fsm.NotLeaderError
		if a := <-answer; !errors.As(a.err, &elsewhere) || elsewhere.Name != "lb1" {
			t.Errorf("answer %+v, want to be sent to lb1", a)
		}
	})
}

// TestNobodyIsRefusedUnasked asks for a transfer to a member that has just joined, before
// it has had the time to answer the leader.
func TestNobodyIsRefusedUnasked(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.probeDelay.Store(int64(200 * time.Millisecond))
		lb4 := w.add("lb4", 10, nil)
		lb1 := w.boxes["lb1"]
		w.must(lb4.node.Join(context.Background(), lb1.member.Address, func(string) {}))
		if to, err := lb1.node.Transfer(context.Background(), "lb4"); to != "lb4" || err != nil {
			t.Errorf("transfer: %q, %v", to, err)
		}
	})
}

// TestRequestOutlivesAnotherTransfer: the failure of a transfer that nobody asked for
// answers nobody.
func TestRequestOutlivesAnotherTransfer(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		defer w.boxes["lb2"].disk.hang()()
		lb1 := w.boxes["lb1"]
		lb1.fault()
		time.Sleep(guardFor / 2) // on the way to lb2, which lags
		if to, err := lb1.node.Transfer(context.Background(), "lb3"); to != "lb3" || err != nil {
			t.Errorf("transfer: %q, %v", to, err)
		}
	})
}

// TestStopInMidClaim: what is in flight is given up, and the lead handed over, at once.
func TestStopInMidClaim(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.cloud.setLatency(4 * time.Second)
		w.cloud.steal("nobody")
		before := w.cloud.attempts()
		for w.cloud.attempts() == before {
			time.Sleep(time.Millisecond)
		}
		w.cloud.setLatency(0)
		began := time.Now()
		w.boxes["lb1"].quit()
		if took := time.Since(began); took > 200*time.Millisecond {
			t.Errorf("the stop took %v", took)
		}
		w.settles("lb2", 200*time.Millisecond)
		w.cloud.disciplined(t)
	})
}

// TestStopOfALeaderThatIsNotReady: it does not know its peers yet, and hands over as
// soon as it does.
func TestStopOfALeaderThatIsNotReady(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.probeDelay.Store(int64(firstLook / 2))
		lb3 := w.boxes["lb3"]
		lb3.campaign()
		for lb3.node.raft.State() != raft.Leader {
			time.Sleep(time.Millisecond)
		}
		lb3.quit()
		w.settles("lb1", 300*time.Millisecond)
	})
}

// TestLeadershipThatReturnsAtOnce: the action of the former term is not waited for.
func TestLeadershipThatReturnsAtOnce(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.cloud.setLatency(4 * time.Second)
		w.cloud.steal("nobody")
		before := w.cloud.attempts()
		for w.cloud.attempts() == before {
			time.Sleep(time.Millisecond)
		}
		w.cloud.setLatency(0)
		w.boxes["lb2"].campaign()
		time.Sleep(10 * time.Millisecond)
		w.boxes["lb1"].campaign()
		w.settles("lb1", 500*time.Millisecond)
		w.stays(time.Minute)
		w.cloud.disciplined(t)
	})
}

func TestNobodyWaitsForALoopThatHasEnded(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		n := w.boxes["lb1"].node
		w.boxes["lb1"].quit()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		began := time.Now()
		for range 100 { // more than the mail holds
			var elsewhere *fsm.NotLeaderError
			if err := n.Receive(ctx, fsm.Report{}); !errors.As(err, &elsewhere) {
				t.Fatalf("a report to a node that has stopped: %v", err)
			}
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v to be refused", took)
		}
	})
}

// TestRecordDoesNotKeepALeader: the record of a move goes first, unless it does not go in.
func TestRecordDoesNotKeepALeader(t *testing.T) {
	l, now := leads(), time.Now()
	if !l.recorded(now) {
		t.Error("waits for nothing")
	}
	l.tenure.history = []fsm.Transition{{}}
	if l.recorded(now) {
		t.Error("hands over without telling of the last move")
	}
	l.written(l.tenure, 1, errors.New("no quorum"))
	if !l.recorded(time.Now()) {
		t.Error("stays because its record does not go in")
	}
}
