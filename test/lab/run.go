package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/buoy-lb/buoy/test/lab/checker"
	"github.com/buoy-lb/buoy/test/lab/report"
	"github.com/buoy-lb/buoy/test/lab/variant"
)

// Lab runs faults and tells what happens.
type Lab struct {
	// Binary is buoy, Self this program, AssignIP the program that keepalived runs to
	// move the address, Root the folder of the module, from which variants of buoy are
	// built.
	Binary, Self, AssignIP, Root string
	Seed                         uint64
	// Out is for people. Keep is a folder for the record of a run that fails.
	Out  io.Writer
	Keep string
}

// UsageError is a name or a number that does not exist.
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }

func usagef(format string, args ...any) error { return &UsageError{fmt.Sprintf(format, args...)} }

func (l *Lab) say(format string, args ...any) { fmt.Fprintf(l.Out, format+"\n", args...) }

// moveBound is how long a move is waited for, once.
const moveBound = 30 * time.Second

// Part is a number of faults in one world.
type Part struct {
	Name    string
	Options Options
	Faults  []string
}

// Parts are what `make lab` goes through: every fault once.
func Parts() []Part {
	lan := Options{Balancers: 3, Assign: 200 * time.Millisecond}
	wan, one, two, witness, five, seven := lan, lan, lan, lan, lan, lan
	wan.Timing = "wan"
	one.Balancers, two.Balancers, five.Balancers, seven.Balancers = 1, 2, 5, 7
	witness.Balancers, witness.Witness = 2, true
	hinted := lan
	hinted.Verify = 30 * time.Second // as it is configured by default
	unhinted := hinted
	unhinted.NoHints = true
	return []Part{
		{"three balancers", lan, []string{
			"haproxy-killed", "haproxy-hung", "haproxy-stopped", "haproxy-reloaded",
			"haproxy-reload-failed", "haproxy-full", "stats-busy",
			"daemon-killed", "daemon-killed-asking", "daemon-stopped", "daemon-hung", "daemon-restarted", "all-killed",
			"transfer", "drained", "preempted", "rolling-restart", "rolling-upgrade", "paused",
			"unplugged", "silent", "mute", "deaf", "leader-alone", "bridge", "cloud-lost",
			"saturated", "duplicates", "disk-full", "disk-full-failover", "each-lost",
		}},
		{"three balancers, the cloud broken", lan, []string{
			"api-401", "api-403", "api-404", "api-422", "api-429", "api-500", "api-html", "api-redirect", "api-empty", "api-cut",
			"api-slow", "api-hangs", "api-lost", "api-errored", "api-gone", "api-done", "droplet-busy",
			"drift", "late-write", "slow-move", "token-revoked", "blind-token", "writes-paused",
		}},
		{"three balancers that look every 30 s, and hints", hinted, []string{"drift-at-rest", "later-write", "duel"}},
		{"three balancers that look every 30 s, without hints", unhinted, []string{"drift-at-rest"}},
		{"three balancers, timing: wan", wan, []string{"loss-10", "loss-20", "loss-30", "delay-100", "delay-300", "daemon-killed"}},
		{"three balancers, clocks that are stepped", lan, []string{"clock-forward", "clock-back"}},
		// The lost voter still counts: three of four must live.
		{"a data directory lost", lan, []string{"wiped", "haproxy-killed"}},
		{"membership in motion", lan, []string{"join-in-partition", "haproxy-killed"}},
		// What these cannot survive, buoy status says.
		{"one balancer", one, []string{"haproxy-reloaded", "daemon-restarted", "all-killed", "drift"}},
		{"two balancers", two, []string{"haproxy-killed", "transfer", "daemon-restarted", "rolling-restart", "all-killed", "drift"}},
		{"two balancers and a witness", witness, []string{
			"each-lost", "haproxy-killed", "daemon-killed", "transfer", "drained", "preempted", "rolling-upgrade", "leader-alone", "drift",
		}},
		{"five balancers", five, []string{"haproxy-killed", "daemon-killed", "leader-alone", "bridge"}},
		{"seven balancers", seven, []string{"haproxy-killed", "silent", "rolling-restart"}},
	}
}

// ShortParts are what CI goes through: one fault of each kind.
func ShortParts() []Part {
	lan := Options{Balancers: 3, Assign: 200 * time.Millisecond}
	return []Part{{"three balancers", lan, []string{
		"haproxy-killed", "haproxy-hung", "haproxy-reloaded", "daemon-killed", "daemon-hung", "silent", "leader-alone",
		"bridge", "drift", "api-500", "late-write", "transfer", "rolling-restart",
	}}}
}

// Run goes through the parts. It returns an error if anything was not as it has to be.
func (l *Lab) Run(ctx context.Context, parts []Part) error {
	var errs error
	faults := 0
	began := time.Now()
	for i, p := range parts {
		n, err := l.part(ctx, i, p)
		faults += n
		errs = errors.Join(errs, err)
		if ctx.Err() != nil {
			return errors.Join(errs, ctx.Err())
		}
	}
	verdict := "all as it has to be"
	if errs != nil {
		verdict = "NOT as it has to be"
	}
	l.say("\n%d faults in %v: %s", faults, time.Since(began).Round(time.Second), verdict)
	return errs
}

