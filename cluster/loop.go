package cluster

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/fsm"
)

const (
	// tickInterval paces probes of the peers and the proof that the loop turns over.
	tickInterval = time.Second
	// leaveTimeout bounds the hand-over of a node that stops.
	leaveTimeout = 2 * time.Second
	// firstLook is how long a new leader waits for its first round of probes, so that
	// it does not claim what a better node is about to take.
	firstLook = 50 * time.Millisecond
	// releaseTimeout bounds the removal of the address from this machine.
	releaseTimeout = 2 * time.Second
)

// loop is the one goroutine that decides. Everything here belongs to it; other
// goroutines reach it through Node.post and Node.wakeUp.
type loop struct {
	*Node
	wg sync.WaitGroup
	// ctx ends when Run is done with everything, the hand-over included.
	ctx context.Context

	// tenure is nil while this node does not lead.
	tenure *tenure
	// actions are in flight, all of one kind: several only if they are claims.
	actions map[*action]bool
	request *request
	leaving bool
	wedged  error

	observed  chan raft.Observation
	forwarded uint64 // Seq of the report last brought to a leader
	selfTest  schedule
	lost      lastLeader
	// inquiry is about the leader that this node suspects to be gone.
	inquiry       suspicion
	cancelInquiry context.CancelFunc
	decided       fsm.Decision
	logged        fsm.Decision // the last that was not a heartbeat
	past          map[netip.Addr]address
	bars          map[string]bar       // by member ID; they outlive a tenure
	unproven      map[string]time.Time // by member ID: until when it counts that it could not claim
	damping       damping
	hints         hints
	role          string
	drains        map[string]fsm.Drain // as last logged
	told          told
	paused        *fsm.Pause // as last logged
}

// action is one thing that is being done, off the loop.
type action struct {
	kind   fsm.Action
	cancel context.CancelFunc
}

// busy is the kind of what is in flight.
func (l *loop) busy() fsm.Action {
	for a := range l.actions {
		return a.kind
	}
	return fsm.ActionNone
}

// tenure is one term as leader: everything that ends with it.
type tenure struct {
	term   uint64
	ctx    context.Context
	cancel context.CancelFunc
	since  time.Time
	// committed and looked make the tenure ready: an entry of this term is in, and the
	// peers have been asked (or had their time).
	committed, looked bool
	readyAt           time.Time
	origin            origin
	tried             bool   // it has begun to claim
	paused            bool   // there has been a pause
	chosen            string // whom an operator had put there; a failed hand-over leaves it so

	peers    map[string]*peer
	eligible map[string]time.Time
	ips      map[netip.Addr]*address
	history  []fsm.Transition // not committed yet
	proving  bool
	provedAt time.Time
	writing  bool
	writeAt  time.Time // not before
	tickets  atomic.Uint64
}

func (t *tenure) ready() bool { return t.committed && t.looked }

// lastLeader is what a node remembers of the leader before it, until it leads itself.
type lastLeader struct {
	name        string    // this node's own if it led last
	contact     time.Time // last sign of life
	candidateAt time.Time // when this node first stood since then
	suspicion   suspicion // on which it stood, if it did not wait for raft's timers
}

// Run is the life of the node: it returns when ctx has ended, after handing
// leadership over, or with ErrWedged. It may be called once.
func (n *Node) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &loop{Node: n, ctx: work, observed: make(chan raft.Observation, 64), bars: map[string]bar{}, unproven: map[string]time.Time{}, actions: map[*action]bool{}}
	observer := raft.NewObserver(l.observed, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.RaftState, raft.LeaderObservation:
			return true
		}
		return false
	})
	n.raft.RegisterObserver(observer)
	n.release(0) // what a crash has left behind; waited for, for it knows no epoch
	err := l.run(ctx)
	n.raft.DeregisterObserver(observer)
	if l.tenure != nil {
		l.endTenure()
	}
	stop()
	close(n.stopped)
	l.wg.Wait()
	n.release(0)
	if stopErr := n.shutdown(); err == nil {
		err = stopErr
	}
	return err
}

