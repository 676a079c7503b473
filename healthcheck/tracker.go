package healthcheck

import "time"

// tracker turns looks into the status of one check. It is a value: step
// returns the next one and touches nothing else.
//
// The counter is keepalived's (vrrp_scheduler.c, v2.4.3): 0..rise+fall-1,
// passing at rise and above. A success adds one below rise-1 and else jumps to
// the top; a failure subtracts one above rise and else falls to 0. So rise and
// fall count consecutive results.
type tracker struct {
	spec  Spec
	count int
	soft  condition

	// The last look that agreed with the status.
	agreed time.Time

	status Status
}

// newTracker returns the state before the first result: failing, one success
// from passing, or Rise of them with InitFail. A check with a weight adds
// nothing until then, unless InitFail says that it is failing
// (keepalived, initialise_track_script_state).
func newTracker(spec Spec) tracker {
	spec.Rise, spec.Fall = max(1, spec.Rise), max(1, spec.Fall)
	t := tracker{spec: spec, count: spec.Rise - 1}
	if spec.InitFail {
		t.count = 0
	}
	t.status = Status{Name: spec.Name, Fault: spec.Weight == 0}
	if spec.InitFail {
		t.status.Weight = t.judge(time.Time{}).Weight
	}
	return t
}

// step returns the tracker after the result r of a look that ended at now.
func (t tracker) step(r Result, now time.Time) tracker {
	t.count = t.counted(r)
	t.soft = t.softened(r, now)

	old := t.status
	t.status = t.judge(now)
	t.status.Output = r.Output
	t.status.Since, t.status.Detect = old.Since, old.Detect
	if !t.status.Equal(old) {
		t.status.Since, t.status.Detect = now, 0
		switch {
		case !r.Begin.IsZero():
			t.status.Detect = now.Sub(r.Begin)
		case t.status.Warn && !old.Warn:
			t.status.Detect = now.Sub(t.soft.since)
		case !t.agreed.IsZero():
			t.status.Detect = now.Sub(t.agreed)
		}
	}
	if (r.State != Hard) == t.passing() {
		t.agreed = now
	}
	return t
}

// passing is the counter's answer, before Reverse.
func (t tracker) passing() bool { return t.count >= t.spec.Rise }

// pending reports whether failures are being counted that are not yet a
// verdict.
func (t tracker) pending() bool {
	return t.passing() && t.count < t.spec.Rise+t.spec.Fall-1
}

// counted is the counter after r. A soft result counts as a success.
func (t tracker) counted(r Result) int {
	rise, fall := t.spec.Rise, t.spec.Fall
	switch {
	case r.State != Hard && t.count < rise-1:
		return t.count + 1
	case r.State != Hard:
		return rise + fall - 1
	case t.count > rise && !r.Now:
		return t.count - 1
	default:
		return 0
	}
}

// judge is the status that counter and soft condition amount to. A failing
// check with a weight adds 0 or -|weight|, a passing one weight or 0; Reverse
// changes the sign (keepalived, vrrp_track.c).
func (t tracker) judge(now time.Time) Status {
	pass, w := t.passing(), t.spec.Weight
	s := Status{Name: t.spec.Name, Known: true, OK: pass != t.spec.Reverse}
	s.Fault = w == 0 && !s.OK
	if pass == (w > 0) {
		s.Weight = w
	}
	if t.spec.Reverse {
		s.Weight = -s.Weight
	}
	if t.soft.counts(now) {
		s.Warn = true
		s.Weight += t.soft.weight
		s.OK = s.OK && t.soft.weight == 0
	}
	return s
}

// softened is the soft condition after r. A hard look neither starts nor ends
// one; failing ends it, since there is something worse to say.
func (t tracker) softened(r Result, now time.Time) condition {
	switch {
	case r.State == Good || !t.passing():
		return condition{}
	case r.State == Hard:
		return t.soft
	case r.Cause == t.soft.cause && !t.soft.since.IsZero():
		return condition{t.soft.cause, t.soft.since, r.Weight}
	default:
		return condition{r.Cause, now, r.Weight}
	}
}

// condition is a soft condition that holds; the zero value is none.
type condition struct {
	cause  string
	since  time.Time
	weight int
}

// counts reports whether the condition has lasted long enough to matter.
func (c condition) counts(now time.Time) bool {
	return !c.since.IsZero() && now.Sub(c.since) >= SoftDelay
}