// part runs one part in a world of its own and judges the record of it.
func (l *Lab) part(ctx context.Context, number int, p Part) (suffered int, err error) {
	o := p.Options
	o.Self, o.Binary, o.Seed = l.Self, l.Binary, l.Seed+uint64(number)
	var faults []Fault
	upgraded := false
	for _, key := range p.Faults {
		f, err := FindFault(key)
		if err != nil {
			return 0, err
		}
		faults = append(faults, f)
		o.Stepped = o.Stepped || f.Stepped
		upgraded = upgraded || f.Upgraded
	}
	l.say("\n%s", p.Name)
	if upgraded {
		if o.Next, err = l.build(ctx, variant.Next()); err != nil {
			return 0, err
		}
		defer func() { _ = os.Remove(o.Next) }()
	}
	if o.Stepped {
		if o.Binary, err = l.build(ctx, variant.SteppedClock()); err != nil {
			return 0, err
		}
		defer func() { _ = os.Remove(o.Binary) }()
	}
	w, err := NewWorld(ctx, o, Buoy{})
	if err != nil {
		return 0, err
	}
	defer w.Close()
	defer func() { err = errors.Join(err, l.judge(w, p.Name, err)) }()
	if err := w.Start(ctx); err != nil {
		return 0, err
	}
	w.Watch(ctx)
	for _, f := range faults {
		suffered++
		trial, err := w.Try(ctx, f, moveBound, restBound)
		l.say("  %-55s %s", f.Title, tell(f, trial, err))
		if err != nil {
			return suffered, err
		}
		if f.Moves && trial.Moved == nil {
			return suffered, fmt.Errorf("%s: the address did not move within %v", f.Key, moveBound)
		}
	}
	return suffered, nil
}

// build makes a variant of buoy; the caller removes it.
func (l *Lab) build(ctx context.Context, v variant.Variant) (path string, err error) {
	f, err := os.CreateTemp("", "buoy-"+v.Name+"-")
	if err != nil {
		return "", err
	}
	defer f.Close()
	return f.Name(), variant.Build(ctx, v, l.Root, f.Name())
}

// tell is a trial in a few words; times are ms after the fault.
func tell(f Fault, t report.Trial, err error) string {
	switch {
	case err != nil:
		return "FAILED"
	case !f.Moves && t.Moves == 0:
		return "stays; " + noticedBy(t)
	case t.Back != nil:
		return fmt.Sprintf("back %s; %s", length(t.Back), noticedBy(t))
	case t.Asked == nil:
		return fmt.Sprintf("%d moves; %s", t.Moves, noticedBy(t))
	}
	return fmt.Sprintf("detected %s, elected %s, asked %s, moved %s, served %s; %s",
		length(t.Detected), length(t.Elected), length(t.Asked), length(t.Moved), length(t.Served), noticedBy(t))
}

// noticedBy says what the client noticed.
func noticedBy(t report.Trial) string {
	switch {
	case t.Failed == 0:
		return "no request failed"
	case t.Outage == nil:
		return fmt.Sprintf("%d requests failed, not served again yet", t.Failed)
	}
	return fmt.Sprintf("%d requests failed, outage %s ms", t.Failed, length(t.Outage))
}

func length(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f", *v)
}

// judge asks the checker, and keeps the record if something was wrong.
func (l *Lab) judge(w *World, name string, failed error) error {
	h, complaints := w.History()
	violations := checker.Judge(h)
	var errs error
	for _, c := range complaints {
		errs = errors.Join(errs, errors.New(c))
	}
	for _, v := range violations {
		errs = errors.Join(errs, fmt.Errorf("%s: %v", name, v))
	}
	if errs == nil && failed == nil {
		l.say("  %d requests, %d writes, %d tickets, %d moves: no rule broken", len(h.Requests), len(h.Writes), len(h.Tickets), len(h.Holders))
		if t := checker.Planned(h); t.Moves > 0 {
			l.say("  %d of the moves were planned: of %d requests meanwhile %d were under way when the network turned, and failed; %d others failed",
				t.Moves, t.Requests, t.Cut, t.Failed)
		}
		return nil
	}
	for _, v := range violations {
		l.say("  VIOLATION %v", v)
	}
	return errors.Join(errs, l.keep(w, h))
}

// keep saves the record and the logs, if there is a folder for them.
func (l *Lab) keep(w *World, h checker.History) error {
	if l.Keep == "" {
		return nil
	}
	dir := filepath.Join(l.Keep, time.Now().UTC().Format("20060102-150405.000"))
	l.say("  the record is in %s; judge it again with: buoy-lab check %s", dir, dir)
	err := errors.Join(os.MkdirAll(dir, 0o755), checker.Save(dir, h))
	for _, b := range w.Balancers {
		for _, name := range []string{"daemon.log", "daemon.conf", "haproxy.log"} {
			text, e := os.ReadFile(filepath.Join(b.Dir, name))
			if e == nil {
				e = os.WriteFile(filepath.Join(dir, b.Name+"-"+name), text, 0o644)
			}
			err = errors.Join(err, e)
		}
	}
	return err
}
