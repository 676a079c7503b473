package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

// recorder keeps what a node told, one line for each event.
type recorder struct {
	mu     sync.Mutex
	lines  []string
	events []fsm.Event
}

func (r *recorder) add(e fsm.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := fmt.Sprintf("%s %s %s %s", e.Kind, e.Phase, e.Subject, e.Reason)
	if e.Kind == fsm.EventRole {
		line = fmt.Sprintf("%s>%s %s", e.Was, e.State, e.Reason)
	}
	r.lines, r.events = append(r.lines, strings.Join(strings.Fields(line), " ")), append(r.events, e)
}

// take returns what was told since the last call.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := r.lines
	r.lines = nil
	return lines
}

// tells wants exactly these lines since the last look; … stands for any end.
func (w *world) tells(name string, want ...string) {
	w.t.Helper()
	got := w.boxes[name].told.take()
	if !slices.EqualFunc(got, want, func(got, want string) bool {
		begin, open := strings.CutSuffix(want, "…")
		return got == want || open && strings.HasPrefix(got, begin)
	}) {
		w.t.Errorf("%s told\n\t%s\nwant\n\t%s", name, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// silence forgets what was told so far.
func (w *world) silence() {
	for _, b := range w.boxes {
		b.told.take()
	}
}

func TestEventsOfAFailover(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		got := w.boxes["lb1"].told.take() // and then of those who join
		if len(got) < 3 || !strings.HasPrefix(got[0], ">BACKUP ") || got[1] != "moved 203.0.113.10 first leader" || got[2] != "BACKUP>MASTER first leader" {
			t.Errorf("lb1 told %q at the start", got)
		}
		w.tells("lb2", ">BACKUP …")
		w.boxes["lb1"].fault()
		w.settles("lb2", 5*time.Second)
		time.Sleep(tickInterval)
		w.tells("lb1", "MASTER>FAULT lb1 is in FAULT: haproxy")
		w.tells("lb2", "moved 203.0.113.10 lb1 is in FAULT: haproxy; lb2 takes over", "BACKUP>MASTER lb1 is in FAULT: haproxy; lb2 takes over")
		events := w.boxes["lb2"].told.events
		if e := events[len(events)-1]; e.Leader != "lb2" || e.Priority != 100 || e.Term != w.leader().node.raft.CurrentTerm() || e.At.IsZero() {
			t.Errorf("incomplete: %+v", e)
		}
		if e := events[len(events)-2]; e.From != "lb1" {
			t.Errorf("moved from %q, want lb1", e.From)
		}
		w.boxes["lb1"].heal()
		w.settles("lb1", 5*time.Second)
		time.Sleep(tickInterval)
		w.tells("lb1", "FAULT>BACKUP …", "moved 203.0.113.10 lb1 outranks 150>100", "BACKUP>MASTER lb1 outranks 150>100")
		w.tells("lb2", "MASTER>BACKUP …") // who leads now may be known by then, or not
		w.stays(time.Hour)
		for name := range w.boxes {
			if got := w.boxes[name].told.take(); len(got) > 0 && name != "lb3" {
				t.Errorf("%s told %q in an idle hour", name, got)
			}
		}
	})
}

// The election after a death is not a fault of those who live.
func TestEventsOfADeath(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.silence()
		w.boxes["lb1"].kill()
		w.settles("lb2", 10*time.Second)
		time.Sleep(5 * time.Second)
		got := slices.Sorted(slices.Values(w.boxes["lb2"].told.take()))
		if want := []string{"BACKUP>MASTER leader lb1 is gone", "moved 203.0.113.10 leader lb1 is gone", "unreachable began lb1 lb1 does not answer"}; !slices.Equal(got, want) {
			t.Errorf("lb2 told %q, want %q", got, want)
		}
		w.tells("lb3")
	})
}

// Who is cut off says at once that it is no master, and then that it knows nobody.
func TestEventsOfAPartition(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.silence()
		w.isolate("lb1", true)
		time.Sleep(time.Second)
		w.tells("lb1", "MASTER>BACKUP it leads no more")
		time.Sleep(5 * time.Second)
		w.tells("lb1", "BACKUP>FAULT no leader is known: the majority of the members does not answer")
		w.isolate("lb1", false)
		w.settles("lb1", 20*time.Second)
		time.Sleep(tickInterval)
		got := w.boxes["lb1"].told.take()
		if len(got) != 3 || !strings.HasPrefix(got[0], "FAULT>BACKUP ") || !strings.HasPrefix(got[2], "BACKUP>MASTER ") {
			t.Errorf("lb1 told %q on its return", got)
		}
	})
}

