package fsm

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// start is when the stories begin and when the random Views are looked at.
var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Hundreds of Views, rapid's default, miss rare combinations; a flag still overrides.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "1000"); err != nil {
		panic(err)
	}
	m.Run()
}

// pick draws one of up to 16 options, all about equally often: rapid.SampledFrom has a
// strong taste for the first and the last, which leaves most Views with nobody eligible.
func pick[T any](options ...T) *rapid.Generator[T] {
	return rapid.Custom(func(t *rapid.T) T {
		n := 0
		for range 4 {
			n *= 2
			if rapid.Bool().Draw(t, "bit") {
				n++
			}
		}
		return options[n%len(options)]
	})
}

// around draws a time near start, or hours after it, or zero.
var around = rapid.Map(pick(-999, -60, -10, -5, -1, 0, 1, 5, 10, 60, 7200), func(s int) time.Time {
	if s == -999 {
		return time.Time{}
	}
	return start.Add(time.Duration(s) * time.Second)
})

// mostly draws true about nine times out of ten.
var mostly = pick(true, true, true, true, true, true, true, true, false)

// priorities are few, so that equals are frequent.
var priorities = pick(1, 50, 100, 150, 254, 255)

func candidates(t *rapid.T) []Candidate {
	ids := rapid.Permutation([]int{1, 2, 3, 4, 5}).Draw(t, "ids")[:pick(1, 2, 3, 4, 5).Draw(t, "members")]
	var cs []Candidate
	for _, id := range ids {
		c := Candidate{
			Member: Member{
				ID: fmt.Sprintf("lb%d", id), Address: fmt.Sprintf("10.0.0.%d:7400", id%3),
				Role: RoleBalancer, Priority: priorities.Draw(t, "base"), Preempt: rapid.Bool().Draw(t, "preempt"),
				PreemptDelay: pick(0, 10*time.Second).Draw(t, "delay"),
			},
			Voter: mostly.Draw(t, "voter"), Reachable: mostly.Draw(t, "reachable"), CaughtUp: mostly.Draw(t, "caught up"),
			EligibleSince: around.Draw(t, "eligible since"), BackoffUntil: around.Draw(t, "back-off"), UnprovenUntil: around.Draw(t, "unproven"),
		}
		c.Drained = !mostly.Draw(t, "in service")
		if !mostly.Draw(t, "balancer") {
			c.Member.Role = RoleWitness
		}
		if mostly.Draw(t, "reports") {
			c.Report = &Report{
				Health:   pick(HealthOK, HealthOK, HealthOK, HealthDegraded, HealthDegraded, HealthFault, HealthUnknown, "new").Draw(t, "health"),
				Priority: priorities.Draw(t, "priority"),
			}
			if !mostly.Draw(t, "calm") {
				c.Report.Damped, c.Report.Falls = true, 3
			}
			if !mostly.Draw(t, "can claim") {
				c.Report.ClaimFault = "token"
			}
		}
		cs = append(cs, c)
	}
	return cs
}

// views draws a leader's View, mostly idle, now and then nonsense.
var views = rapid.Custom(func(t *rapid.T) View {
	v := View{
		Leader: mostly.Draw(t, "leader"), LeaderSince: start.Add(-pick(0, 500*time.Millisecond, time.Second, time.Hour, time.Hour).Draw(t, "leads for")),
		Candidates: candidates(t),
	}
	anyone := pick(v.Candidates...)
	v.Self = anyone.Draw(t, "self").Member.ID
	if !mostly.Draw(t, "idle") {
		v.Busy = pick(ActionClaim, ActionTransfer, ActionLook, "new").Draw(t, "busy")
	}
	if !mostly.Draw(t, "no request") {
		v.Request = &Request{Target: pick("", "nobody", anyone.Draw(t, "target").Member.ID).Draw(t, "request")}
	}
	if !mostly.Draw(t, "no preference") {
		v.Preferred = anyone.Draw(t, "preferred").Member.ID
	}
	v.Vacant = rapid.Bool().Draw(t, "vacant")
	v.Incumbent = pick("", "gone", anyone.Draw(t, "holder").Member.ID, anyone.Draw(t, "holder").Member.ID).Draw(t, "incumbent")
	v.Paused = !mostly.Draw(t, "unpaused")
	for i := range pick(0, 1, 2, 3).Draw(t, "ips") {
		busy := (v.Busy == ActionClaim || v.Busy == ActionLook && i == 0) && mostly.Draw(t, "in flight")
		v.IPs = append(v.IPs, IPView{IP: addr(i), Busy: busy && pick(true, true, false).Draw(t, "is it"), Due: around.Draw(t, "due"), OwnFaults: pick(0, 0, 0, 0, 0, 0, 1, 2).Draw(t, "own faults"), Looked: !mostly.Draw(t, "claimed")})
		if !mostly.Draw(t, "uncontested") {
			v.IPs[i].ClaimAfter = around.Draw(t, "claim after")
		}
	}
	if !mostly.Draw(t, "sane") {
		v.Candidates = append(v.Candidates, pick(v.Candidates[0], Candidate{}).Draw(t, "double"))
	}
	return v
})

