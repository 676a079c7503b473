package cluster

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/fsm"
)

// A walk is a random life of a cluster: everything that can happen to it happens, in an
// order drawn from a seed, and then everything is mended. BUOY_SEED repeats the walk of
// one seed, BUOY_SIM=N takes N new ones. The seed fixes what happens and when; raft draws
// its own timers, so that a rare failure may need several runs of its seed.

const (
	walkLength = 10 * time.Minute
	// mendWithin is how long a mended cluster may take to be where it should be: a node
	// that had failed by its own fault tests itself every selfTestInterval.
	mendWithin = selfTestInterval + time.Minute
	walkTail   = 3 * time.Minute
)

func TestRandomWalks(t *testing.T) {
	for _, seed := range seeds(t, 4) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) { // w.t is this t
				s := newWalk(w, seed, false)
				s.wander(func() bool { return false })
				s.mend()
				s.judge()
			})
		})
	}
}

// TestRandomWalkCatchesTheMutant shows that the walks would notice if nobody waited out
// a foreign ticket.
func TestRandomWalkCatchesTheMutant(t *testing.T) {
	const most = 30
	for seed := range uint64(most) {
		var overlap time.Duration
		bubble(t, func(_ *testing.T, w *world) {
			s := newWalk(w, seed, true)
			s.wander(func() bool { return w.cloud.overlap() > 0 })
			s.restore()
			overlap = w.cloud.overlap()
		})
		if overlap > 0 {
			t.Logf("caught at seed %d: two nodes had the right to write for %v", seed, overlap)
			return
		}
	}
	t.Errorf("%d walks did not catch the mutant: they have no teeth", most)
}

