package cluster

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

func TestFormsAndClaims(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		time.Sleep(time.Second)
		s := w.boxes["lb1"].node.Status()
		if len(s.Members) != 3 || s.Voters != 3 || s.Reachable != 3 {
			t.Errorf("status: %d members, %d voters, %d reachable; want 3 of each", len(s.Members), s.Voters, s.Reachable)
		}
		if got := s.Members[0].State; got != StateMaster {
			t.Errorf("lb1 is %s, want MASTER", got)
		}
		w.stays(10 * time.Minute)
		w.cloud.disciplined(t)
	})
}

func TestFaultFailsOverAndBack(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		lb1 := w.boxes["lb1"]
		lb1.fault()
		w.settles("lb2", time.Second)
		w.stays(time.Minute)
		if s := w.boxes["lb2"].node.Status(); s.Last == nil || s.Last.From != "lb1" || s.Last.To != "lb2" {
			t.Errorf("last move %+v, want lb1 to lb2", s.Last)
		}
		lb1.heal()
		w.settles("lb1", 5*time.Second)
		w.stays(time.Minute)
		w.cloud.disciplined(t)
	})
}

func TestEverybodyInFaultHolds(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		for _, name := range []string{"lb2", "lb3", "lb1"} {
			w.boxes[name].fault()
			time.Sleep(5 * time.Second)
		}
		w.stays(5 * time.Minute)
		if h := w.cloud.holder(); h != "lb1" {
			t.Fatalf("%s holds the address, want lb1", h)
		}
		a := w.boxes["lb1"].node.Status().Addresses[0]
		if a.State != AddressClaimed || a.Holder != "lb1" || time.Since(a.VerifiedAt) > time.Minute {
			t.Errorf("the address is %s by %q, verified %v ago; want claimed by lb1 and looked after", a.State, a.Holder, time.Since(a.VerifiedAt))
		}
		w.cloud.steal("lb2")
		time.Sleep(time.Minute)
		if a := w.boxes["lb1"].node.Status().Addresses[0]; a.Holder != "lb2" {
			t.Errorf("the address is said to be at %q, the cloud has it at lb2", a.Holder)
		}
		w.stays(time.Minute)
		w.boxes["lb3"].heal()
		w.settles("lb3", 5*time.Second)
		w.cloud.disciplined(t)
	})
}

// TestRecoveryDoesNotWaitForTheNextLook: the leader, unfit, has just found the address with
// nobody; as soon as it is well it claims.
func TestRecoveryDoesNotWaitForTheNextLook(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		for _, name := range []string{"lb2", "lb3", "lb1"} {
			w.boxes[name].fault()
			time.Sleep(time.Second)
		}
		w.cloud.steal("nobody")
		lb1 := w.boxes["lb1"]
		for end := time.Now().Add(time.Minute); lb1.node.Status().Addresses[0].State != AddressLost; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("no look has found the address gone")
			}
		}
		lb1.heal()
		w.settles("lb1", 100*time.Millisecond)
		w.cloud.disciplined(t)
	})
}

func TestCloudThatDoesNotAnswerMakesNobodyLess(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		for name := range w.boxes {
			w.cloud.fail(name, testFault{own: false})
		}
		time.Sleep(2 * time.Minute)
		s := w.boxes["lb1"].node.Status()
		if s.Members[0].State != StateMaster || s.Addresses[0].State != AddressUnverified || s.Addresses[0].Error == "" {
			t.Errorf("lb1 is %s, the address %s (%q); want MASTER and unverified", s.Members[0].State, s.Addresses[0].State, s.Addresses[0].Error)
		}
	})
}

func TestStatusWithoutAQuorumClaimsNothing(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.boxes["lb2"].kill()
		w.boxes["lb3"].kill()
		time.Sleep(5 * time.Second)
		s := w.boxes["lb1"].node.Status()
		for _, m := range s.Members[1:] {
			if m.State != StateUnreachable {
				t.Errorf("%s is dead and shown as %s", m.Member.Name, m.State)
			}
		}
		if a := s.Addresses[0]; a.Holder != "lb1" || a.State != AddressUnverified || a.VerifiedAt.IsZero() {
			t.Errorf("the address: %+v; want lb1's, unverified now, and when it last was", a)
		}
		if s.LeaderID != "" {
			t.Errorf("leader %q without a quorum", s.LeaderID)
		}
	})
}

