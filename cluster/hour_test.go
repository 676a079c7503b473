package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

// TestHour is an hour in the life of a cluster: health that comes and goes, kills,
// partitions, hung disks, elections for no reason, a script that moves the address away,
// an operator; never more than a minority gone at a time, and quiet in between. A judge
// then asks of each write to the cloud why it was. BUOY_SIM and BUOY_SEED are those of
// TestRandomWalks.
func TestHour(t *testing.T) {
	for _, seed := range seeds(t, 1) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			var j *judge
			bubble(t, func(_ *testing.T, w *world) {
				j = verdict(live(w, seed, time.Hour, false))
				w.cloud.disciplined(t)
			})
			t.Logf("%d moves, %d repairs, %d falls, %d damped returns", j.moves, j.repairs, j.falls, j.damped)
			if len(j.wrong) > 0 {
				t.Errorf("the judge objects:\n%s", strings.Join(j.wrong, "\n"))
			}
			if j.moves < 10 || j.falls < 3 {
				t.Error("not much happened")
			}
		})
	}
}

// TestHourCatchesTheMutant shows that the judge would notice if nobody were damped.
func TestHourCatchesTheMutant(t *testing.T) {
	const most = 10
	for seed := range uint64(most) {
		var j *judge
		bubble(t, func(_ *testing.T, w *world) { j = verdict(live(w, seed+1, 10*time.Minute, true)) })
		for _, wrong := range j.wrong {
			if strings.Contains(wrong, "it owed") {
				t.Logf("caught at seed %d: %s", seed+1, wrong)
				return
			}
		}
	}
	t.Errorf("%d lives did not catch the mutant: they have no teeth", most)
}

// calmAfter is how long a quiet stretch is at least: a node may be damped for a minute,
// another barred for as long, and a third wait out its preempt_delay.
const calmAfter = 150 * time.Second

// hour is the life that is being lived.
type hour struct {
	*world
	chronicle
	rng       *rand.Rand
	names     []string
	now       map[string]condition
	apart     map[string]bool // cut off
	forgetful bool
	busyUntil time.Duration // the operator
	asking    sync.WaitGroup
}

// live lives for about length, drawn from seed. If forgetful, a node forgets its falls when it is
// well again: the mutant.
func live(w *world, seed uint64, length time.Duration, forgetful bool) chronicle {
	s := &hour{world: w, rng: rand.New(rand.NewPCG(seed, 1)), now: map[string]condition{}, apart: map[string]bool{}, forgetful: forgetful}
	s.people(seed)
	for end := time.Now().Add(length - calmAfter); time.Now().Before(end); {
		if s.rng.IntN(3) == 0 {
			s.flap(time.Duration(1+s.rng.IntN(4)) * time.Minute)
		} else {
			s.trouble(time.Duration(1+s.rng.IntN(4)) * time.Minute)
		}
		s.calm()
	}
	s.asking.Wait()
	s.writes = w.cloud.writes()
	return s.chronicle
}

// people makes the members: of three, or of five with a tie, one that does not preempt, one
// that is patient, and a witness.
func (s *hour) people(seed uint64) {
	priorities := []int{150, 100, 50}
	if seed%3 == 0 {
		priorities = []int{150, 100, 100, 120, 200}
	}
	for i, p := range priorities {
		name := fmt.Sprintf("lb%d", i+1)
		s.names = append(s.names, name)
		b := s.add(name, p, func(b *box) {
			b.member.Preempt = i != 3
			if i == 2 {
				b.member.PreemptDelay = 20 * time.Second
			}
			if i == 4 {
				b.member.Role = fsm.RoleWitness
			}
		})
		s.members = append(s.members, b.member)
		s.note(name, func(c *condition) { c.boots++ })
	}
	s.form(s.names[0], s.names...)
	s.settles("lb1", 20*time.Second)
}

func (s *hour) at() time.Duration { return time.Since(s.start) }

// note changes what is on record of a node.
func (s *hour) note(name string, change func(*condition)) {
	c := s.now[name]
	c.at, c.node = s.at(), name
	change(&c)
	s.now[name] = c
	s.states = append(s.states, c)
	s.t.Logf("%8.3fs %+v", c.at.Seconds(), c)
}

// pick is any node.
func (s *hour) pick() *box { return s.boxes[s.names[s.rng.IntN(len(s.names))]] }

// spare says that one more node may go, and the majority lives.
func (s *hour) spare() bool {
	gone := 0
	for _, c := range s.now {
		if c.gone {
			gone++
		}
	}
	return gone < (len(s.names)-1)/2
}

// pause is mostly a moment, sometimes long.
func (s *hour) pause(mean time.Duration) {
	time.Sleep(time.Duration(s.rng.ExpFloat64() * float64(mean)))
}

// trouble lets things happen for d.
func (s *hour) trouble(d time.Duration) {
	things := []func(b *box){
		s.fault, s.fault, s.fault, s.heal, s.heal, s.heal, s.degrade, s.degrade,
		s.kill, s.quit, s.cutOff, s.hang, s.back, s.back, s.back, s.whim, s.whim, s.drift, s.operator,
	}
	for end := time.Now().Add(d); time.Now().Before(end); s.pause(4 * time.Second) {
		things[s.rng.IntN(len(things))](s.pick())
	}
}