// seeds are 1..usual, unless the environment says otherwise.
func seeds(t *testing.T, usual int) []uint64 {
	number := func(name string) uint64 {
		n, err := strconv.ParseUint(os.Getenv(name), 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	var out []uint64
	switch {
	case os.Getenv("BUOY_SEED") != "":
		return []uint64{number("BUOY_SEED")}
	case os.Getenv("BUOY_SIM") != "":
		for range number("BUOY_SIM") {
			out = append(out, uint64(rand.Uint32()))
		}
	default:
		for i := range usual {
			out = append(out, uint64(i+1))
		}
	}
	return out
}

// span is a stretch of time in which a node must not write; to is 0 while it lasts.
type span struct {
	node, why string
	from, to  time.Duration
}

type walk struct {
	*world
	rng   *rand.Rand
	names []string
	apart map[string]bool    // cut off from everybody
	deaf  map[[2]string]bool // from, to: only this direction is cut
	hung  map[string]func()  // disks, and how to let them go on
	sick  map[string]bool
	spans []span
	asked sync.WaitGroup // operators' requests
}

func newWalk(w *world, seed uint64, mutant bool) *walk {
	s := &walk{
		world: w, rng: rand.New(rand.NewPCG(seed, 0)),
		apart: map[string]bool{}, deaf: map[[2]string]bool{}, hung: map[string]func(){}, sick: map[string]bool{},
	}
	// lb1 is the best in both; in the larger there are a tie, a patient and a witness.
	priorities := []int{150, 100, 50}
	if s.rng.IntN(2) == 0 {
		priorities = []int{150, 100, 100, 120, 200}
	}
	ips := []netip.Addr{testIP}
	if seed%2 == 1 {
		ips = append(ips, testIP6)
	}
	if seed%4 > 1 {
		w.cloud.tells(time.Second)
	}
	for i, p := range priorities {
		s.names = append(s.names, fmt.Sprintf("lb%d", i+1))
		w.add(s.names[i], p, func(b *box) {
			b.mutant, b.ips = mutant, ips
			b.member.Preempt = i != 3
			if i == 4 {
				b.member.Role = fsm.RoleWitness
			}
		})
	}
	w.form(s.names[0], s.names...)
	w.settles("lb1", 20*time.Second)
	return s
}

// wander lets things happen for walkLength, or until enough says so.
func (s *walk) wander(enough func() bool) {
	total := 0
	for _, e := range events {
		total += e.weight
	}
	for end := time.Now().Add(walkLength); time.Now().Before(end) && !enough(); {
		// Mostly moments apart, sometimes long enough to come to rest.
		time.Sleep(time.Duration(s.rng.ExpFloat64() * float64(2*time.Second)))
		pick := s.rng.IntN(total)
		for _, e := range events {
			if pick -= e.weight; pick < 0 {
				b := s.boxes[s.names[s.rng.IntN(len(s.names))]]
				if at := s.at(); e.do(s, b) {
					s.t.Logf("%8.3fs %s %s", at.Seconds(), e.name, b.name)
				}
				break
			}
		}
	}
}

// restore ends everything that is wrong.
func (s *walk) restore() {
	s.dropReports.Store(false)
	s.cloud.setLatency(0)
	for _, name := range s.names {
		b := s.boxes[name]
		s.cloud.fail(name, nil)
		s.resumeDisk(b)
		s.rejoin(b)
		s.bootBox(b)
		s.well(b)
	}
	s.asked.Wait()
	for end := time.Now().Add(mendWithin); !s.resume(nil) && time.Now().Before(end); {
		time.Sleep(time.Second) // until somebody leads
	}
}

// mend restores everything and waits for the address to be where it belongs.
func (s *walk) mend() {
	s.restore()
	s.t.Logf("%8.3fs mended", s.at().Seconds())
	for end := time.Now().Add(mendWithin); !s.atRest(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%v after everything was mended %s holds the address:\n%s", mendWithin, s.cloud.holder(), s.describe())
		}
	}
	time.Sleep(40 * time.Second) // the guards' last looks
}

// atRest reports whether the address is at the best node, or at the one that an operator
// chose, and that node knows it.
func (s *walk) atRest() bool {
	l := s.leader()
	if l == nil || s.cloud.holder() != l.name {
		return false
	}
	status := l.node.Status()
	best := l.name == "lb1" || l.node.fsm.State().Preferred == l.member.ID
	return best && !slices.ContainsFunc(status.Addresses, func(a AddressStatus) bool {
		return a.State != AddressClaimed || s.cloud.holderOf(a.IP) != l.name
	})
}

func (s *walk) describe() string {
	var out string
	for _, name := range s.names {
		b := s.boxes[name]
		status := b.node.Status()
		out += fmt.Sprintf("%s: %s of term %d, %s, decision %+v\n", name, status.RaftState, status.Term, status.LeaderID, status.Decision)
		if b.node.raft.State() == raft.Leader {
			for _, m := range status.Members {
				out += fmt.Sprintf("   %s %s: %s\n", m.Member.Name, m.State, m.Reason)
			}
		}
	}
	return out
}

// judge looks at a mended cluster and at the record of the walk.
func (s *walk) judge() {
	s.stays(walkTail)
	if !s.atRest() {
		s.t.Errorf("the quiet cluster did not stay at rest:\n%s", s.describe())
	}
	s.cloud.disciplined(s.t)
	for _, w := range s.cloud.writes() {
		for _, p := range s.spans {
			// What was granted before the span began may be used for a ticket's life.
			if w.node == p.node && w.at > p.from+TicketLife && (p.to == 0 || w.at < p.to) {
				s.t.Errorf("%s wrote at %v although %s since %v", w.node, w.at, p.why, p.from)
			}
		}
	}
	s.judgeState()
}

// judgeState checks that all members say the same, and nothing absurd.
func (s *walk) judgeState() {
	var first string
	for i, name := range s.names {
		b := s.boxes[name]
		select {
		case err := <-b.done:
			s.t.Fatalf("the daemon of %s has ended: %v", name, err)
		default:
		}
		state := b.node.fsm.State()
		data, err := json.MarshalIndent(state, "", " ")
		s.must(err)
		if i == 0 {
			first = string(data)
		} else if string(data) != first {
			s.t.Errorf("%s and lb1 disagree:\n%s\n%s", name, data, first)
		}
		for _, tr := range state.Transitions {
			g := tr.Stages
			if least := slices.Min([]time.Duration{g.Detect, g.Elect, g.Claim, g.Confirm}); least < 0 || tr.Reason == "" || tr.To == "" {
				s.t.Errorf("an absurd transition: %+v", tr)
			}
		}
	}
}
