package wire

import (
	"bytes"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// queueLimit is how many frames may be under way on a line; further ones are lost.
const queueLimit = 4096

// grain is how far Go's timers may be off: an idle program waits in whole milliseconds.
const grain = 2 * time.Millisecond

// Line is what the way from one host to another does to its frames; the zero Line is
// perfect. Delays are Delay ± Jitter, drawn evenly, yet never let a frame overtake an
// earlier one: a frame that drew less than the one before comes together with it.
type Line struct {
	Cut             bool // nothing passes
	Delay, Jitter   time.Duration
	Loss, Duplicate float64 // probabilities, 0 to 1
}

// direction is the way from one host to another.
type direction struct {
	wake    chan struct{} // tells serve that dues have changed
	closing <-chan struct{}
	running *sync.WaitGroup

	mu      sync.Mutex // held while frames are delivered, so that none overtakes another
	line    Line
	draws   *rand.Rand
	queue   []transit // in order of due
	serving bool
}

// transit is a frame under way.
type transit struct {
	frame []byte
	to    *Port
	due   time.Time
}

// newDirection derives the generator from all that identifies the direction.
func (s *Switch) newDirection(from, to string) *direction {
	name := fnv.New64a()
	name.Write([]byte(from + "\x00" + to))
	return &direction{
		wake:    make(chan struct{}, 1),
		closing: s.closing,
		running: &s.running,
		draws:   rand.New(rand.NewPCG(s.seed, name.Sum64())),
	}
}

// change takes effect at once, also for the frames under way: a cut loses them, and
// none stays longer than one that sets out now could (but for a grain).
func (d *direction) change(l Line) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.line = l
	if l.Cut {
		d.queue = nil
	}
	latest := time.Now().Add(l.Delay + l.Jitter)
	for i := range d.queue {
		if d.queue[i].due.After(latest) {
			d.queue[i].due = latest
		}
	}
	select {
	case d.wake <- struct{}{}:
	default: // it is told already
	}
}

func (d *direction) cut() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.line.Cut
}

// send puts a frame on the line. The frame is the caller's again on return.
func (d *direction) send(frame []byte, to *Port) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.line.Cut {
		return
	}
	copies, delay := 1, time.Duration(0)
	if d.line != (Line{}) {
		copies, delay = d.draw()
	}
	for range copies {
		d.pass(frame, to, delay)
	}
}

// draw decides a frame's fate. It always draws three numbers, so that the fate of the
// n-th frame on a spoiled line hangs on n alone.
func (d *direction) draw() (copies int, delay time.Duration) {
	lost := d.draws.Float64() < d.line.Loss
	twice := d.draws.Float64() < d.line.Duplicate
	swing := (2*d.draws.Float64() - 1) * float64(d.line.Jitter)
	switch {
	case lost:
		return 0, 0
	case twice:
		copies = 2
	default:
		copies = 1
	}
	return copies, d.line.Delay + time.Duration(swing)
}

// pass delivers a frame now if nothing is before it, or else when it is due.
func (d *direction) pass(frame []byte, to *Port, delay time.Duration) {
	if delay <= 0 && len(d.queue) == 0 {
		to.write(frame)
		return
	}
	if len(d.queue) >= queueLimit {
		return
	}
	due := time.Now().Add(delay)
	if n := len(d.queue); n > 0 && d.queue[n-1].due.After(due) {
		due = d.queue[n-1].due
	}
	d.queue = append(d.queue, transit{bytes.Clone(frame), to, due})
	if !d.serving {
		d.serving = true
		d.running.Go(d.serve)
	}
}

// serve delivers what is under way and ends when nothing is. It may miss the switch's
// closing by a grain; the TAPs are closed by then.
func (d *direction) serve() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait, more := d.deliver()
		if !more {
			return
		}
		if wait <= grain { // the kernel's timer is finer, though deaf to wake
			nap := unix.NsecToTimespec(wait.Nanoseconds())
			_ = unix.Nanosleep(&nap, nil) // whoever wakes early looks at the clock again
			continue
		}
		timer.Reset(wait - grain)
		select {
		case <-timer.C:
		case <-d.wake:
		case <-d.closing:
			return
		}
	}
}

// deliver delivers what is due and says how long the next frame has to wait.
func (d *direction) deliver() (wait time.Duration, more bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.queue) > 0 {
		next := d.queue[0]
		if wait := time.Until(next.due); wait > 0 {
			return wait, true
		}
		next.to.write(next.frame)
		d.queue[0] = transit{} // let go of the frame
		d.queue = d.queue[1:]
	}
	d.serving = false
	return 0, false
}