// facts is what the properties need to know of a View, found out the slow way.
type facts struct {
	self         Candidate
	fit          bool
	targets      []Candidate // eligible others out of back-off, in the View's order
	choice       []Candidate // those that damping leaves
	higher, best *Candidate  // the best of them, if it is of higher priority; the best of them
	ownFault     bool
	sane, busy   bool
	byChance     bool       // leads by an election and is neither holder nor preferred
	incumbent    *Candidate // then: the holder of record, if it is eligible
}

func find(v View) (f facts) {
	may := func(c Candidate) bool {
		return c.Member.Role == RoleBalancer && !c.Drained && c.Voter && c.Reachable && c.CaughtUp && c.Report != nil &&
			(c.Report.Health == HealthOK || c.Report.Health == HealthDegraded) && c.Report.ClaimFault == ""
	}
	f.byChance = v.Vacant && v.Incumbent != v.Self && v.Preferred != v.Self
	ids := map[string]int{}
	for _, c := range v.Candidates {
		ids[c.Member.ID]++
		if c.Member.ID == v.Self {
			f.self, f.fit = c, may(c)
			continue
		}
		if may(c) && !c.BackoffUntil.After(start) {
			f.targets = append(f.targets, c)
		}
		if may(c) && f.byChance && c.Member.ID == v.Incumbent {
			f.incumbent = &c
		}
	}
	isCalm := func(c Candidate) bool { return !c.Report.Damped }
	f.choice = slices.Clone(f.targets)
	if f.fit && isCalm(f.self) || slices.ContainsFunc(f.targets, isCalm) {
		f.choice = slices.DeleteFunc(f.choice, func(c Candidate) bool { return !isCalm(c) })
	}
	for _, c := range f.choice {
		if f.best == nil || Outranks(c, *f.best) {
			f.best = &c
		}
	}
	if f.fit && f.best != nil && f.best.Report.Priority > f.self.Report.Priority {
		f.higher = f.best
	}
	for _, ip := range v.IPs {
		f.ownFault = f.ownFault || ip.OwnFaults >= DefaultPolicy.OwnFaults
	}
	f.busy = v.Busy != ActionNone
	f.sane = len(ids) == len(v.Candidates) && ids[v.Self] == 1 && ids[""] == 0
	return f
}

