package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/test/lab/report"
)

// contest is one system's share of a benchmark.
type contest struct {
	lab     *Lab
	bench   Bench
	system  System
	results *report.Results
	chance  *rand.Rand
	world   *World
}

// run has the system suffer every fault so many times, and then nothing.
func (c *contest) run(ctx context.Context, faults []Fault, trials int) error {
	defer func() { c.world.Close() }()
	if err := c.renew(ctx); err != nil {
		return err
	}
	for _, f := range faults {
		if f.Own && c.system.Key() != report.Buoy {
			continue
		}
		for range trials {
			if err := c.trial(ctx, f); err != nil {
				return err
			}
		}
		if err := c.results.Save(c.bench.Results); err != nil { // what is interrupted is not lost
			return err
		}
	}
	for _, q := range quiets(c.bench) {
		if err := c.quiet(ctx, q); err != nil {
			return err
		}
	}
	return c.results.Save(c.bench.Results)
}

// renew makes a new world. The cloud takes no time in it, which would only make all
// systems more alike.
func (c *contest) renew(ctx context.Context) (err error) {
	o := Options{Binary: c.lab.Binary, Self: c.lab.Self, AssignIP: c.lab.AssignIP, Balancers: 3, Seed: c.lab.Seed}
	for range 3 { // one that flaps may not even come to rest at its start
		c.world.Close()
		if c.world, err = NewWorld(ctx, o, c.system); err != nil {
			return err
		}
		starting, cancel := context.WithTimeout(ctx, benchStart)
		err = c.world.Start(starting)
		cancel()
		if err == nil || ctx.Err() != nil {
			break
		}
		c.lab.say("    start: %v", err)
	}
	return err
}

// trial is one fault, once. A system that does not come to rest by itself gets a new
// world, as if an operator had set all up again, and the trial says so.
func (c *contest) trial(ctx context.Context, f Fault) error {
	// The world has come to rest in step with the system's own timers. A fault comes when
	// it comes.
	if err := pause(ctx, time.Duration(c.chance.Int64N(int64(benchPhase)))); err != nil {
		return err
	}
	t, err := c.world.Try(ctx, f, benchBound, benchRest)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		t.Wrong = "not at rest afterwards: set up again"
		if errors.Is(err, errStranded) {
			t.Wrong = "the address was left stranded: set up again"
		}
		c.lab.say("    %v", err)
		if err := c.renew(ctx); err != nil {
			return err
		}
	}
	c.lab.say("  %-55s %s", f.Title, tell(f, t, nil))
	addTrial(c.results, f.Key, c.system.Key(), t)
	return nil
}

// quiet watches a time in which nobody has a reason to move the address.
func (c *contest) quiet(ctx context.Context, q quietly) error {
	if err := c.world.quiet(ctx, c.results, q); err != nil {
		return err
	}
	rest, cancel := context.WithTimeout(ctx, benchRest)
	defer cancel()
	if c.world.AwaitRest(rest) != nil {
		return c.renew(ctx)
	}
	return nil
}

func addTrial(r *report.Results, fault, system string, t report.Trial) {
	for i := range r.Cells {
		if c := &r.Cells[i]; c.Fault == fault && c.System == system {
			c.Trials = append(c.Trials, t)
			return
		}
	}
	r.Cells = append(r.Cells, report.Cell{Fault: fault, System: system, Trials: []report.Trial{t}})
}

// quietly is a time in which nobody has a reason to move the address: whatever the fault
// with that key does, or nothing.
type quietly struct {
	condition string
	length    time.Duration
	key       string
	times     int // of the fault; 0 is once
}

func quiets(b Bench) []quietly {
	return []quietly{
		{condition: report.Control, length: b.Quiet},
		// 10 times each, in both passes.
		{condition: "HAProxy reloaded 60 times under traffic", key: "haproxy-reloaded", times: 3},
		{condition: "HAProxy's reload fails", length: min(brief, b.Quiet), key: "haproxy-reload-failed"},
		{condition: "HAProxy at its maxconn", length: min(brief, b.Quiet), key: "haproxy-full"},
		{condition: "10 sessions on HAProxy's stats socket", length: min(brief, b.Quiet), key: "stats-busy"},
		{condition: fmt.Sprintf("%d busy loops on %d cores", 4*runtime.NumCPU(), runtime.NumCPU()), length: b.Load, key: "saturated"},
	}
}

// quiet watches what happens in it.
func (w *World) quiet(ctx context.Context, r *report.Results, q quietly) error {
	s, err := w.NewScene()
	if err != nil {
		return err
	}
	defer s.undoAll()
	began := cluster.Boottime()
	if q.key != "" {
		f, err := FindFault(q.key)
		if err != nil {
			return err
		}
		for range max(1, q.times) {
			if err := f.Begin(ctx, s); err != nil {
				return err
			}
		}
	}
	if err := pause(ctx, q.length); err != nil {
		return err
	}
	addQuiet(r, w.watched(q.condition, began))
	return nil
}

// watched is what has happened since began, when nothing should have.
func (w *World) watched(condition string, began time.Duration) report.Quiet {
	requests := w.Record.requestsSince(began)
	gap, _, failed := outage(requests, began)
	q := report.Quiet{
		System: w.system.Key(), Condition: condition, Seconds: (cluster.Boottime() - began).Seconds(),
		Moves: len(w.changesSince(began)), Requests: len(requests), Failed: failed,
	}
	if gap != nil {
		q.LongestGapMS = *gap
	}
	// Without a failure it is still of interest how late the client itself was.
	for i := 1; i < len(requests); i++ {
		q.LongestGapMS = max(q.LongestGapMS, ms(requests[i].Begun-requests[i-1].Begun))
	}
	return q
}

// addQuiet adds what a further pass has seen to what the ones before have.
func addQuiet(r *report.Results, q report.Quiet) {
	for i := range r.Quiet {
		if old := &r.Quiet[i]; old.System == q.System && old.Condition == q.Condition {
			old.Seconds += q.Seconds
			old.Moves += q.Moves
			old.Requests += q.Requests
			old.Failed += q.Failed
			old.LongestGapMS = max(old.LongestGapMS, q.LongestGapMS)
			return
		}
	}
	r.Quiet = append(r.Quiet, q)
}