// An address that is moved away and fetched back is told of; the roles do not change.
func TestEventsOfDrift(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		time.Sleep(time.Minute)
		w.silence()
		w.cloud.steal("lb3")
		time.Sleep(time.Minute)
		w.tells("lb1", "moved 203.0.113.10 the address had been moved away")
		w.tells("lb2")
		// Nor do they while it takes time to fetch it back.
		got := make(chan fsm.VRRP, 1)
		w.boxes["lb1"].node.post(func(l *loop) {
			s := l.Status()
			for i := range s.Members {
				s.Members[i].State = StateClaiming
			}
			state, _ := l.outward(s, time.Now())
			got <- state
		})
		if state := <-got; state != fsm.VRRPMaster {
			t.Errorf("%s while it fetches the address back", state)
		}
	})
}

// A quarrel over the address is told of once, and its end, too.
func TestEventsOfADuel(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		time.Sleep(time.Minute)
		w.silence()
		for range 5 {
			w.cloud.steal("lb3")
			time.Sleep(45 * time.Second)
		}
		time.Sleep(10 * time.Minute)
		var quarrel []string
		for _, line := range w.boxes["lb1"].told.take() {
			if strings.HasPrefix(line, "contested ") {
				quarrel = append(quarrel, strings.Join(strings.Fields(line)[:3], " "))
			}
		}
		if want := []string{"contested began 203.0.113.10", "contested over 203.0.113.10"}; !slices.Equal(quarrel, want) {
			t.Errorf("told %q, want %q", quarrel, want)
		}
	})
}

func TestEventsOfDrain(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.silence()
		w.drain("lb1", 0)
		w.settles("lb2", 500*time.Millisecond)
		time.Sleep(tickInterval)
		w.tells("lb1", "MASTER>BACKUP lb1 is drained")
		w.boxes["lb1"].fault() // maintenance
		time.Sleep(tickInterval)
		w.tells("lb1")
	})
}

// Problems are the leader's to tell: begun once, over once, lapsed when it leads no more.
func TestEventsOfProblems(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.silence()
		for name := range w.boxes {
			w.cloud.fail(name, errors.New("503"))
		}
		time.Sleep(time.Minute)
		w.tells("lb1", "unconfirmed began 203.0.113.10 503")
		for name := range w.boxes {
			w.cloud.fail(name, nil)
		}
		time.Sleep(time.Minute)
		w.tells("lb1", "unconfirmed over 203.0.113.10 503")

		w.boxes["lb3"].kill()
		time.Sleep(10 * time.Second)
		w.tells("lb1", "unreachable began lb3 lb3 does not answer")
		w.tells("lb2")
		if _, err := w.boxes["lb1"].node.Transfer(t.Context(), "lb2"); err != nil {
			t.Fatal(err)
		}
		w.settles("lb2", 5*time.Second)
		time.Sleep(5 * time.Second)
		if got := w.boxes["lb1"].told.take(); len(got) != 2 || !strings.HasPrefix(got[0], "MASTER>BACKUP ") || got[1] != "unreachable lapsed lb3 lb3 does not answer" {
			t.Errorf("lb1 told %q when it led no more", got) // the successor may be known by then, or not
		}
		if got := w.boxes["lb2"].told.take(); len(got) != 3 || !slices.Contains(got, "unreachable began lb3 lb3 does not answer") {
			t.Errorf("lb2 told %q", got)
		}

		for _, name := range []string{"lb1", "lb2"} {
			w.boxes[name].fault()
		}
		time.Sleep(10 * time.Second)
		got := append(w.boxes["lb1"].told.take(), w.boxes["lb2"].told.take()...)
		if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "nobody_eligible began ") }) {
			t.Errorf("told %q, want nobody_eligible", got)
		}
	})
}

// A daemon that stops tells nothing of its own hand-over.
func TestEventsEndWithTheStop(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.silence()
		w.boxes["lb1"].quit()
		w.settles("lb2", 5*time.Second)
		w.tells("lb1")
	})
}
