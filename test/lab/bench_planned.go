package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
	"github.com/buoy-lb/buoy/test/lab/checker"
	"github.com/buoy-lb/buoy/test/lab/report"
	"github.com/buoy-lb/buoy/test/lab/variant"
)

// plannedMove is one kind of them: a fault's name, and how to bring it about in a world
// that is at rest. It returns how long each command took until the new leader led.
type plannedMove struct {
	key, title string
	times      int
	upgraded   bool // it needs a second build
	do         func(ctx context.Context, s *Scene) (asked []float64, err error)
}

// plannedMoves are what the benchmark measures of buoy alone.
func (b Bench) plannedMoves() []plannedMove {
	moves := []plannedMove{{"transfer", "buoy transfer, back and forth", b.Transfers, false, transferOnce}}
	for _, f := range append(plannedFaults(), daemonFaults()...) {
		if f.Key == "transfer" || !slices.Contains(plannedKeys(), f.Key) {
			continue
		}
		do := func(ctx context.Context, s *Scene) ([]float64, error) {
			_, err := s.Try(ctx, f, benchBound, restBound)
			return nil, err
		}
		moves = append(moves, plannedMove{f.Key, f.Title, b.Trials, f.Upgraded, do})
	}
	return slices.DeleteFunc(moves, func(m plannedMove) bool { return m.times == 0 || !chosen(b.Faults, m.key) })
}

// plannedKeys are the planned moves, and the faults that amount to one.
func plannedKeys() []string {
	keys := []string{"daemon-restarted"}
	for _, f := range plannedFaults() {
		keys = append(keys, f.Key)
	}
	return keys
}

// transferOnce moves the address to the next balancer, from wherever it is.
func transferOnce(ctx context.Context, s *Scene) ([]float64, error) {
	to := s.next()
	began := cluster.Boottime()
	if err := s.transfer(ctx, to); err != nil {
		return nil, err
	}
	led, ok := firstAfter(to.logged("leading", ""), began)
	if !ok {
		return nil, fmt.Errorf("%s does not say that it leads", to.Name)
	}
	return []float64{ms(led - began)}, nil
}

// planned measures the planned moves in a world of their own.
func (l *Lab) planned(ctx context.Context, b Bench, r *report.Results) (err error) {
	moves := b.plannedMoves()
	if len(moves) == 0 || !chosen(b.Systems, Buoy{}.Key()) {
		return nil
	}
	o := Options{Binary: l.Binary, Self: l.Self, Balancers: 3, Seed: l.Seed}
	if slices.ContainsFunc(moves, func(m plannedMove) bool { return m.upgraded }) {
		if o.Next, err = l.build(ctx, variant.Next()); err != nil {
			return err
		}
		defer func() { _ = os.Remove(o.Next) }()
	}
	w, err := NewWorld(ctx, o, Buoy{})
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Start(ctx); err != nil {
		return err
	}
	l.say("\nplanned moves")
	for _, m := range moves {
		p, err := w.measure(ctx, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.key, err)
		}
		l.say("  %-55s %d moves, %d of %d requests failed, %d were cut by the move", m.title, p.Moves, p.Failed, p.Requests, p.Cut)
		r.Planned = append(r.Planned, p)
		if err := r.Save(b.Results); err != nil {
			return err
		}
	}
	return nil
}

// measure brings a planned move about so many times.
func (w *World) measure(ctx context.Context, m plannedMove) (report.Planned, error) {
	p := report.Planned{What: m.title, Times: m.times}
	began := cluster.Boottime()
	h, _ := w.History()
	before := checker.Planned(h)
	for range m.times {
		// In step with nothing of the daemons' own.
		if err := pause(ctx, time.Duration(w.chance.Int64N(int64(300*time.Millisecond)))); err != nil {
			return p, err
		}
		asked, err := w.once(ctx, m)
		if err != nil && p.Refused < m.times { // as on a machine so busy that the lead is lost for a moment
			p.Refused++
			asked, err = w.once(ctx, m)
		}
		if err != nil {
			return p, err
		}
		p.Asked = append(p.Asked, asked...)
	}
	if err := w.client.awaitCalm(ctx, w); err != nil {
		return p, err
	}
	h, _ = w.History()
	after := checker.Planned(h)
	p.Moves, p.Requests = after.Moves-before.Moves, after.Requests-before.Requests
	p.Cut, p.Failed = after.Cut-before.Cut, after.Failed-before.Failed
	p.Decided = w.handovers(began)
	return p, nil
}

// once brings it about when all are content with whoever holds the address.
func (w *World) once(ctx context.Context, m plannedMove) ([]float64, error) {
	content, cancel := context.WithTimeout(ctx, restBound)
	defer cancel()
	err := sandbox.Poll(content, "the daemons to be content", func(ctx context.Context) error {
		holder := w.Holder()
		if holder == nil {
			return errors.New("nobody holds the address")
		}
		return w.system.AtRest(ctx, w, holder)
	})
	if err != nil {
		return nil, err
	}
	s, err := w.NewScene()
	if err != nil {
		return nil, err
	}
	return m.do(ctx, s)
}

// handovers are, in ms, from each decision to hand over that succeeded until the new leader
// led, since began.
func (w *World) handovers(began time.Duration) (out []float64) {
	for _, to := range w.Balancers {
		var decided []time.Duration
		for _, from := range w.Balancers {
			if from != to {
				decided = append(decided, from.logged("decision", to.Name)...)
			}
		}
		slices.Sort(decided)
		for _, led := range to.logged("leading", "") {
			// The decision before it, unless that is of another election.
			i, _ := slices.BinarySearch(decided, led)
			if led > began && i > 0 && decided[i-1] > began && led-decided[i-1] < time.Second {
				out = append(out, ms(led-decided[i-1]))
			}
		}
	}
	return out
}

// logged is when the daemon's log says message, of a transfer to target if that is given.
func (b *Balancer) logged(message, target string) (at []time.Duration) {
	file, err := os.Open(filepath.Join(b.Dir, "daemon.log"))
	if err != nil {
		return nil
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l struct {
			Message string        `json:"@message"`
			At      time.Duration `json:"boottime_ns"`
			Kind    string        `json:"kind"`
			Target  string        `json:"target"`
		}
		if json.Unmarshal(lines.Bytes(), &l) != nil || l.Message != message {
			continue
		}
		if target == "" || l.Kind == "transfer" && l.Target == target {
			at = append(at, l.At)
		}
	}
	return at
}

func firstAfter(times []time.Duration, from time.Duration) (time.Duration, bool) {
	i := slices.IndexFunc(times, func(t time.Duration) bool { return t > from })
	if i < 0 {
		return 0, false
	}
	return times[i], true
}
