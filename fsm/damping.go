package fsm

import "time"

// DampingQuiet is how long a node must have been in good health, without a break, for its
// falls to be forgotten.
const DampingQuiet = 10 * time.Minute

// DampingDelay is for how long a node stays out of the lead, counted from when its health
// is good again after its fall number falls: 0, 5, 10, 20, 40, then 60 s each time.
func DampingDelay(falls int) time.Duration {
	if falls < 2 {
		return 0
	}
	return min(5*time.Second<<min(falls-2, 4), time.Minute)
}

// Damping is what a node remembers of its own falls, a fall being leadership lost through
// its health. The zero value is a node that has not fallen; its methods return the next
// value and change nothing. It lives as long as the process: a restart forgets.
type Damping struct {
	// Falls counts them, until DampingQuiet has passed.
	Falls int
	// low is the priority at the last fall, 0 if that was FAULT: health is good again
	// above it, though a check that had nothing to do with the fall may go on failing.
	low int
	// since is when health became good again; zero while it is not.
	since time.Time
}

// Fell is d after a fall at now with the report r, which says why.
func (d Damping) Fell(now time.Time, r Report) Damping {
	d = d.Step(now, r)
	d.Falls, d.low, d.since = d.Falls+1, 0, time.Time{}
	if r.Health == HealthDegraded {
		d.low = r.Priority
	}
	return d
}

// Step is d at now, with the report r.
func (d Damping) Step(now time.Time, r Report) Damping {
	good := r.Health == HealthOK || r.Health == HealthDegraded && r.Priority > d.low
	switch {
	case d.Falls == 0 || !d.since.IsZero() && now.Sub(d.since) >= DampingQuiet:
		return Damping{}
	case !good:
		d.since = time.Time{}
	case d.since.IsZero():
		d.since = now
	}
	return d
}

// Damped says whether the node is to stay out of the lead at now, and until when; the zero
// time means for as long as its health is not good.
func (d Damping) Damped(now time.Time) (until time.Time, damped bool) {
	switch delay := DampingDelay(d.Falls); {
	case delay == 0:
		return time.Time{}, false
	case d.since.IsZero():
		return time.Time{}, true
	default:
		until = d.since.Add(delay)
		return until, until.After(now)
	}
}
