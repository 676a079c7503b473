package healthcheck

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// SoftDelay is how long one soft condition must last before it counts. It
// spans the re-checks of backends after a reload.
const SoftDelay = 5 * time.Second

// maxOutput caps what a check may say, in bytes.
const maxOutput = 256

// State is how one look went. The zero value is Hard, so that a forgotten
// result is a failure.
type State int

// The states of a Result.
const (
	Hard State = iota // this node cannot serve
	Soft              // it serves, but something is wrong; never ineligible
	Good              // it serves
)

// String returns "hard", "soft" or "good".
func (s State) String() string {
	switch s {
	case Good:
		return "good"
	case Soft:
		return "soft"
	case Hard:
	}
	return "hard"
}

// Result is one look.
type Result struct {
	State State

	// Cause names a condition that is not good in a word or two ("gone",
	// "hung", "no backends"). A soft condition lasts while its cause stays
	// the same.
	Cause string

	// Output is one printable line of at most 256 bytes for people.
	Output string

	// Now says that a hard result is certain (the process's death was
	// observed), so that it is not to be counted up to Fall.
	Now bool

	// Begin is when the condition began, where that is known better than from
	// the looks (death of a process); else zero.
	Begin time.Time

	// Weight is what a soft condition adds to the priority once it has lasted
	// SoftDelay. Zero: it is a warning only.
	Weight int

	// Again asks for the next look after this time instead of at the next
	// tick, while a hard result is not yet a verdict. Zero: at the tick.
	Again time.Duration
}

// A Checker looks once. Check returns soon after ctx ends, which is how it
// learns of its timeout; it is never called concurrently with itself. A
// Checker that also has
//
//	Events() <-chan struct{}
//
// is asked to look at once whenever that channel delivers, and one that is an
// io.Closer is closed when its Monitor stops.
type Checker interface {
	Check(ctx context.Context) Result
}

// Spec is a check with its schedule and its rules.
type Spec struct {
	Name     string
	Interval time.Duration // between the starts of two looks; > 0
	Timeout  time.Duration // of one look; > 0
	Rise     int           // consecutive good looks until it passes; >= 1
	Fall     int           // consecutive hard looks until it fails; >= 1

	// Weight 0: failing makes the node ineligible. Above 0: added to the
	// priority while passing. Below 0: added (lowering it) while failing.
	// -253..253, as in keepalived's track_script.
	Weight int

	Reverse  bool // passing is what is unwanted; weights change their sign
	InitFail bool // failing at the start until Rise good looks

	Checker Checker
}

// Status is what the rest of the program sees of one check.
type Status struct {
	Name  string
	Known bool // false until the first result

	// OK: nothing to complain of. Not OK and Fault: the node is ineligible.
	// Not OK without Fault: degraded (a check with a weight fails, or a soft
	// condition that has a weight has lasted SoftDelay).
	OK    bool
	Fault bool

	// Warn: a soft condition has lasted SoftDelay, whether it has a weight or
	// not; Output says which.
	Warn bool

	Weight int           // what the check adds to the priority now
	Output string        // of the latest look
	Since  time.Time     // when this status began; zero before the first result
	Detect time.Duration // how long the change took to notice: from the event, or from the last look that saw the old state
}

// Equal reports whether two statuses say the same; Output and Detect do not
// count.
func (s Status) Equal(o Status) bool {
	o.Output, o.Detect = s.Output, s.Detect
	same := s.Since.Equal(o.Since)
	o.Since = s.Since
	return same && s == o
}

// Verdict is the state of all checks, in the order of their Specs.
type Verdict struct {
	Checks []Status
}

// Equal reports whether two verdicts say the same; Output and Detect do not
// count.
func (v Verdict) Equal(o Verdict) bool {
	return slices.EqualFunc(v.Checks, o.Checks, Status.Equal)
}

// oneLine returns the first line of s that has something in it, printable and
// at most maxOutput bytes long.
func oneLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if len(s) <= maxOutput {
		return s
	}
	s = s[:maxOutput-len("…")]
	for len(s) > 0 && !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + "…"
}
