package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

// chronicle is what happened in a run, as seen from outside: who was unwell when, and
// which node wrote to the cloud. It is all that the judge knows.
type chronicle struct {
	members []fsm.Member // Name, Role, Priority, Preempt, PreemptDelay
	states  []condition  // each node's when it starts, then each change
	drifts  []time.Duration
	asks    []ask // an operator's
	writes  []write
	rests   []rest
}

// condition is how a node is from a time on.
type condition struct {
	at    time.Duration
	node  string
	boots int  // how often its daemon was started
	gone  bool // dead, cut off or hung
	fault bool
	lost  int // priority that a failing check takes away
}

func (c condition) fit() bool { return c.boots > 0 && !c.gone && !c.fault }

// ask is an operator's wish for a transfer.
type ask struct {
	at time.Duration
	to string
	// done: the node said that it was carried out; it may have been even so.
	done bool
}

// rest is who held the address, by the cloud's word, at the end of a quiet stretch.
type rest struct {
	at     time.Duration
	holder string
}

const (
	// aftermath is how long something that has ended may still explain a move: an election
	// is under way, or a claim waits for a ticket.
	aftermath = 5 * time.Second
	// reaction is how long a node that has become unfit may still begin a write.
	reaction = TicketLife + 50*time.Millisecond
	// askedFor is how long an operator's wish explains a move.
	askedFor = 10 * time.Second
)

// delays is what damping owes after a node's falls, as the manual has it.
var delays = []time.Duration{0, 0, 5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute}

// judge goes through a chronicle in the order of time.
type judge struct {
	chronicle
	now       time.Duration
	nodes     map[string]*suspect
	holder    string        // by right: a drift does not change it
	preferred string        // whom an operator put there
	moved     time.Duration // the last write
	taken     time.Duration // the last that was no repair
	elected   bool          // the last move was an election's doing
	wrong     []string
	tally
}

// tally is what a run amounted to.
type tally struct{ moves, falls, damped, repairs int }

// suspect is what the judge knows of a node at the time where it is.
type suspect struct {
	condition
	fsm.Member
	past     []condition
	fitSince time.Duration
	// Of damping: the falls that are certain, the spells of bad health, each of which may
	// have been one, the priority at the last fall (0: FAULT), and since when it is well.
	falls, spells, low int
	well               bool
	wellSince          time.Duration
}

func (s *suspect) rank(c condition) int { return max(s.Priority-c.lost, fsm.MinPriority) }

