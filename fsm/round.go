package fsm

import (
	"cmp"
	"slices"
	"time"
)

// maxNext bounds Decision.Next: a leader looks around at least this often.
const maxNext = time.Hour

// round is one leader's View, sorted out for the questions.
type round struct {
	p   Policy
	v   View
	now time.Time

	self   Candidate
	fit    bool   // the leader itself is eligible
	unfits Reason // and if not, why
	others []Candidate
	// targets are the eligible others out of back-off, barred those in it, damped those
	// that are no targets while anybody may lead who is not; all best first.
	targets, barred, damped []Candidate
	ips                     []IPView // first due first
}

// newRound sorts out v, or says what in it makes no sense.
func newRound(p Policy, v View, now time.Time) (r *round, wrong string) {
	r = &round{p: p, v: v, now: now}
	candidates := slices.SortedFunc(slices.Values(v.Candidates), bestFirst)
	if wrong := contradiction(v.Self, candidates); wrong != "" {
		return r, wrong
	}
	for _, c := range candidates {
		switch ok, why := Eligible(c); {
		case c.Member.ID == v.Self:
			r.self, r.fit, r.unfits = c, ok, why
			continue
		case !ok:
		case c.BackoffUntil.After(now):
			r.barred = append(r.barred, c)
		default:
			r.targets = append(r.targets, c)
		}
		r.others = append(r.others, c)
	}
	r.damp()
	r.ips = slices.SortedFunc(slices.Values(v.IPs), func(a, b IPView) int {
		return cmp.Or(a.Due.Compare(b.Due), a.IP.Compare(b.IP))
	})
	return r, ""
}

// damp takes those out of the targets that have failed too often lately, unless there is
// nobody else: the leader, or a target.
func (r *round) damp() {
	var calm, damped []Candidate
	for _, c := range r.targets {
		if c.damped() {
			damped = append(damped, c)
		} else {
			calm = append(calm, c)
		}
	}
	if len(calm) > 0 || r.fit && !r.self.damped() {
		r.targets, r.damped = calm, damped
	}
}

// contradiction says what is wrong with the IDs of candidates.
func contradiction(self string, candidates []Candidate) string {
	var ids []string
	for _, c := range candidates {
		ids = append(ids, c.Member.ID)
	}
	slices.Sort(ids)
	if _, found := slices.BinarySearch(ids, self); !found {
		return "the leader " + self + " is not among the members"
	}
	if ids[0] == "" {
		return "a member without an ID"
	}
	for i, id := range ids[1:] {
		if id == ids[i] {
			return "two members with the ID " + id
		}
	}
	return ""
}

func bestFirst(a, b Candidate) int { return compare(b, a) }

func (r *round) confused(how string) Decision {
	d := Decision{Kind: Wait, Reason: Reason{Code: ReasonConfused, Detail: how}}
	if r.v.Busy == ActionNone {
		d.Next = r.next()
	}
	return d
}

func (r *round) transfer(c Candidate, why Reason) Decision {
	why.Member = c.label()
	return Decision{Kind: Transfer, Target: c.Member.ID, Reason: why, Next: r.next()}
}

func (r *round) backoffs() []time.Time {
	var at []time.Time
	for _, c := range r.barred {
		at = append(at, c.BackoffUntil)
	}
	return at
}

// next is the earliest of the times after now, at most maxNext away; without one, it is
// time to look again after Recheck.
func (r *round) next(times ...time.Time) time.Time {
	var first time.Time
	for _, t := range times {
		if t.After(r.now) && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	if first.IsZero() {
		return r.now.Add(r.recheck())
	}
	if last := r.now.Add(maxNext); first.After(last) {
		return last
	}
	return first
}

func (r *round) recheck() time.Duration {
	if r.p.Recheck <= 0 {
		return DefaultPolicy.Recheck
	}
	return r.p.Recheck
}