// properties hold of every decision over every View.
var properties = map[string]func(v View, f facts, d Decision) bool{
	"a follower waits, without a date": func(v View, _ facts, d Decision) bool {
		return v.Leader || d.Kind == Wait && d.Next.IsZero()
	},
	"an action in flight is waited for or, if a claim or a look, aborted; a claim gets company": func(v View, f facts, d Decision) bool {
		return !v.Leader || !f.busy || d.Next.IsZero() && (d.Kind == Wait ||
			d.Kind == Abort && (v.Busy == ActionClaim || v.Busy == ActionLook) || d.Kind == Claim && v.Busy == ActionClaim)
	},
	"a claim beside another is of another address, and what would be done without that one": func(v View, f facts, d Decision) bool {
		if !f.busy || d.Kind != Claim {
			return true
		}
		i := slices.IndexFunc(v.IPs, func(ip IPView) bool { return ip.IP == d.IP })
		v.IPs = slices.DeleteFunc(slices.Clone(v.IPs), func(ip IPView) bool { return ip.Busy })
		v.Busy = ActionNone
		alone := Decide(DefaultPolicy, v, start)
		return i >= 0 && alone.Kind == Claim && alone.IP == d.IP
	},
	"no address waits for another's claim": func(v View, f facts, d Decision) bool {
		if !v.Leader || !f.sane || f.ownFault || v.Busy != ActionClaim || !slices.ContainsFunc(v.IPs, func(ip IPView) bool { return ip.Busy }) {
			return true
		}
		v.IPs = slices.DeleteFunc(slices.Clone(v.IPs), func(ip IPView) bool { return ip.Busy })
		v.Busy = ActionNone
		alone := Decide(DefaultPolicy, v, start)
		return alone.Kind != Claim || d.Kind == Claim && d.IP == alone.IP || d.Kind == Abort
	},
	"a claim by an ineligible node is aborted": func(v View, f facts, d Decision) bool {
		return !v.Leader || !f.sane || v.Busy != ActionClaim || f.fit || d.Kind == Abort
	},
	"nonsense is waited out": func(v View, f facts, d Decision) bool {
		return !v.Leader || f.sane || d.Kind == Wait && d.Reason.Code == ReasonConfused
	},
	"a target may hold the address, is not self and not in back-off": func(_ View, f facts, d Decision) bool {
		return (d.Kind == Transfer) == (d.Target != "") && (d.Kind != Transfer ||
			slices.ContainsFunc(f.targets, func(c Candidate) bool { return c.Member.ID == d.Target }))
	},
	"only an eligible node claims, and only what is due": func(v View, f facts, d Decision) bool {
		return d.Kind != Claim || f.fit && slices.ContainsFunc(v.IPs, func(ip IPView) bool {
			return ip.IP == d.IP && (ip.Looked || !ip.Due.After(start)) && !ip.ClaimAfter.After(start)
		})
	},
	"paused: nothing is claimed, a claim in flight is aborted, and what is due is looked at": func(v View, f facts, d Decision) bool {
		if !v.Paused || !v.Leader || !f.sane {
			return !v.Paused || d.Kind != Claim
		}
		due := slices.ContainsFunc(v.IPs, func(ip IPView) bool { return !ip.Due.After(start) })
		return d.Kind != Claim && (v.Busy != ActionClaim || d.Kind == Abort) &&
			(d.Kind != Wait || d.Reason.Code != ReasonPaused || !due)
	},
	"a pause changes nothing but claims": func(v View, _ facts, d Decision) bool {
		if !v.Paused || v.Busy != ActionNone {
			return true
		}
		v.Paused = false
		free := Decide(DefaultPolicy, v, start)
		return d.Kind == free.Kind && d.Target == free.Target || free.Kind == Claim && (d.Kind == Look || d.Kind == Wait) ||
			free.Kind == Wait && d.Kind == Look || free.Kind == Look && d.Kind == Look
	},
	"a contested address that is due is looked at, if nothing else is to be done": func(v View, _ facts, d Decision) bool {
		return d.Kind != Wait || d.Reason.Code != ReasonContested && d.Reason.Code != ReasonHolding ||
			!slices.ContainsFunc(v.IPs, func(ip IPView) bool { return ip.ClaimAfter.After(start) && !ip.Due.After(start) })
	},
	"nobody eligible: what is due is looked at": func(v View, f facts, d Decision) bool {
		due := slices.ContainsFunc(v.IPs, func(ip IPView) bool { return !ip.Due.After(start) })
		return !v.Leader || !f.sane || f.busy || f.fit || f.best != nil || v.Request != nil || (d.Kind == Look) == due
	},
	"a leader at rest has a date after now": func(v View, f facts, d Decision) bool {
		return !v.Leader || f.busy || d.Next.After(start) && !d.Next.After(start.Add(maxNext))
	},
	"a request is answered at once, or overtaken by the leader's own trouble": func(v View, f facts, d Decision) bool {
		answered := d.Kind == Refuse || d.Kind == Transfer && (d.Reason.Code == ReasonRequested || !f.fit)
		return !v.Leader || !f.sane || f.busy || (v.Request != nil) == answered || v.Request == nil && d.Kind == Transfer
	},
	"an empty chair is filled at once, by the best": func(v View, f facts, d Decision) bool {
		if d.Kind == Refuse && f.incumbent != nil { // which is barred: a wish is answered first
			return true
		}
		return d.Reason.Code == ReasonIncumbent || d.Reason.Code == ReasonIncumbentBarred || !v.Leader || !f.sane || f.busy || f.fit || f.best == nil || d.Kind == Transfer &&
			(d.Target == f.best.Member.ID || d.Reason.Code == ReasonRequested)
	},
	"nobody eligible: hold and say so": func(v View, f facts, d Decision) bool {
		return !v.Leader || !f.sane || f.busy || f.fit || f.best != nil || v.Request != nil || (d.Kind == Wait || d.Kind == Look) &&
			((d.Reason.Code == ReasonNobody || d.Reason.Code == ReasonOnlyBarred) && d.Reason.Cause != "" || d.Reason.Code == ReasonIncumbentBarred)
	},
	"an eligible leader yields only to higher priority": func(v View, f facts, d Decision) bool {
		return d.Kind != Transfer || !f.fit || v.Request != nil || f.ownFault || d.Reason.Code == ReasonIncumbent || d.Reason.Code == ReasonSelfDamped ||
			target(f, d).Report.Priority > f.self.Report.Priority
	},
	"a leader by chance takes nothing from an eligible holder of equal or higher priority": func(v View, f facts, d Decision) bool {
		return !v.Leader || !f.sane || f.busy || v.Request != nil || !f.fit || f.incumbent == nil ||
			f.incumbent.Report.Priority < f.self.Report.Priority || d.Kind != Claim
	},
	"nor from a healthy one that an operator chose": func(v View, f facts, d Decision) bool {
		return !v.Leader || !f.sane || f.busy || v.Request != nil || !f.fit || f.incumbent == nil || d.Kind != Claim ||
			f.incumbent.Report.Health != HealthOK || v.Preferred != v.Incumbent
	},
	"nor from a healthy one of lower priority that it could not preempt": func(v View, f facts, d Decision) bool {
		m := f.self.Member
		return !v.Leader || !f.sane || f.incumbent == nil || f.incumbent.Report.Health != HealthOK ||
			m.Priority == OwnerPriority || m.Preempt && m.PreemptDelay == 0 || d.Kind != Claim
	},
	"a damped node gets the lead only for want of another": func(v View, f facts, d Decision) bool {
		return d.Kind != Transfer || v.Request != nil || f.ownFault || d.Reason.Code == ReasonIncumbent ||
			slices.ContainsFunc(f.choice, func(c Candidate) bool { return c.Member.ID == d.Target })
	},
	"a damped leader by chance claims nothing that another can": func(v View, f facts, d Decision) bool {
		return !v.Leader || !f.sane || f.busy || v.Request != nil || !f.fit || !f.byChance || !f.self.Report.Damped ||
			!slices.ContainsFunc(f.targets, func(c Candidate) bool { return !c.Report.Damped }) || d.Kind != Claim
	},
	"an unfit leader by chance leaves the address with an eligible holder": func(v View, f facts, d Decision) bool {
		return !v.Leader || !f.sane || f.busy || v.Request != nil || f.fit || f.incumbent == nil ||
			d.Reason.Code == ReasonIncumbent && d.Target == v.Incumbent || d.Reason.Code == ReasonIncumbentBarred
	},
	"only the holder of record gets the address for being it": func(v View, f facts, d Decision) bool {
		return d.Reason.Code != ReasonIncumbent || f.byChance && d.Target == v.Incumbent
	},
	"an empty chair goes to the highest rank, whatever its settings": func(v View, f facts, d Decision) bool {
		return d.Reason.Code == ReasonSelfDamped || !v.Leader || !f.sane || f.busy || v.Request != nil || !f.fit || !f.byChance || f.incumbent != nil ||
			f.higher == nil || settling(d) || d.Kind == Transfer && d.Target == f.higher.Member.ID
	},
	"a healthy leader is preempted only by whom it may be": func(v View, f facts, d Decision) bool {
		if d.Kind != Transfer || !f.fit || v.Request != nil || f.ownFault || f.self.Report.Health != HealthOK || f.byChance {
			return true
		}
		m, since := target(f, d).Member, target(f, d).EligibleSince
		waited := m.PreemptDelay == 0 || !since.IsZero() && !since.Add(m.PreemptDelay).After(start)
		return v.Preferred != v.Self && (m.Priority == OwnerPriority || m.Preempt && waited)
	},
	"a leader that has lost more by its checks yields at once to the best of higher priority": func(v View, f facts, d Decision) bool {
		return !v.Leader || !f.sane || f.busy || v.Request != nil || f.higher == nil ||
			f.self.Report.Health != HealthDegraded || lost(f.self) <= lost(*f.higher) || d.Kind == Transfer && d.Target == f.higher.Member.ID ||
			settling(d) || d.Reason.Code == ReasonIncumbent || d.Reason.Code == ReasonIncumbentBarred
	},
	"undisturbed, what is due is claimed": func(v View, f facts, d Decision) bool {
		return v.Paused || d.Reason.Code == ReasonSelfDamped || !v.Leader || !f.sane || f.busy || v.Request != nil || !f.fit || f.higher != nil || f.ownFault ||
			d.Kind == Claim || settling(d) || d.Reason.Code == ReasonIncumbent || d.Reason.Code == ReasonIncumbentBarred ||
			!slices.ContainsFunc(v.IPs, func(ip IPView) bool {
				return (ip.Looked || !ip.Due.After(start)) && !ip.ClaimAfter.After(start)
			})
	},
	"settling ends": func(v View, _ facts, d Decision) bool {
		return !settling(d) || d.Next.Equal(v.LeaderSince.Add(DefaultPolicy.Settle))
	},
}

