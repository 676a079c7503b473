package cluster

import (
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

// damping is what this node knows of its own falls, and has told of them.
type damping struct {
	fsm.Damping
	before fsm.Damping // at the beginning of the last hand-over
	until  time.Time   // when it ends, as last logged; zero while that is open
}

// falling counts the hand-over that begins now, if it is a fall: early enough for the report
// that goes into the log before it, so that no successor hands back at once. stayed takes it
// back. A leader that has not even begun to claim only passes the lead on.
func (l *loop) falling(d fsm.Decision) {
	l.damping.before = l.damping.Damping
	fault := d.Reason.Code == fsm.ReasonSelfIneligible && d.Reason.Cause == fsm.ReasonFault
	if l.tenure.tried && (fault || d.Reason.Code == fsm.ReasonDegraded) {
		now := time.Now()
		r, _ := l.self.get()
		l.damping.Damping = l.damping.Fell(now, r)
		l.damp(now)
	}
}

// stayed ends a hand-over that has failed: this node has not fallen.
func (l *loop) stayed() {
	l.damping.Damping = l.damping.before
	l.damp(time.Now())
}

// damp makes the report say what the falls come to now.
func (l *loop) damp(now time.Time) {
	r, _ := l.self.get()
	l.damping.Damping = l.damping.Step(now, r)
	until, damped := l.damping.Damped(now)
	if l.self.setDamped(damped, l.damping.Falls) && !damped {
		l.log.Info("no longer damped", "boottime_ns", int64(l.cfg.Boottime()))
	}
	if damped && !until.IsZero() && until != l.damping.until {
		l.log.Info("well again, and damped: others lead for a while if they can", "for", until.Sub(now), "fall", l.damping.Falls,
			"boottime_ns", int64(l.cfg.Boottime()))
		time.AfterFunc(until.Sub(now), l.wakeUp)
	}
	l.damping.until = until
}
