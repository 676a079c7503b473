package cluster

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// steadyFor is how far back a link is judged: a gap that was seen on it counts at least
// as long, and at most twice as long.
const steadyFor = 5 * time.Second

// pulse notes each sign of life of the leader that this node follows: what raft calls
// contact, with the leader and the term that it came from. It is written by the
// transport's goroutines and read by everybody.
type pulse struct {
	// limit is how long a silence may be before onSilence is called, once each.
	limit     time.Duration
	onSilence func()

	mu    sync.Mutex
	beat  beat
	timer *time.Timer
	// worst and before are the longest gaps of the present stretch of steadyFor and of
	// the one before it; turn is when the present one began.
	worst, before time.Duration
	turn          time.Time
}

// beat is the newest sign of life: of whom, in which term, when. The zero beat is none.
type beat struct {
	leader string
	term   uint64
	at     time.Time
}

func newPulse(t Timing, onSilence func()) *pulse {
	return &pulse{limit: t.silence(), onSilence: onSilence}
}

// silence is after how long without a heartbeat a leader is suspected: late enough for a
// leader that was really cut off to have stepped down by its own lease, and before raft's
// timers would do anything. Heartbeats come every 0.1 to 0.2 T (hashicorp/raft
// replication.go, heartbeat).
func (t Timing) silence() time.Duration {
	return max(t.Heartbeat*2/3, t.Lease+10*time.Millisecond)
}

// gap is the longest pause between two heartbeats of a leader that is well.
func (t Timing) gap() time.Duration { return t.Heartbeat / 5 }

// note takes a request that only a leader sends. One of a former term is no sign of life.
func (p *pulse) note(c any, now time.Time) {
	a, ok := c.(*raft.AppendEntriesRequest)
	if !ok {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.Term < p.beat.term {
		return
	}
	leader := string(a.ID)
	if leader != p.beat.leader || a.Term > p.beat.term {
		p.beat = beat{leader: leader, term: a.Term}
		p.worst, p.before, p.turn = 0, 0, now
	} else {
		p.worst = max(p.worst, now.Sub(p.beat.at))
	}
	if now.Sub(p.turn) > steadyFor {
		p.worst, p.before, p.turn = 0, p.worst, now
	}
	p.beat.at = now
	p.watch()
}

// watch has onSilence called unless another beat comes in time.
func (p *pulse) watch() {
	if p.timer == nil {
		p.timer = time.AfterFunc(p.limit, p.onSilence)
		return
	}
	p.timer.Reset(p.limit)
}

// last is the newest beat.
func (p *pulse) last() beat {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.beat
}

// steady says that the link has not been near silence lately: only on such a one does a
// silence mean anything. A lossy link, or a machine short of processor time, pauses by
// itself for longer.
func (p *pulse) steady() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.worst, p.before) < p.limit*3/4
}

func (p *pulse) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
}
