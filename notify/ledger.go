package notify

import (
	"cmp"
	"slices"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

const (
	// settle is how long a problem must last, or be over, before anybody is told: a restart or
	// one lost request is no news.
	settle = 10 * time.Second
	// repeat is how long after one alert the same one is held back.
	repeat = 10 * time.Minute
)

// ledger decides which events are worth an alert, and when. It has no clock of its own.
type ledger struct {
	entries map[subject]*entry
}

// subject is what makes two alerts the same.
type subject struct {
	kind               fsm.EventKind
	what, from, reason string
}

func subjectOf(e fsm.Event) subject {
	s := subject{kind: e.Kind, what: e.Subject}
	if e.Kind == fsm.EventMoved {
		s.from, s.reason = e.From, e.Reason
	}
	return s
}

// entry is what is known of one subject.
type entry struct {
	event fsm.Event // the newest
	// wrong: the problem is there now; said: people have been told so, and of nothing else since.
	wrong, said bool
	since       time.Time // of wrong
	changed     time.Time // wrong, the last time
	sent        time.Time // the last alert that something is wrong, or of a move; zero if none
	// times is how often it has come, people not being told.
	times int
}

// alert is one message to people.
type alert struct {
	event fsm.Event
	// over: the problem has gone.
	over bool
	// since is when the problem began, until when it ended.
	since, until time.Time
	// times is how often this has happened since the last alert of the kind, 1 and more.
	times int
}

// add takes e in at now.
func (l *ledger) add(e fsm.Event, now time.Time) {
	key := subjectOf(e)
	x := l.entries[key]
	if x == nil {
		x = &entry{}
		if l.entries == nil {
			l.entries = map[subject]*entry{}
		}
		l.entries[key] = x
	}
	was := x.wrong
	switch e.Kind {
	case fsm.EventMoved:
		x.times++
		x.since = now
	case fsm.EventRole:
		x.wrong = e.State == fsm.VRRPFault
	default:
		x.wrong = e.Phase == fsm.PhaseBegan
	}
	if x.wrong && !was {
		x.times++
		if !x.said {
			x.since = now
		}
	}
	if x.wrong != was {
		x.changed = now
	}
	if e.Phase == fsm.PhaseLapsed {
		x.said = false // somebody else tells how it goes on
	}
	if x.event = e; x.sent.IsZero() && !x.wrong && e.Kind != fsm.EventMoved {
		delete(l.entries, key) // nobody has heard of it
	}
}

// dueAt is when x is worth an alert; false: not as things are.
func (x *entry) dueAt() (time.Time, bool) {
	var free time.Time
	if !x.sent.IsZero() {
		free = x.sent.Add(repeat)
	}
	switch {
	case x.event.Kind == fsm.EventMoved:
		return free, x.times > 0
	case x.wrong && !x.said:
		return later(x.changed.Add(settle), free), true
	case !x.wrong && x.said:
		return x.changed.Add(settle), true
	}
	return time.Time{}, false
}

// due returns the alerts that are due at now, oldest first, and when the next one may be; the
// zero time: not before the next add.
func (l *ledger) due(now time.Time) (alerts []alert, next time.Time) {
	for key, x := range l.entries {
		at, pending := x.dueAt()
		switch {
		case pending && !at.After(now):
			alerts = append(alerts, x.alert(now))
		case pending && (next.IsZero() || at.Before(next)):
			next = at
		case !pending && !x.wrong && now.Sub(x.sent) >= repeat:
			delete(l.entries, key)
		}
	}
	slices.SortFunc(alerts, func(a, b alert) int {
		return cmp.Or(a.event.At.Compare(b.event.At), cmp.Compare(a.event.Kind, b.event.Kind), cmp.Compare(a.event.Subject, b.event.Subject))
	})
	return alerts, next
}

// alert is x's, which is marked as told.
func (x *entry) alert(now time.Time) alert {
	a := alert{event: x.event, over: x.said && !x.wrong, since: x.since, until: x.changed, times: max(x.times, 1)}
	x.said = x.wrong
	if !a.over {
		x.sent, x.times = now, 0
	}
	return a
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