// TestEmptyChairGoesToTheBest has raft elect whom it likes: preempt: false protects a
// holder, not whoever happened to win.
func TestEmptyChairGoesToTheBest(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for name, priority := range map[string]int{"lb1": 150, "lb2": 100, "lb3": 50} {
			w.add(name, priority, func(b *box) { b.member.Preempt = false })
		}
		w.form("lb2", "lb1", "lb3")
		w.settles("lb2", 10*time.Second)
		w.stays(time.Minute)
		w.boxes["lb2"].kill()
		w.until(func() bool { return w.leader() != nil })
		w.boxes["lb3"].campaign() // the worst wins
		w.settles("lb1", 10*time.Second)
		for _, wr := range w.cloud.writes() {
			if wr.node == "lb3" {
				t.Error("lb3 claimed before its betters were asked")
			}
		}
		w.cloud.disciplined(t)
	})
}

// TestIncumbentKeepsTheAddress costs the healthy holder its lead, and nothing else.
func TestIncumbentKeepsTheAddress(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, name := range []string{"lb1", "lb2", "lb3"} {
			w.add(name, 100, nil)
		}
		w.form("lb1", "lb2", "lb3")
		w.settles("lb1", 10*time.Second)
		time.Sleep(2 * tickInterval)
		writes := len(w.cloud.writes())
		for range 5 {
			w.boxes["lb3"].campaign()
			w.settles("lb1", 5*time.Second)
			w.stays(10 * time.Second)
		}
		if n := len(w.cloud.writes()); n != writes {
			t.Errorf("%d writes for elections that changed nothing", n-writes)
		}
	})
}

func TestKilledLeaderIsReplacedAndComesBack(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.boxes["lb1"].kill()
		w.settles("lb2", 5*time.Second)
		w.boxes["lb1"].boot()
		w.settles("lb1", 5*time.Second)
		w.stays(time.Minute)
		w.cloud.disciplined(t)
	})
}

func TestNopreemptLeavesAHealthyLeader(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.add("lb1", 150, func(b *box) { b.member.Preempt = false })
		w.add("lb2", 100, nil)
		w.add("lb3", 50, nil)
		w.form("lb1", "lb2", "lb3")
		w.settles("lb1", 10*time.Second)
		w.boxes["lb1"].quit()
		w.settles("lb2", time.Second)
		w.boxes["lb1"].boot()
		w.stays(5 * time.Minute)
		w.boxes["lb2"].fault()
		w.settles("lb1", 5*time.Second)
		w.cloud.disciplined(t)
	})
}

func TestPlannedStopHandsOverFirst(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		began := time.Now()
		w.boxes["lb1"].quit()
		if took := time.Since(began); took > leaveTimeout {
			t.Errorf("the stop took %v", took)
		}
		w.settles("lb2", 500*time.Millisecond)
		w.cloud.disciplined(t)
	})
}

func TestFlappingHealthEndsAtTheBest(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		for range 10 {
			w.boxes["lb1"].fault()
			time.Sleep(700 * time.Millisecond)
			w.boxes["lb1"].heal()
			time.Sleep(700 * time.Millisecond)
		}
		w.settles("lb1", 5*time.Second)
		w.stays(time.Minute)
		if n := len(w.cloud.writes()); n > 6 {
			t.Errorf("the address moved %d times; lb1 should have been damped after its second fall", n)
		}
		w.cloud.disciplined(t)
	})
}

func TestMinorityNeverWrites(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.isolate("lb1", true)
		w.settles("lb2", 5*time.Second)
		before := len(w.cloud.writes())
		w.cloud.steal("nobody") // tempts everybody who still believes to lead
		w.settles("lb2", 2*time.Minute)
		for _, wr := range w.cloud.writes()[before:] {
			if wr.node != "lb2" {
				t.Errorf("%s wrote without a majority", wr.node)
			}
		}
		w.isolate("lb1", false)
		w.settles("lb1", 30*time.Second)
		w.stays(time.Minute)
		w.cloud.disciplined(t)
	})
}

func TestSlowCloudClaimEndsWithLeadership(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.cloud.setLatency(4 * time.Second)
		w.cloud.steal("nobody")
		time.Sleep(45 * time.Second) // lb1 has noticed and repaired it
		w.settles("lb1", 30*time.Second)
		w.cloud.steal("nobody")
		time.Sleep(31 * time.Second) // lb1 may be in mid-claim
		w.isolate("lb1", true)
		w.settles("lb2", 20*time.Second)
		w.cloud.disciplined(t)
	})
}

