package fsm

import (
	"slices"
	"strconv"
	"time"
)

// Decide says what a node should do now. It is pure and total: the same View gives the
// same Decision whatever the order of its slices, and a View that contradicts itself
// gives Wait.
//
// The ranking is that of VRRP (RFC 9568 section 6) and keepalived (v2.4.3), except:
//
//   - preempt: false protects a healthy leader only. A degraded one, with a failing
//     weighted check, is replaced by any higher rank that has lost less by its checks. In keepalived it never is
//     (vrrp.c:2228), its users' commonest trap (keepalived issue 2599).
//   - preempt_delay counts while the rival is eligible and the leader healthy; it never
//     delays the replacement of a degraded or ineligible leader (keepalived issue 80).
//   - Equal priority never moves the address. VRRP's Master yields to an equal of higher
//     address (section 6.4.3); here the address ranks challengers, not the holder.
//   - The owner, 255, is subject to no preempt setting, but respects an operator's
//     transfer, which VRRP does not know.
//   - Whom raft elects after a failure is chance. The chair is then the holder of
//     record's, if that is still eligible; else it is empty, and goes to the highest
//     rank at once, whatever its preempt settings: they speak of a healthy holder.
//   - Nobody eligible: the address stays where it is, where keepalived drops it.
//   - Paused by an operator, a leader claims nothing and goes on looking. Who leads is
//     decided as ever.
//   - Damping: a node that keeps losing the lead through its health takes over later each
//     time, unless nobody else may. It keeps a lead that it has, and an address.
func Decide(p Policy, v View, now time.Time) Decision {
	if !v.Leader {
		return Decision{Kind: Wait, Reason: following(v)}
	}
	r, wrong := newRound(p, v, now)
	if wrong != "" {
		return r.confused(wrong)
	}
	if d, ok := r.inFlight(); ok {
		return d
	}
	return r.idle()
}

// idle is what there is to do, or would be with nothing in flight.
func (r *round) idle() Decision {
	questions := []func() (Decision, bool){
		r.requested,
		r.incumbent,
		r.unfit,
		r.settling,
		r.outranked,
		r.ownFault,
		r.due,
	}
	for _, ask := range questions {
		if d, ok := ask(); ok {
			return d
		}
	}
	return r.hold()
}

func following(v View) Reason {
	if v.LeaderName == "" {
		return Reason{Code: ReasonNoLeader}
	}
	return Reason{Code: ReasonFollowing, Member: v.LeaderName}
}

// onlyLooks says that the leader may not claim, and has nobody to hand over to now.
func (r *round) onlyLooks() bool {
	if _, kept := r.incumbentIn(r.barred); kept {
		return true
	}
	return !r.fit && len(r.targets) == 0
}

// requested answers an operator. A leader that must go anyway goes to the best node if
// it cannot go where the operator asked: that is left to unfit.
func (r *round) requested() (Decision, bool) {
	if r.v.Request == nil {
		return Decision{}, false
	}
	want := r.v.Request.Target
	for _, c := range slices.Concat(r.targets, r.damped) { // damping is not meant for people
		if want == "" || want == c.Member.ID {
			return r.transfer(c, Reason{Code: ReasonRequested}), true
		}
	}
	if !r.fit && !r.onlyLooks() {
		return Decision{}, false
	}
	return Decision{Kind: Refuse, Reason: r.refusal(want), Next: r.next()}, true
}

// refusal says why the member with the ID want is not handed the lead.
func (r *round) refusal(want string) Reason {
	switch want {
	case "":
		return Reason{Code: ReasonNoOther}
	case r.v.Self:
		return Reason{Code: ReasonAlreadyLeads, Member: r.self.label()}
	}
	for _, c := range r.others {
		if c.Member.ID != want {
			continue
		}
		if ok, why := Eligible(c); !ok {
			return why
		}
		return Reason{Code: ReasonBarred, Member: c.label()}
	}
	return Reason{Code: ReasonUnknownMember, Detail: strconv.Quote(want)}
}

// unfit: a leader that may not hold the address hands over to the best that may. With
// nobody there it holds: an address that points at a sick node is worth more than none.
// It goes on looking where the address is, and writes nothing.
func (r *round) unfit() (Decision, bool) {
	if r.fit {
		return Decision{}, false
	}
	why := Reason{Code: ReasonNobody, Cause: r.unfits.Code, Detail: r.unfits.String()}
	if len(r.targets) > 0 {
		why.Code = ReasonSelfIneligible
		return r.transfer(r.targets[0], why), true
	}
	if len(r.barred) > 0 {
		why.Code, why.Member = ReasonOnlyBarred, r.barred[0].label()
	}
	return r.look(why), true
}

