package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

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
	{4, "drain", (*walk).drain},
	{2, "pause", (*walk).pause},
	{3, "resume", (*walk).resume},
	{3, "reports dropped", func(s *walk, _ *box) bool { s.dropReports.Store(!s.dropReports.Load()); return true }},
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
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return b.node.gate.stand(ctx) == nil // not while its disk hangs
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

// drain has an operator drain b for up to a minute: from the acknowledgement to the end it
// must not write. A request without an answer may have been granted too.
func (s *walk) drain(b *box) bool {
	l := s.leader()
	if l == nil {
		return false
	}
	d := MinDrain + time.Duration(s.rng.IntN(int(time.Minute)))
	began := s.at()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := l.node.Drain(ctx, b.name, d, s.rng.IntN(2) == 0)
	for i, p := range s.spans { // what was asked before counts no more
		if p.node == b.name && p.why == drained && p.to > began {
			s.spans[i].to = began
		}
	}
	if err == nil {
		s.spans = append(s.spans, span{node: b.name, why: drained, from: s.at(), to: began + d})
	}
	return true
}

// pause has an operator forbid all writes: from the acknowledgement to the next wish to
// resume nobody must write.
func (s *walk) pause(*box) bool {
	l := s.leader()
	if l == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if l.node.Pause(ctx, "operator") == nil {
		for _, name := range s.names {
			s.forbid(name, paused)
		}
	}
	return true
}

func (s *walk) resume(*box) bool {
	for _, name := range s.names {
		s.allow(name, paused)
	}
	l := s.leader()
	if l == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return l.node.Resume(ctx) == nil
}

const paused = "it was paused"

const drained = "it was drained"