func TestLostReportIsFoundByTheProbe(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.dropReports.Store(true)
		w.boxes["lb2"].fault()
		time.Sleep(3 * time.Second)
		w.boxes["lb1"].fault()
		w.settles("lb3", 2*time.Second)
		w.cloud.disciplined(t)
	})
}

func TestRestartOfAll(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		for _, b := range w.boxes {
			b.kill()
		}
		for _, b := range w.boxes {
			b.boot()
		}
		w.settles("lb1", 10*time.Second)
		w.stays(time.Minute)
		if n := len(w.cloud.writes()); n > 3 {
			t.Errorf("%d writes in all, want 3 at most", n)
		}
		w.cloud.disciplined(t)
	})
}

func TestDriftIsRepairedAndRecorded(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		time.Sleep(2 * time.Minute)
		w.cloud.steal("lb3")
		w.settles("lb1", 40*time.Second)
		time.Sleep(time.Second)
		if s := w.boxes["lb1"].node.Status(); s.Last == nil || s.Last.Reason != "the address had been moved away" {
			t.Errorf("last move %+v, want a repaired drift", s.Last)
		}
		w.cloud.disciplined(t)
	})
}

// TestLateSuccessOfAnEarlierClaimIsRecorded: the cloud carries a claim out when the term in
// which it was made is over; the next leader finds the address here.
func TestLateSuccessOfAnEarlierClaimIsRecorded(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		bury := w.boxes["lb1"].die()
		w.cloud.steal("lb2")
		bury()
		w.settles("lb2", 5*time.Second)
		time.Sleep(time.Second)
		s := w.boxes["lb2"].node.Status()
		if s.Last == nil || s.Last.From != "lb1" || s.Last.To != "lb2" || s.Last.Reason != "leader lb1 is gone" {
			t.Fatalf("last move %+v, want lb1 to lb2, for lb1 is gone", s.Last)
		}
		if least, total := s.Last.Stages.Claim, s.Last.Stages.Total(); least < 0 || total > time.Minute {
			t.Errorf("absurd stages %+v", s.Last.Stages)
		}
		w.settles("lb2", time.Second)
		if n := len(w.boxes["lb2"].node.fsm.State().Transitions); n != 2 {
			t.Errorf("%d moves on record, want the first claim and this one", n)
		}
	})
}

func TestOwnFaultHandsOverToAPeerThatCan(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.cloud.fail("lb1", testFault{own: true})
		w.cloud.fail("lb2", testFault{own: true})
		w.settles("lb3", 2*time.Minute)
		w.stays(10 * time.Minute)
		w.cloud.fail("lb1", nil)
		w.settles("lb1", 10*time.Minute)
		w.cloud.disciplined(t)
	})
}

func TestSharedFaultMovesNothing(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		for name := range w.boxes {
			w.cloud.fail(name, testFault{own: false})
		}
		w.stays(10 * time.Minute)
		if l := w.leader(); l == nil || l.name != "lb1" {
			t.Fatalf("leadership moved")
		}
		for name := range w.boxes {
			w.cloud.fail(name, nil)
		}
		w.settles("lb1", 30*time.Second)
	})
}

func TestRequestedTransferSticks(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		if to, err := w.boxes["lb1"].node.Transfer(context.Background(), "lb3"); err != nil || to != "lb3" {
			t.Fatalf("transfer: %q, %v", to, err)
		}
		w.settles("lb3", time.Second)
		w.stays(10 * time.Minute)
		w.boxes["lb3"].quit()
		w.settles("lb1", 5*time.Second)
		w.cloud.disciplined(t)
	})
}

// TestChosenHolderOutlivesAFailedHandBack: raft elects another one by chance, which cannot
// give the lead back for a while.
func TestChosenHolderOutlivesAFailedHandBack(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		if _, err := w.boxes["lb1"].node.Transfer(context.Background(), "lb2"); err != nil {
			t.Fatal(err)
		}
		w.settles("lb2", time.Second)
		time.Sleep(2 * tickInterval)
		resume := w.boxes["lb2"].disk.hang()
		w.boxes["lb1"].campaign()
		w.stays(5 * time.Second)
		resume()
		w.settles("lb2", 2*time.Minute)
		w.stays(time.Minute)
		w.cloud.disciplined(t)
	})
}