// look is what a leader does that leaves the address where it is, because of why.
func (r *round) look(why Reason) Decision {
	recheck := r.now.Add(r.recheck())
	if len(r.ips) > 0 && !r.ips[0].Due.After(r.now) {
		return Decision{Kind: Look, IP: r.ips[0].IP, Reason: why, Next: recheck}
	}
	times := append(r.backoffs(), recheck)
	for _, ip := range r.ips {
		times = append(times, ip.Due)
	}
	return Decision{Kind: Wait, Reason: why, Next: r.next(times...)}
}

// settling: a new leader does not claim what a member of higher rank would take from it
// a moment later, when its first checks have passed.
func (r *round) settling() (Decision, bool) {
	until := r.v.LeaderSince.Add(r.p.Settle)
	if !until.After(r.now) {
		return Decision{}, false
	}
	for _, c := range r.others {
		if !pending(c) {
			continue
		}
		c = r.promise(c)
		if ok, _ := Eligible(c); !ok || c.BackoffUntil.After(r.now) {
			continue
		}
		if r.seated(c) {
			why := Reason{Code: ReasonIncumbentStarts, Member: c.label()}
			return Decision{Kind: Wait, Reason: why, Next: r.next(until)}, true
		}
		if c.priority() <= r.self.priority() {
			continue
		}
		if due, why := r.challenge(c); !due.IsZero() && !due.After(r.now) {
			why.Code = ReasonSettling
			return Decision{Kind: Wait, Reason: why, Next: r.next(until)}, true
		}
	}
	return Decision{}, false
}

// pending says that c's first checks have not answered yet.
func pending(c Candidate) bool {
	return c.Report == nil || c.Report.Health == HealthUnknown
}

// promise is c as it will be if its first checks pass.
func (r *round) promise(c Candidate) Candidate {
	healthy := Report{Health: HealthOK, Priority: c.Member.Priority}
	if c.Report != nil {
		healthy.ClaimFault = c.Report.ClaimFault
	}
	c.Report, c.CaughtUp, c.EligibleSince = &healthy, true, r.now
	return c
}

// incumbent: a leader by chance, fit or not, gives the lead to the holder of record. While
// that does not work, the address stays there all the same: it is in good hands.
func (r *round) incumbent() (Decision, bool) {
	if c, ok := r.incumbentIn(slices.Concat(r.targets, r.damped)); ok {
		return r.transfer(c, Reason{Code: ReasonIncumbent}), true
	}
	if c, ok := r.incumbentIn(r.barred); ok {
		return r.look(Reason{Code: ReasonIncumbentBarred, Member: c.label()}), true
	}
	return Decision{}, false
}

// incumbentIn finds the one of cs that is seated.
func (r *round) incumbentIn(cs []Candidate) (Candidate, bool) {
	i := slices.IndexFunc(cs, r.seated)
	if i < 0 {
		return Candidate{}, false
	}
	return cs[i], true
}

// seated says that c, eligible, is the holder of record and the leader, who is not, may
// not take the address from it: the rules are those of challenge, seen from c's chair. A
// leader that is unfit or damped takes it from nobody.
func (r *round) seated(c Candidate) bool {
	if !r.vacant() || c.Member.ID != r.v.Incumbent {
		return false
	}
	self, degraded := r.self.Member, c.Report.Health == HealthDegraded && c.penalty() > r.self.penalty()
	switch {
	case !r.fit || r.self.damped() || r.self.priority() <= c.priority():
		return true
	case degraded:
		return false
	case r.v.Preferred == c.Member.ID:
		return true
	}
	return self.Priority != OwnerPriority && (!self.Preempt || self.PreemptDelay > 0)
}

// vacant says that the leader is not, or not yet, whom the others would have to preempt.
func (r *round) vacant() bool {
	return r.v.Vacant && r.v.Incumbent != r.v.Self && r.v.Preferred != r.v.Self
}