func (l *loop) run(ctx context.Context) error {
	tick := time.NewTicker(tickInterval)
	defer tick.Stop()
	timer := time.NewTimer(time.Hour) // set at the first step
	defer timer.Stop()
	stop := ctx.Done()
	var leaveBy <-chan time.Time
	for l.wedged == nil {
		next := l.step(time.Now())
		if l.leaving && l.left() {
			return nil
		}
		timer.Reset(next)
		select {
		case <-stop:
			stop, leaveBy = nil, time.After(leaveTimeout)
			l.leave()
		case <-leaveBy:
			l.log.Warn("stopping without a successor", "after", leaveTimeout)
			return nil
		case leads := <-l.raft.LeaderCh():
			l.leadership(leads)
		case o := <-l.observed:
			l.observe(o)
		case f := <-l.mail:
			f(l)
		case <-l.wake:
		case <-tick.C:
			l.tick()
		case <-timer.C:
		}
		l.turned.Store(int64(l.cfg.Boottime()))
	}
	return l.wedged
}

// step compares what should be with what is and starts at most one action. It returns
// how long to wait for new input.
func (l *loop) step(now time.Time) time.Duration {
	l.damp(now)
	l.forward()
	l.testSelf(now)
	v := l.view(now)
	d := fsm.Decide(fsm.DefaultPolicy, v, now)
	l.logDecision(d)
	if d.Kind != fsm.Claim { // its ticket goes first
		// A transfer stops it, and what this leader did must be on record.
		l.write(now)
	}
	switch d.Kind {
	case fsm.Abort:
		for a := range l.actions {
			a.cancel()
		}
	case fsm.Transfer:
		if l.recorded(now) { // else written brings us back here
			l.startTransfer(d)
		}
	case fsm.Claim:
		l.startClaim(d.IP)
	case fsm.Look:
		l.startLook(d.IP)
	case fsm.Refuse:
		l.answerRequest("", fsm.Refusef("%s", d.Reason))
	case fsm.Wait:
	}
	l.publish(v, d)
	wait := tickInterval
	if !d.Next.IsZero() {
		wait = d.Next.Sub(now)
	}
	return max(l.untilDrainEnds(now, wait), time.Millisecond)
}

// recorded says that a hand-over need not wait for the record of the last move, or for the
// end of the last hand-over: it is in the log, or it would not go in, and a leader that must
// go cannot stay for that.
func (l *loop) recorded(now time.Time) bool {
	t := l.tenure
	pending := len(t.history) > 0 || t.announced(l.fsm.State().Handover, l.cfg.Member.ID)
	return !pending || now.Before(t.writeAt)
}

// leadership takes a signal from raft's LeaderCh, which keeps only the newest: "true"
// after "true" is a new term.
func (l *loop) leadership(leads bool) {
	if l.tenure != nil {
		l.endTenure()
	}
	if leads {
		l.beginTenure()
	}
}

func (l *loop) beginTenure() {
	now := time.Now()
	ctx, cancel := context.WithCancel(l.ctx)
	t := &tenure{
		term: l.raft.CurrentTerm(), ctx: ctx, cancel: cancel, since: now,
		peers: map[string]*peer{}, eligible: map[string]time.Time{}, ips: map[netip.Addr]*address{},
	}
	for _, ip := range l.addresses() {
		t.ips[ip] = &address{state: AddressUnverified, duel: l.past[ip].duel}
	}
	l.tenure = t
	l.endInquiry()
	if gone := l.lost.suspicion.leader; gone != "" {
		t.peers[gone] = &peer{asked: true} // nobody need wait for its answer
	}
	l.log.Info("leading", "term", t.term, "boottime_ns", int64(l.cfg.Boottime()))
	l.prove()
	l.probeAll()
	time.AfterFunc(firstLook, func() { l.post(func(l *loop) { l.looked(t) }) })
	l.looked(nil)
}

// looked ends the wait for the first round of probes, if t is still the tenure, or if
// every peer has answered or failed.
func (l *loop) looked(t *tenure) {
	now := l.tenure
	if now == nil || now.looked || (t != now && l.probing()) {
		return
	}
	now.looked = true
	l.becomeReady()
}