func TestTransferIsRefusedWithAReason(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		lb1 := w.boxes["lb1"].node
		w.boxes["lb2"].fault()
		time.Sleep(2 * time.Second)
		for _, target := range []string{"lb1", "lb2", "lb9"} {
			var refused *fsm.RefusedError
			if _, err := lb1.Transfer(context.Background(), target); !errors.As(err, &refused) {
				t.Errorf("transfer to %s: %v, want a refusal", target, err)
			}
		}
		var elsewhere *fsm.NotLeaderError
		if _, err := w.boxes["lb3"].node.Transfer(context.Background(), ""); !errors.As(err, &elsewhere) || elsewhere.Name != "lb1" {
			t.Errorf("asked a follower: %v, want to be sent to lb1", err)
		}
		w.stays(time.Minute)
	})
}

func TestJoinIsRefusedWithAReason(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		for name, change := range map[string]func(*box){
			"lb2": func(*box) {}, // a name that is taken
			"lb5": func(b *box) { b.timing.Heartbeat, b.timing.Election = time.Second, time.Second },
			"lb6": func(b *box) { b.member.Instance = "102" },
		} {
			old := w.boxes[name]
			b := w.add(name, 10, change)
			var refused *fsm.RefusedError
			err := b.node.Join(context.Background(), w.boxes["lb1"].member.Address, func(string) {})
			if !errors.As(err, &refused) {
				t.Errorf("%s: %v, want a refusal", name, err)
			}
			b.quit()
			w.put(name, old)
		}
		// The address of another member: no machine of the harness's can have it.
		c := w.boxes["lb3"].node.Contact()
		c.ID, c.Member.ID, c.Member.Name, c.Member.Instance = "lb7-0", "lb7-0", "lb7", "107"
		c.Member.Address = w.boxes["lb2"].member.Address
		if err := w.boxes["lb1"].node.Admit(context.Background(), c); err == nil || !strings.Contains(err.Error(), "belongs to the member lb2") {
			t.Errorf("the address of lb2: %v, want a refusal that names lb2", err)
		}
		if n := len(w.boxes["lb1"].node.servers()); n != 3 {
			t.Errorf("%d members after refused joins, want 3", n)
		}
		w.must(w.boxes["lb2"].node.Join(context.Background(), w.boxes["lb1"].member.Address, func(string) {})) // again
	})
}

func TestNodesOfTwoClustersRefuseEachOther(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.add("lb1", 150, nil)
		w.add("lb2", 100, nil)
		w.form("lb1")
		w.form("lb2")
		var refused *fsm.RefusedError
		if err := w.boxes["lb2"].node.Join(context.Background(), w.boxes["lb1"].member.Address, func(string) {}); !errors.As(err, &refused) {
			t.Errorf("join across clusters: %v, want a refusal", err)
		}
		if err := w.boxes["lb2"].node.Init(context.Background()); !errors.As(err, &refused) {
			t.Errorf("second init: %v, want a refusal", err)
		}
	})
}

func TestWitnessVotesAndNeverHolds(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.add("lb1", 150, nil)
		w.add("lb2", 100, nil)
		w.add("wit", 200, func(b *box) { b.member.Role = fsm.RoleWitness })
		w.form("lb1", "lb2", "wit")
		w.settles("lb1", 10*time.Second)
		w.boxes["lb1"].kill()
		w.settles("lb2", 5*time.Second)
		for _, wr := range w.cloud.writes() {
			if wr.node == "wit" {
				t.Error("the witness wrote to the cloud")
			}
		}
	})
}

// TestTicketsNeverOverlap makes a second leader while the first, cut off, still believes
// in itself; the mutant without the wait must be caught doing so.
func TestTicketsNeverOverlap(t *testing.T) {
	run := func(mutant bool) (overlap time.Duration) {
		three(t, func(t *testing.T, w *world) {
			for _, b := range w.boxes {
				b.node.noTicketWait = mutant
			}
			w.cloud.setLatency(600 * time.Millisecond)
			w.cloud.steal("nobody")
			for w.cloud.attempts() < 2 { // lb1 has noticed and writes
				time.Sleep(time.Millisecond)
			}
			w.isolate("lb1", true)
			w.boxes["lb2"].campaign()
			w.settles("lb2", 10*time.Second)
			overlap = w.cloud.overlap()
		})
		return overlap
	}
	if o := run(false); o > 0 {
		t.Errorf("two nodes had the right to write for %v at once", o)
	}
	if o := run(true); o <= 0 {
		t.Error("the mutant that does not wait was not caught: the test has no teeth")
	}
}