// empty says that nobody eligible holds the address.
func (r *round) empty() bool {
	eligible := slices.Concat(r.targets, r.damped, r.barred)
	return r.vacant() && !slices.ContainsFunc(eligible, func(c Candidate) bool { return c.Member.ID == r.v.Incumbent })
}

// outranked: the best rival whose time has come takes over. A damped leader by chance takes
// no empty chair that another can fill.
func (r *round) outranked() (Decision, bool) {
	if r.vacant() && r.self.damped() && len(r.targets) > 0 && !r.targets[0].damped() {
		return r.transfer(r.targets[0], Reason{Code: ReasonSelfDamped, Falls: r.self.Report.Falls}), true
	}
	for _, c := range r.rivals() {
		if due, why := r.challenge(c); !due.IsZero() && !due.After(r.now) {
			return r.transfer(c, why), true
		}
	}
	return Decision{}, false
}

// rivals are the targets of strictly higher priority than the leader, best first.
func (r *round) rivals() []Candidate {
	n := slices.IndexFunc(r.targets, func(c Candidate) bool { return c.priority() <= r.self.priority() })
	if n < 0 {
		return r.targets
	}
	return r.targets[:n]
}

// challenge says from when c, of higher priority, takes over from the eligible leader,
// and why so; the zero time means not as things stand.
func (r *round) challenge(c Candidate) (due time.Time, why Reason) {
	why = Reason{Member: c.label(), Rank: c.priority(), Over: r.self.priority()}
	// A rival that has lost as much by its own checks would change nothing: what ails
	// both, such as the backends that they share, is no reason to move.
	degraded := r.self.Report.Health == HealthDegraded && r.self.penalty() > c.penalty()
	switch {
	case r.empty():
		why.Code = ReasonVacant
		return r.now, why
	case r.v.Preferred == r.v.Self && !degraded:
		why.Code = ReasonPreferred
		return time.Time{}, why
	case c.Member.Priority == OwnerPriority:
		why.Code = ReasonOwner
		return r.now, why
	case degraded:
		why.Code = ReasonDegraded
		return r.now, why
	case !c.Member.Preempt:
		why.Code = ReasonNoPreempt
		return time.Time{}, why
	}
	since := c.EligibleSince
	if since.IsZero() {
		since = r.now
	}
	why.Code = ReasonOutranked
	if due = since.Add(c.Member.PreemptDelay); due.After(r.now) {
		why.Code, why.Delay = ReasonDelayed, c.Member.PreemptDelay
	}
	return due, why
}

// ownFault: where this node fails by its own fault, any eligible one may do better that has
// not just been found to fail as well.
func (r *round) ownFault() (Decision, bool) {
	able := slices.DeleteFunc(slices.Concat(r.targets, r.damped), func(c Candidate) bool { return c.UnprovenUntil.After(r.now) })
	if len(able) == 0 {
		return Decision{}, false
	}
	for _, ip := range r.ips {
		if ip.OwnFaults > 0 && ip.OwnFaults >= r.p.OwnFaults {
			return r.transfer(able[0], Reason{Code: ReasonOwnFault, IP: ip.IP}), true
		}
	}
	return Decision{}, false
}

// hold: nothing to do until an address is due, a rival's time comes or a bar ends.
func (r *round) hold() Decision {
	why := Reason{Code: ReasonHolding}
	if len(r.barred) > 0 && r.barred[0].priority() > r.self.priority() {
		why = Reason{Code: ReasonBarred, Member: r.barred[0].label()}
	}
	if len(r.damped) > 0 && r.damped[0].priority() > r.self.priority() {
		why = r.dampedFrom(r.damped[0])
	}
	times := r.backoffs()
	for i, c := range r.rivals() {
		due, reason := r.challenge(c)
		if i == 0 {
			why = reason
		}
		times = append(times, due)
	}
	for _, ip := range slices.Backward(r.ips) { // so that the first one's reason stands
		times = append(times, ip.Due, ip.ClaimAfter)
		if reason, held := r.heldBack(ip); held {
			why = reason
		}
	}
	return Decision{Kind: Wait, Reason: why, Next: r.next(times...)}
}

// dampedFrom says why c, of higher priority, does not lead.
func (r *round) dampedFrom(c Candidate) Reason {
	return Reason{
		Code: ReasonDamped, Member: c.label(), Rank: c.priority(), Over: r.self.priority(),
		Falls: c.Report.Falls, Delay: DampingDelay(c.Report.Falls),
	}
}