// flap has one node's health come and go for d: mostly that of the best.
func (s *hour) flap(d time.Duration) {
	b := s.boxes["lb1"]
	if s.rng.IntN(3) == 0 {
		b = s.pick()
	}
	bad, good := time.Duration(1+s.rng.IntN(5))*time.Second, time.Duration(1+s.rng.IntN(20))*time.Second
	for end := time.Now().Add(d); time.Now().Before(end); {
		s.fault(b)
		s.pause(bad)
		s.heal(b)
		s.pause(good)
	}
}

// calm mends everything and waits until the address must be where it belongs. Sometimes it
// lasts until falls are forgotten.
func (s *hour) calm() {
	for _, name := range s.names {
		s.back(s.boxes[name])
		s.heal(s.boxes[name])
	}
	d := calmAfter + time.Duration(s.rng.IntN(60))*time.Second
	if s.rng.IntN(4) == 0 {
		d += fsm.DampingQuiet
	}
	time.Sleep(d)
	for range s.rng.IntN(3) {
		s.whim(s.pick())
		s.pause(10 * time.Second)
	}
	time.Sleep(aftermath)
	s.rests = append(s.rests, rest{s.at(), s.cloud.holder()})
	time.Sleep(time.Second)
}

func (s *hour) fault(b *box) {
	if b.node != nil && !s.now[b.name].fault {
		s.note(b.name, func(c *condition) { c.fault, c.lost = true, 0 })
		b.fault()
	}
}

func (s *hour) heal(b *box) {
	if c := s.now[b.name]; b.node != nil && (c.fault || c.lost > 0) {
		s.note(b.name, func(c *condition) { c.fault, c.lost = false, 0 })
		if s.forgetful {
			s.forget(b)
		}
		b.heal()
	}
}

// forget is what the mutant does.
func (s *hour) forget(b *box) {
	done := make(chan struct{})
	b.node.post(func(l *loop) {
		l.damping = damping{}
		close(done)
	})
	<-done
}

func (s *hour) degrade(b *box) {
	if b.node != nil && s.now[b.name].lost == 0 {
		s.note(b.name, func(c *condition) { c.fault, c.lost = false, 60 })
		b.health(fsm.Check{Name: "backends", Known: true, Weight: -60})
	}
}

func (s *hour) kill(b *box) {
	if b.node != nil && !s.now[b.name].gone && s.spare() {
		s.note(b.name, func(c *condition) { c.gone = true })
		b.kill()
		s.rewire()
	}
}

// rewire restores the cuts, which a kill mends with its own.
func (s *hour) rewire() {
	for name := range s.apart {
		s.isolate(name, true)
	}
}

func (s *hour) quit(b *box) {
	if b.node != nil && !s.now[b.name].gone && s.spare() {
		s.note(b.name, func(c *condition) { c.gone = true })
		b.quit()
	}
}

func (s *hour) cutOff(b *box) {
	if b.node != nil && !s.now[b.name].gone && s.spare() {
		s.note(b.name, func(c *condition) { c.gone = true })
		s.apart[b.name] = true
		s.rewire()
	}
}

// hang stops a node's disk, and with it the node, for less than the watchdog allows.
func (s *hour) hang(b *box) {
	if b.node != nil && !s.now[b.name].gone && s.spare() {
		s.note(b.name, func(c *condition) { c.gone = true })
		resume := b.disk.hang()
		time.Sleep(time.Duration(s.rng.IntN(int(wedgedTransfer))))
		resume()
		s.note(b.name, func(c *condition) { c.gone = false })
	}
}

// back ends what keeps a node away.
func (s *hour) back(b *box) {
	if !s.now[b.name].gone {
		return
	}
	if b.node == nil {
		s.note(b.name, func(c *condition) { c.gone = false; c.boots++ })
		b.boot()
		return
	}
	s.note(b.name, func(c *condition) { c.gone = false })
	delete(s.apart, b.name)
	s.isolate(b.name, false)
	s.rewire()
}

// whim is an election for no reason.
func (s *hour) whim(b *box) {
	for _, c := range s.now {
		if c.gone || c.fault || c.lost > 0 {
			return
		}
	}
	s.t.Logf("%8.3fs %s campaigns", s.at().Seconds(), b.name)
	b.campaign()
}

func (s *hour) drift(*box) {
	s.drifts = append(s.drifts, s.at())
	s.t.Logf("%8.3fs the address is moved away", s.at().Seconds())
	s.cloud.steal("nobody")
}

func (s *hour) operator(b *box) {
	l := s.leader()
	if l == nil || b.member.Role == fsm.RoleWitness || s.at() < s.busyUntil {
		return
	}
	node, began := l.node, s.at()
	s.busyUntil = began + askedFor // one operator, one wish at a time
	s.t.Logf("%8.3fs an operator asks for %s", s.at().Seconds(), b.name)
	s.asking.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), askedFor/2)
		defer cancel()
		_, err := node.Transfer(ctx, b.name)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asks = append(s.asks, ask{began, b.name, err == nil})
	})
}
