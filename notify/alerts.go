package notify

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/buoy-lb/buoy/fsm"
)

const (
	// sendBound bounds one attempt.
	sendBound = 10 * time.Second
	// maxAlerts is how many alerts may wait for one target that does not answer.
	maxAlerts = 32
)

// attempts are the pauses before each attempt to send: a node that is cut off needs time until it
// reaches anybody.
var attempts = []time.Duration{0, 5 * time.Second, 30 * time.Second, 2 * time.Minute, 5 * time.Minute}

// target is where alerts go.
type target interface {
	// send makes one attempt. Its error holds no secret.
	send(ctx context.Context, m message) error
	// name is what may stand in a log: scheme and host.
	name() string
}

// Alerts sends what people should know to each target, on its own goroutines.
type Alerts struct {
	log     hclog.Logger
	outlets []*outlet

	// wake has room for one: the ledger has changed.
	wake   chan struct{}
	mu     sync.Mutex
	ledger ledger
}

// NewAlerts reads entries: alert URLs, and file:PATH for files of them, one a line, which nobody
// else may read. The error is an *Error.
func NewAlerts(entries []string, log hclog.Logger) (*Alerts, error) {
	targets, err := load(entries)
	if err != nil {
		return nil, err
	}
	return newAlerts(targets, log), nil
}

func newAlerts(targets []target, log hclog.Logger) *Alerts {
	a := &Alerts{log: log, wake: make(chan struct{}, 1)}
	for _, t := range targets {
		a.outlets = append(a.outlets, &outlet{target: t, log: log.With("target", t.name()), wake: make(chan struct{}, 1)})
	}
	return a
}

// Tell has e sent if it is worth an alert. It never blocks.
func (a *Alerts) Tell(e fsm.Event) {
	if len(a.outlets) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ledger.add(e, time.Now())
	poke(a.wake)
}

// Run sends, as id, until ctx ends. What has not been sent by then is logged.
func (a *Alerts) Run(ctx context.Context, id Identity) {
	var wg sync.WaitGroup
	for _, o := range a.outlets {
		wg.Go(func() { o.run(ctx) })
	}
	defer wg.Wait()
	timer := time.NewTimer(time.Hour) // set at the first event
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case <-timer.C:
		}
		now := time.Now()
		a.mu.Lock()
		due, next := a.ledger.due(now)
		a.mu.Unlock()
		for _, d := range due {
			m := id.message(d)
			a.log.Info("alert", "kind", m.Kind, "over", m.Over, "title", m.Title, "reason", m.Reason)
			for _, o := range a.outlets {
				o.add(m)
			}
		}
		if !next.IsZero() {
			timer.Reset(next.Sub(now))
		}
	}
}

func poke(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// outlet is one target and what waits for it, so that a dead target holds up no other.
type outlet struct {
	target  target
	log     hclog.Logger
	wake    chan struct{}
	mu      sync.Mutex
	waiting []message
}

// add never blocks: the oldest gives way.
func (o *outlet) add(m message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) == maxAlerts {
		o.log.Error("an alert is left out: too many wait", "title", o.waiting[0].Title)
		o.waiting = slices.Delete(o.waiting, 0, 1)
	}
	o.waiting = append(o.waiting, m)
	poke(o.wake)
}

func (o *outlet) next() (message, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) == 0 {
		return message{}, false
	}
	m := o.waiting[0]
	o.waiting = o.waiting[1:]
	return m, true
}

func (o *outlet) run(ctx context.Context) {
	for ctx.Err() == nil {
		m, ok := o.next()
		if ok {
			o.deliver(ctx, m)
			continue
		}
		select {
		case <-ctx.Done():
		case <-o.wake:
		}
	}
	for m, ok := o.next(); ok; m, ok = o.next() {
		o.log.Warn("the daemon stops: an alert is not sent", "title", m.Title)
	}
}

// deliver sends m, with a few more attempts if need be.
func (o *outlet) deliver(ctx context.Context, m message) {
	var err error
	for i, pause := range attempts {
		select {
		case <-ctx.Done():
			o.log.Warn("the daemon stops: an alert is not sent", "title", m.Title, "error", err)
			return
		case <-time.After(pause):
		}
		bounded, cancel := context.WithTimeout(ctx, sendBound)
		err = o.target.send(bounded, m)
		cancel()
		if err == nil {
			o.log.Info("alert sent", "title", m.Title, "attempt", i+1)
			return
		}
		o.log.Warn("cannot send an alert", "title", m.Title, "attempt", i+1, "of", len(attempts), "error", err)
	}
	o.log.Error("an alert is given up", "title", m.Title, "error", err)
}
