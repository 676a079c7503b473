package fsm

import (
	"cmp"
	"slices"
)

// Suspicion asks another member whether it, too, finds the leader of a term gone.
type Suspicion struct {
	// Leader is the member's ID.
	Leader string `json:"leader"`
	Term   uint64 `json:"term"`
}

// Testimony is the answer to a Suspicion.
type Testimony struct {
	// Gone says that the leader does not lead that term any more, as far as the one who
	// answers can find out.
	Gone bool `json:"gone"`
	// Contact is who answers, and what it would bring to an election.
	Contact Contact `json:"contact"`
}

// Turn says how many of the survivors of a leader, self among them, stand for election
// before self: those that may hold the address, damped ones after the others, best first. It
// plays the part of VRRP's Skew_Time (RFC 9568 section 6.1). When no survivor may hold the
// address all of them stand, witnesses last, for somebody must lead. ok is false when self
// may not hold the address and another one may, or self is not among the survivors: then
// it should not stand by itself.
func Turn(self string, survivors []Candidate) (turn int, ok bool) {
	standing := slices.Clone(survivors)
	fit := func(c Candidate) bool { ok, _ := Eligible(c); return ok }
	if slices.ContainsFunc(standing, fit) {
		standing = slices.DeleteFunc(standing, func(c Candidate) bool { return !fit(c) })
	}
	slices.SortFunc(standing, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(a.lateness(), b.lateness()), bestFirst(a, b))
	})
	turn = slices.IndexFunc(standing, func(c Candidate) bool { return c.Member.ID == self })
	return turn, turn >= 0
}

// lateness is what comes before rank in the order in which candidates stand.
func (c Candidate) lateness() int {
	switch {
	case c.Member.Role == RoleWitness:
		return 2
	case c.damped():
		return 1
	}
	return 0
}