// lost is what c's checks cost it.
func lost(c Candidate) int { return c.Member.Priority - c.Report.Priority }

func settling(d Decision) bool {
	return d.Reason.Code == ReasonSettling || d.Reason.Code == ReasonIncumbentStarts
}

func target(f facts, d Decision) Candidate {
	i := slices.IndexFunc(f.targets, func(c Candidate) bool { return c.Member.ID == d.Target })
	return f.targets[i]
}

func TestDecideProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := views.Draw(t, "view")
		f, d := find(v), Decide(DefaultPolicy, v, start)
		for name, holds := range properties {
			if !holds(v, f, d) {
				t.Errorf("violated: %s\n%+v", name, d)
			}
		}
		if d.Reason.String() == string(d.Reason.Code) {
			t.Errorf("no words for %+v", d.Reason)
		}
	})
}

func TestDecideIgnoresOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := views.Draw(t, "view")
		want := Decide(DefaultPolicy, v, start)
		v.Candidates = rapid.Permutation(v.Candidates).Draw(t, "candidates")
		v.IPs = rapid.Permutation(v.IPs).Draw(t, "ips")
		if got := Decide(DefaultPolicy, v, start); got != want {
			t.Errorf("%+v\nin another order %+v", want, got)
		}
	})
}

