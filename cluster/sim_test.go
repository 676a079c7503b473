package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
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
	for i, p := range priorities {
		s.names = append(s.names, fmt.Sprintf("lb%d", i+1))
		w.add(s.names[i], p, func(b *box) {
			b.mutant = mutant
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

// events are what can happen to a machine, by weight.
var events = []struct {
	weight int
	name   string
	do     func(s *walk, b *box) bool // false: it cannot happen to b now
}{
	{10, "fault", (*walk).fault},
	{10, "well", (*walk).well},
	{4, "degraded", (*walk).degrade},
	{4, "kill", (*walk).kill},
	{4, "quit", (*walk).quit},
	{12, "boot", (*walk).bootBox},
	{4, "cut off", (*walk).cutOff},
	{10, "cut mended", (*walk).rejoin},
	{3, "deaf", (*walk).deafen},
	{3, "disk hangs", (*walk).hangDisk},
	{4, "drift", func(s *walk, b *box) bool { s.cloud.steal(b.name); return true }},
	{3, "own fault", func(s *walk, b *box) bool { s.cloud.fail(b.name, testFault{own: true}); return true }},
	{6, "cloud well", func(s *walk, b *box) bool { s.cloud.fail(b.name, nil); return true }},
	{1, "cloud down", (*walk).cloudDown},
	{4, "cloud latency", (*walk).cloudLatency},
	{4, "campaign", (*walk).stand},
	{4, "usurper", (*walk).usurp},
	{4, "operator", (*walk).operator},
	{3, "reports dropped", func(s *walk, _ *box) bool { s.dropReports.Store(!s.dropReports.Load()); return true }},
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

func (s *walk) at() time.Duration { return time.Since(s.start) }

// forbid and allow bound a span in which node must not write.
func (s *walk) forbid(node, why string) {
	s.spans = append(s.spans, span{node: node, why: why, from: s.at()})
}

func (s *walk) allow(node, why string) {
	for i, p := range s.spans {
		if p.node == node && p.why == why && p.to == 0 {
			s.spans[i].to = s.at()
		}
	}
}

func (s *walk) fault(b *box) bool {
	if b.node == nil || s.sick[b.name] {
		return false
	}
	s.sick[b.name] = true
	s.forbid(b.name, "in fault")
	b.fault()
	return true
}

func (s *walk) well(b *box) bool {
	if b.node == nil {
		return false
	}
	delete(s.sick, b.name)
	s.allow(b.name, "in fault")
	b.heal()
	return true
}

func (s *walk) degrade(b *box) bool {
	if !s.well(b) {
		return false
	}
	b.health(fsm.Check{Name: "backends", Known: true, Weight: -60})
	return true
}

func (s *walk) kill(b *box) bool {
	if b.node == nil {
		return false
	}
	s.resumeDisk(b)
	s.forbid(b.name, "killed")
	b.kill()
	s.rewire()
	return true
}

func (s *walk) quit(b *box) bool {
	if b.node == nil {
		return false
	}
	s.resumeDisk(b)
	b.quit()
	s.forbid(b.name, "killed")
	return true
}

func (s *walk) bootBox(b *box) bool {
	if b.node != nil {
		return false
	}
	s.allow(b.name, "killed")
	b.boot()
	return true
}

func (s *walk) cutOff(b *box) bool {
	if s.apart[b.name] {
		return false
	}
	s.apart[b.name] = true
	s.forbid(b.name, "cut off")
	s.rewire()
	return true
}

func (s *walk) rejoin(b *box) bool {
	delete(s.apart, b.name)
	clear(s.deaf)
	s.allow(b.name, "cut off")
	s.rewire()
	return true
}

// deafen cuts one direction of one link.
func (s *walk) deafen(b *box) bool {
	s.deaf[[2]string{b.name, s.names[s.rng.IntN(len(s.names))]}] = true
	s.rewire()
	return true
}

// rewire makes the network what apart and deaf say.
func (s *walk) rewire() {
	s.mu.Lock()
	for _, a := range s.names {
		for _, b := range s.names {
			link := [2]string{a, b}
			s.cut[link] = s.apart[a] || s.apart[b] || s.deaf[link]
		}
	}
	s.mu.Unlock()
	s.connect()
}

// hangDisk is over before the watchdog would take it for a wedge.
func (s *walk) hangDisk(b *box) bool {
	if b.node == nil {
		return false
	}
	s.resumeDisk(b)
	s.hung[b.name] = sync.OnceFunc(b.disk.hang())
	time.AfterFunc(time.Duration(s.rng.IntN(int(wedgedTransfer))), s.hung[b.name])
	return true
}

func (s *walk) resumeDisk(b *box) {
	if resume := s.hung[b.name]; resume != nil {
		resume()
	}
}

func (s *walk) cloudDown(*box) bool {
	for _, name := range s.names {
		s.cloud.fail(name, testFault{})
	}
	return true
}

func (s *walk) cloudLatency(*box) bool {
	all := []time.Duration{0, 50 * time.Millisecond, 600 * time.Millisecond, 4 * time.Second}
	s.cloud.setLatency(all[s.rng.IntN(len(all))])
	return true
}

func (s *walk) stand(b *box) bool {
	if b.node == nil || s.apart[b.name] {
		return false
	}
	b.campaign()
	return true
}

// usurp cuts the leader off while it writes, and has b elected at once: the two believe
// to lead at the same time.
func (s *walk) usurp(b *box) bool {
	l := s.leader()
	if l == nil || l == b || b.node == nil {
		return false
	}
	s.cloud.setLatency(600 * time.Millisecond)
	s.cloud.steal("nobody")
	begun := s.cloud.attempts()
	for end := time.Now().Add(40 * time.Second); s.cloud.attempts() == begun && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	s.cutOff(l)
	return s.stand(b)
}

// operator asks for a transfer to b and does not wait for the answer.
func (s *walk) operator(b *box) bool {
	l := s.leader()
	if l == nil {
		return false
	}
	node := l.node
	patience := time.Duration(s.rng.IntN(int(5 * time.Second)))
	s.asked.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, _ = node.Transfer(ctx, b.name)
	})
	return true
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
	return best && len(status.Addresses) == 1 && status.Addresses[0].State == AddressClaimed
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