// addresses are what this node may claim: none on a witness.
func (n *Node) addresses() []netip.Addr {
	if n.cfg.Claimer == nil {
		return nil
	}
	return n.cfg.FloatingIPs
}

// becomeReady notes how this node came to lead, once it may act.
func (l *loop) becomeReady() {
	t := l.tenure
	if !t.ready() || !t.readyAt.IsZero() {
		return
	}
	t.readyAt = time.Now()
	for len(l.observed) > 0 { // how it came about is in there
		l.observe(<-l.observed)
	}
	t.origin = l.originOf(t)
	l.lost = lastLeader{}
	l.log.Info("ready to act as leader", "term", t.term, "reason", t.origin.reason,
		"detect", t.origin.detect, "elect", t.origin.elect, "boottime_ns", int64(l.cfg.Boottime()))
}

func (l *loop) endTenure() {
	t := l.tenure
	l.tenure = nil
	l.gate.deposed()
	l.past = t.snapshot()
	// Whatever is in flight was ordered in this term and must not outlive it.
	t.cancel()
	l.wg.Go(func() { l.release(t.term) })
	if l.lost.name == "" { // else raft's word of a successor came first
		l.lost.name = l.cfg.Member.Name
	}
	l.log.Info("no longer leading", "term", t.term, "boottime_ns", int64(l.cfg.Boottime()))
}

// leave makes this node ineligible, and so the decision hands over; there is no path
// of its own for a stop.
func (l *loop) leave() {
	l.leaving = true
	l.log.Info("stopping", "leads", l.tenure != nil)
	l.self.setClaimFault(stopping)
}

// left reports whether a node that stops has nothing left to hand over: it does not
// lead, or nobody could take over.
func (l *loop) left() bool {
	t := l.tenure
	switch {
	case l.busy() != fsm.ActionNone:
		return false
	case t == nil:
		return l.raft.State() != raft.Leader // else LeaderCh is about to say so
	}
	return t.ready() && (l.decided.Kind == fsm.Wait || l.decided.Kind == fsm.Look) && !t.writing
}

func (l *loop) observe(o raft.Observation) {
	switch data := o.Data.(type) {
	case raft.RaftState:
		if data == raft.Candidate && l.lost.candidateAt.IsZero() {
			l.lost.candidateAt, l.lost.contact = time.Now(), l.raft.LastContact()
		}
	case raft.LeaderObservation:
		id := string(data.LeaderID)
		if id != "" && id != l.cfg.Member.ID {
			l.lost = lastLeader{name: l.name(id)}
			l.endInquiry()
			l.log.Info("following", "leader", l.lost.name, "term", l.raft.CurrentTerm(), "boottime_ns", int64(l.cfg.Boottime()))
			l.forwarded = 0
			l.succeeded(id)
		}
	}
}

func (l *loop) tick() {
	l.readHint()
	if l.tenure != nil {
		l.probeAll()
	}
}

// start runs work as an action in flight. What work returns runs on the loop.
func (l *loop) start(kind fsm.Action, work func(ctx context.Context, t *tenure) func()) {
	t := l.tenure
	ctx, cancel := context.WithCancel(t.ctx)
	a := &action{kind, cancel}
	l.actions[a] = true
	l.wg.Go(func() {
		then := work(ctx, t)
		cancel()
		l.post(func(l *loop) {
			delete(l.actions, a)
			if l.tenure == t {
				then()
				return
			}
			// What it claimed at the last moment may have come after the release.
			l.wg.Go(func() { l.release(t.term) })
		})
	})
}

// release takes what this node claimed in term or earlier off the machine, where the
// machine carries the address itself: with the lead it must go.
func (n *Node) release(term uint64) {
	if n.cfg.Claimer == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	if err := n.cfg.Claimer.Release(ctx, term); err != nil {
		n.log.Error("the address may still be on this machine", "term", term, "error", err, "boottime_ns", int64(n.cfg.Boottime()))
	}
}