// Next is trustworthy: before it nothing would be decided that is not decided now, and
// the reason, which is logged when it changes, does not change.
func TestDecideSleepsThroughNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := views.Draw(t, "view")
		d := Decide(DefaultPolicy, v, start)
		if d.Kind != Wait || d.Next.IsZero() {
			return
		}
		early := time.Duration(rapid.Int64Range(1, int64(d.Next.Sub(start))).Draw(t, "before next"))
		got := Decide(DefaultPolicy, v, d.Next.Add(-early))
		if got.Kind != Wait || got.Reason != d.Reason {
			t.Errorf("%+v\n%v before Next %+v", d, early, got)
		}
	})
}

// Hand-overs end: in a world that stands still, leadership does not go in circles.
func TestHandOversEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := views.Draw(t, "view")
		v.Leader, v.Busy, v.Request, v.IPs = true, ActionNone, nil, nil
		// At most one hand-over to the incumbent, then each to a higher rank.
		for range len(v.Candidates) + 1 {
			d := Decide(DefaultPolicy, v, start)
			if d.Kind != Transfer {
				return
			}
			v.Self, v.Vacant = d.Target, false // appointed now
		}
		t.Errorf("still moving after %d hand-overs, now at %s", len(v.Candidates)+1, v.Self)
	})
}

// Whatever the numbers, Decide answers, and never asks to be called again at once.
func TestDecideIsTotal(t *testing.T) {
	for _, p := range []Policy{{}, {Settle: -time.Hour, OwnFaults: -1, Recheck: -time.Hour}, {Settle: 1 << 62, Recheck: 1 << 62}} {
		for _, v := range []View{
			{},
			{Leader: true},
			{Leader: true, Candidates: []Candidate{{}}},
			{Leader: true, Self: "lb1", Candidates: []Candidate{{Member: Member{ID: "lb1"}}}},
			{Leader: true, Self: "lb1", Candidates: []Candidate{{Member: Member{ID: "lb1"}}, {}}},
			{Leader: true, Self: "lb1", IPs: []IPView{{}}, Candidates: []Candidate{healthy("lb1", 100)}},
		} {
			if d := Decide(p, v, start); v.Leader && !d.Next.After(start) {
				t.Errorf("Decide(%+v, %+v) = %+v", p, v, d)
			}
		}
	}
	undisturbed := View{Leader: true, Self: "lb1", IPs: []IPView{{IP: addr(0)}}, Candidates: []Candidate{healthy("lb1", 100), healthy("lb2", 100)}}
	if d := Decide(Policy{}, undisturbed, start); d.Kind != Claim {
		t.Errorf("with no policy at all: %+v", d)
	}
}

func healthy(id string, priority int) Candidate {
	return Candidate{
		Member: Member{ID: id, Role: RoleBalancer, Priority: priority, Preempt: true},
		Report: &Report{Health: HealthOK, Priority: priority},
		Voter:  true, Reachable: true, CaughtUp: true,
	}
}

func BenchmarkDecide(b *testing.B) {
	v := View{Leader: true, Self: "lb3", IPs: []IPView{{IP: addr(1), Due: start.Add(time.Minute)}}}
	for i := range 5 {
		v.Candidates = append(v.Candidates, healthy(fmt.Sprintf("lb%d", i), 103-i%3))
	}
	for b.Loop() {
		Decide(DefaultPolicy, v, start)
	}
}
