package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/fsm"
)

// The bounds of a drain that ends by itself.
const (
	MinDrain = time.Second
	MaxDrain = 30 * 24 * time.Hour
)

// Drain marks the member called member as drained, for d or, if d is 0, until it is
// undrained; else d is MinDrain to MaxDrain. The mark is committed when Drain returns: it
// survives every daemon. The hand-over that may follow is not waited for. Draining again
// replaces the end.
//
// A drain that would leave nobody eligible is refused unless force is set; the address then
// stays where it is. The error is a *fsm.RefusedError, or a *fsm.NotLeaderError if another
// node must be asked. After any other error the mark may be set or not.
func (n *Node) Drain(ctx context.Context, member string, d time.Duration, force bool) error {
	m, err := n.markable(member)
	switch {
	case err != nil:
		return err
	case m.Role == fsm.RoleWitness:
		return fsm.Refusef("%s is a witness: it never holds the address, so there is nothing to drain", m.Name)
	case d != 0 && (d < MinDrain || d > MaxDrain):
		return fsm.Refusef("a drain for %v: it lasts %v to %v, or until undrain", d, MinDrain, MaxDrain)
	}
	// One at a time: of two that are checked side by side, each would spare the other.
	n.marks.Lock()
	defer n.marks.Unlock()
	if !force {
		if err := n.spares(ctx, m); err != nil {
			return err
		}
	}
	now := time.Now().UTC()
	mark := fsm.Drain{Member: m.ID, Since: now}
	if d != 0 {
		mark.Until = now.Add(d)
	}
	return n.mark(ctx, fsm.Command{Drain: &mark})
}

// Undrain ends the mark of the member called member, if it has one. Errors are as of Drain.
func (n *Node) Undrain(ctx context.Context, member string) error {
	m, err := n.markable(member)
	if err != nil {
		return err
	}
	return n.mark(ctx, fsm.Command{Undrain: &fsm.Undrain{Member: m.ID}})
}

// markable finds the member that people call name, at the leader.
func (n *Node) markable(name string) (fsm.Member, error) {
	if n.raft.State() != raft.Leader {
		return fsm.Member{}, n.notLeader()
	}
	var names []string
	for _, m := range n.fsm.State().Members {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return fsm.Member{}, fsm.Refusef("no member is called %q; the members are %s", name, joinSorted(names))
}

// mark commits c.
func (n *Node) mark(ctx context.Context, c fsm.Command) error {
	applied, err := n.apply(ctx, c, applyTimeout)
	if err == nil && applied.Warning != "" {
		err = fsm.Refusef("%s", applied.Warning)
	}
	return n.leaderErr(err)
}

// errUnasked says that the leader has yet to hear from a member.
var errUnasked = errors.New("not everybody has been asked yet")

// spares refuses a drain of m that would leave nobody eligible. It waits for a new leader
// to have asked everybody.
func (n *Node) spares(ctx context.Context, m fsm.Member) error {
	for {
		answer := make(chan error, 1)
		if !n.post(func(l *loop) { answer <- l.spares(m) }) {
			return n.notLeader()
		}
		var err error
		select {
		case err = <-answer:
		case <-n.stopped:
			return n.notLeader()
		case <-ctx.Done():
			return ctx.Err()
		}
		if !errors.Is(err, errUnasked) {
			return err
		}
		if err := sleep(ctx, pollPause); err != nil {
			return err
		}
	}
}

func (l *loop) spares(m fsm.Member) error {
	switch {
	case l.tenure == nil && l.raft.State() != raft.Leader:
		return l.notLeader()
	case l.tenure == nil || !l.tenure.ready() || l.probing():
		return errUnasked
	}
	if _, drained := l.fsm.State().Drains[m.ID]; drained {
		return nil // only its end changes
	}
	for _, c := range l.view(time.Now()).Candidates {
		c.Drained = c.Drained || c.Member.ID == m.ID
		if ok, _ := fsm.Eligible(c); ok {
			return nil
		}
	}
	return fsm.Refusef("with %s drained nobody would be eligible: only by force, and then the address stays where it is", m.Name)
}

// overdue are the ends of the marks that have run out; next is when another one will, the
// zero time if none will.
//
// Until and now are wall clocks, of two leaders perhaps, and a step of either moves the
// end. That is good enough: a mark is policy, which people state in their own time and
// which must outlast processes and leaders. The right to write never depends on it.
func overdue(marks map[string]fsm.Drain, now time.Time) (ends []fsm.Command, next time.Time) {
	for id, d := range marks {
		switch {
		case d.Until.IsZero():
		case !d.Until.After(now):
			ends = append(ends, fsm.Command{Undrain: &fsm.Undrain{Member: id, Until: d.Until}})
		case next.IsZero() || d.Until.Before(next):
			next = d.Until
		}
	}
	return ends, next
}

// untilDrainEnds is how long to wait for new input, wait at most, lest the end of a drain
// be slept through. What is overdue already waits for its write, not for a time.
func (l *loop) untilDrainEnds(now time.Time, wait time.Duration) time.Duration {
	if l.tenure == nil {
		return wait
	}
	if _, next := overdue(l.fsm.State().Drains, now); !next.IsZero() {
		wait = min(wait, next.Sub(now))
	}
	return wait
}

// logDrains writes one line for each member that was drained or undrained.
func (l *loop) logDrains(s Status) {
	for _, m := range s.Members {
		was, now := l.drains[m.Member.ID], m.Drain
		switch {
		case was == now:
			continue
		case now.Member == "":
			l.log.Info("undrained", "member", m.Member.Name, "was_until", drainEnd(was), "boottime_ns", int64(l.cfg.Boottime()))
		default:
			l.log.Info("drained", "member", m.Member.Name, "until", drainEnd(now), "boottime_ns", int64(l.cfg.Boottime()))
		}
		if l.drains == nil {
			l.drains = map[string]fsm.Drain{}
		}
		l.drains[m.Member.ID] = now
	}
}

// drainEnd is when d ends, in words.
func drainEnd(d fsm.Drain) string {
	if d.Until.IsZero() {
		return "undrain"
	}
	return d.Until.Format(time.RFC3339)
}