// verdict says what is wrong with c.
func verdict(c chronicle) *judge {
	j := &judge{chronicle: c, nodes: map[string]*suspect{}}
	for _, m := range c.members {
		j.nodes[m.Name] = &suspect{Member: m}
	}
	type event struct {
		at time.Duration
		do func()
	}
	var events []event
	for _, s := range c.states {
		events = append(events, event{s.at, func() { j.nodes[s.node].become(s) }})
	}
	for _, w := range c.writes {
		events = append(events, event{w.at, func() { j.write(w.node) }})
	}
	for _, r := range c.rests {
		events = append(events, event{r.at, func() { j.rest(r.holder) }})
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	for _, e := range events {
		j.now = e.at
		e.do()
	}
	return j
}

func (j *judge) object(format string, args ...any) {
	j.wrong = append(j.wrong, fmt.Sprintf("%8.3fs ", j.now.Seconds())+fmt.Sprintf(format, args...))
}

func (s *suspect) become(c condition) {
	if c.fit() && !s.fit() {
		s.fitSince = c.at
	}
	if c.boots != s.boots { // a restart forgets
		s.falls, s.spells, s.low = 0, 0, 0
	}
	s.forget(c.at)
	s.condition, s.past = c, append(s.past, c)
	s.heal(c.at)
}

// heal notes whether the health of s is good at now.
func (s *suspect) heal(now time.Duration) {
	well := !s.fault && (s.lost == 0 || s.rank(s.condition) > s.low)
	switch {
	case well && !s.well:
		s.wellSince = now
	case !well && s.well:
		s.spells++
	}
	s.well = well
}

func (s *suspect) forget(now time.Duration) {
	if s.well && now-s.wellSince >= 10*time.Minute {
		s.falls, s.spells, s.low = 0, 0, 0
	}
}

// owes is for how long s must have been well before it leads again.
func (s *suspect) owes(now time.Duration) time.Duration {
	s.forget(now)
	return delays[min(s.falls, len(delays)-1)]
}

// damped says that it does not lead yet, for certain.
func (s *suspect) damped(now time.Duration) bool {
	return s.owes(now) > 0 && (!s.well || now-s.wellSince < s.owes(now))
}

// maybeDamped errs on the other side.
func (s *suspect) maybeDamped(now time.Duration) bool {
	s.forget(now)
	return s.spells > 1 && (!s.well || now-s.wellSince < time.Minute) || s.spells > 0 && s.lost > 0
}

// ever says whether holds was true at any time from from on: of one node, or of two.
func (j *judge) ever(from time.Duration, a, b *suspect, holds func(a, b condition) bool) bool {
	at := func(s *suspect, t time.Duration) condition {
		last := s.past[0]
		for _, c := range s.past {
			if c.at <= t {
				last = c
			}
		}
		return last
	}
	times := []time.Duration{from}
	for _, c := range slices.Concat(a.past, b.past) {
		if c.at > from {
			times = append(times, c.at)
		}
	}
	return slices.ContainsFunc(times, func(t time.Duration) bool { return holds(at(a, t), at(b, t)) })
}

func (j *judge) drifted() bool {
	return slices.ContainsFunc(j.drifts, func(at time.Duration) bool { return at > j.moved && at <= j.now })
}

// asked finds an operator's wish that name have the address.
func (j *judge) asked(name string) (a ask, ok bool) {
	i := slices.IndexFunc(j.asks, func(a ask) bool {
		return a.to == name && a.at > j.moved && a.at <= j.now && j.now-a.at < askedFor
	})
	if i < 0 {
		return ask{}, false
	}
	return j.asks[i], true
}

// overruled says that an operator has had another wish since the last move.
func (j *judge) overruled() bool {
	return slices.ContainsFunc(j.asks, func(a ask) bool { return a.to != j.preferred && a.at > j.moved && a.at <= j.now })
}

// write judges one write, by the node called name.
func (j *judge) write(name string) {
	x, h := j.nodes[name], j.nodes[j.holder]
	if !j.ever(j.now-reaction, x, x, func(c, _ condition) bool { return c.fit() }) {
		j.object("%s wrote and was unfit", name)
	}
	switch {
	case h == nil: // the first claim
	case x == h && j.drifted():
		j.repairs++
		j.moved = j.now
		return
	case x == h:
		j.object("%s wrote, though it had the address and nothing had moved it away", name)
	default:
		j.move(x, h)
	}
	j.moved, j.taken, j.holder = j.now, j.now, name
}

// move judges that the address went from h to x.
func (j *judge) move(x, h *suspect) {
	j.moves++
	from := max(j.moved, j.now-aftermath)
	gone := j.ever(from, h, h, func(c, _ condition) bool { return c.gone || c.boots == 0 })
	asked, ok := j.asked(x.Name)
	was := j.elected
	j.elected = false
	switch {
	case asked.done:
		j.preferred = x.Name
		return
	case gone:
		j.elected = true
	case j.ever(from, h, h, func(c, _ condition) bool { return c.fault }):
		h.fall(j, 0)
	case j.ever(from, x, h, func(a, b condition) bool {
		return a.fit() && b.lost > a.lost && x.rank(a) > h.rank(b)
	}):
		h.fall(j, h.rank(h.condition))
	case j.drifted() && j.ever(j.moved, h, h, func(c, _ condition) bool { return !c.fit() }):
		// Nobody has it, and h had lost the lead.
	case !ok:
		j.outranked(x, h, was)
	}
	j.preferred = ""
	j.patience(x, h)
}

func (s *suspect) fall(j *judge, low int) {
	s.forget(j.now)
	s.falls++
	s.spells++
	s.low, s.well = low, false
	s.heal(j.now)
	j.falls++
}

// outranked judges that x took the address from the healthy h.
func (j *judge) outranked(x, h *suspect, elected bool) {
	from := max(j.moved, j.now-aftermath)
	above := j.ever(from, x, h, func(a, b condition) bool { return a.fit() && x.rank(a) > h.rank(b) })
	owner := x.Priority == fsm.OwnerPriority
	switch {
	case !above:
		j.object("%s took the address from %s, which was well and not outranked", x.Name, h.Name)
	case j.preferred == h.Name && h.lost == 0 && !j.overruled():
		j.object("%s took the address from %s, where an operator had put it", x.Name, h.Name)
	case elected: // who was elected by chance, and claimed because its betters did not answer
	case owner:
	case !x.Preempt:
		j.object("%s took the address from %s, which was well, against preempt: false", x.Name, h.Name)
	case j.now-x.fitSince < x.PreemptDelay:
		j.object("%s took the address from %s after %v, before its preempt_delay", x.Name, h.Name, j.now-x.fitSince)
	case j.taken-aftermath > max(x.at, h.at, x.wellSince+x.owes(j.now), x.fitSince+x.PreemptDelay):
		j.object("%s took the address from %s: nothing had changed since the last move", x.Name, h.Name)
	}
}

// patience judges whether damping let x come back.
func (j *judge) patience(x, h *suspect) {
	if x.owes(j.now) > 0 {
		j.damped++
	}
	if !x.damped(j.now) {
		return
	}
	for _, y := range j.nodes {
		if y == x || y.Role == fsm.RoleWitness || y.maybeDamped(j.now) {
			continue
		}
		// Fit all the while: it could have had the address instead.
		if !j.ever(j.now-aftermath, y, y, func(c, _ condition) bool { return !c.fit() }) {
			j.object("%s took the address from %s, %v after it was well again; after %d falls it owed %v, and %s was there",
				x.Name, h.Name, j.now-x.wellSince, x.falls, x.owes(j.now), y.Name)
			return
		}
	}
}

// rest judges where the address was when all had been quiet for long.
func (j *judge) rest(holder string) {
	h := j.nodes[holder]
	if h == nil || holder != j.holder {
		j.object("the address rests at %q; the last to claim it was %s", holder, j.holder)
		return
	}
	for _, y := range j.nodes {
		able := y.Role != fsm.RoleWitness && y.fit() && !y.damped(j.now) && j.now-y.fitSince > y.PreemptDelay
		wants := y.Priority == fsm.OwnerPriority || y.Preempt || h.lost > y.lost || !h.fit()
		if able && wants && y.rank(y.condition) > h.rank(h.condition) && j.preferred != holder {
			j.object("the address rests at %s, and %s is better", holder, y.Name)
		}
	}
}
