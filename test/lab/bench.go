package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/test/lab/report"
)

// Bench says what `make bench` measures.
type Bench struct {
	Trials  int
	Docs    string // folder of benchmarks.md and benchmarks.svg
	Results string // file of all figures
	Version string // of buoy
	Faults  []string
	Systems []string
	// Quiet and Load are how long nothing is done, and how long all cores are busy.
	Quiet, Load time.Duration
}

// passes is in how many goes the trials are done, all systems in turn in each: the
// machine's mood is then the same for all.
const passes = 2

// Limits of one trial in a benchmark. What takes longer is called never.
const (
	benchBound = 6 * time.Second
	benchRest  = 8 * time.Second
	benchStart = 20 * time.Second
	// benchPhase is the longest period of any system's timers: pidof every 2 s.
	benchPhase = 2 * time.Second
)

// contestant is a system and what the tables call it.
type contestant struct {
	system     System
	name, note string
}

// contestants are in the order of the tables.
var contestants = []contestant{
	{Buoy{}, "buoy", "timing: lan, all else as the README has it"},
	{Usual, Usual.ID, "keepalived as people run it: VRRPv2, advert 1 s, pidof every 2 s; asks the cloud once"},
	{Tuned, Tuned.ID, "keepalived well tuned: VRRPv3, advert 100 ms, track_process; asks the cloud once"},
	{Floor, Floor.ID, "keepalived at its floor, no advice: VRRPv3, advert 10 ms, priorities 254 to 252"},
}

// Bench measures all systems under all faults that they share, and writes the report.
func (l *Lab) Bench(ctx context.Context, b Bench) error {
	for _, key := range b.Systems {
		if !slices.ContainsFunc(contestants, func(c contestant) bool { return c.system.Key() == key }) {
			return usagef("no system %q; allowed: buoy, usual, tuned, floor", key)
		}
	}
	for _, key := range b.Faults {
		if f, err := FindFault(key); err != nil || !f.Shared || !f.Moves {
			return usagef("no fault %q that is compared", key)
		}
	}
	r := report.Results{
		Date: time.Now().UTC().Truncate(time.Second), Version: b.Version, Seed: l.Seed, Command: "make bench",
		Machine: machine(), Trials: b.Trials,
	}
	for _, c := range contestants {
		r.Systems = append(r.Systems, report.System{Key: c.system.Key(), Name: c.name, Note: c.note})
	}
	var faults []Fault
	for _, f := range Faults() {
		if f.Shared && f.Moves && chosen(b.Faults, f.Key) {
			faults = append(faults, f)
			r.Faults = append(r.Faults, report.Fault{Key: f.Key, Title: f.Title, Note: f.Note, Shared: true})
		}
	}
	began := time.Now()
	for pass := range passes {
		for _, c := range contestants {
			if !chosen(b.Systems, c.system.Key()) {
				continue
			}
			trials := (b.Trials + passes - 1 - pass) / passes
			l.say("\n%6s pass %d: %s, %d trials of each fault", since(began), pass+1, c.name, trials)
			if err := l.contest(ctx, &r, c.system, faults, trials, b); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if err := r.Save(b.Results); err != nil {
				return err
			}
		}
	}
	report.Table(r, l.Out)
	return Publish(r, b.Docs)
}

func chosen(keys []string, key string) bool {
	return len(keys) == 0 || slices.Contains(keys, key)
}

// contest has one system suffer everything. A system that does not come to rest by itself
// gets a new world, as if an operator had set all up again, and the trial says so.
func (l *Lab) contest(ctx context.Context, r *report.Results, s System, faults []Fault, trials int, b Bench) error {
	var w *World
	defer func() { w.Close() }()
	renew := func() (err error) {
		for range 3 { // one that flaps may not even come to rest at its start
			w.Close()
			if w, err = l.newWorld(ctx, s); err != nil {
				return err
			}
			starting, cancel := context.WithTimeout(ctx, benchStart)
			err = w.Start(starting)
			cancel()
			if err == nil || ctx.Err() != nil {
				break
			}
			l.say("    start: %v", err)
		}
		return err
	}
	if err := renew(); err != nil {
		return err
	}
	rnd := rand.New(rand.NewPCG(l.Seed, 1))
	for _, f := range faults {
		for range trials {
			// The world has come to rest in step with the system's own timers: out of step, for
			// a fault comes when it comes.
			err := pause(ctx, time.Duration(rnd.Int64N(int64(benchPhase))))
			if err != nil {
				return err
			}
			t, err := w.Try(ctx, f, rnd, benchBound, benchRest)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				t.Wrong = "not at rest afterwards: set up again"
				if errors.Is(err, errStranded) {
					t.Wrong = "the address was left stranded: set up again"
				}
				l.say("    %v", err)
				if err := renew(); err != nil {
					return err
				}
			}
			l.say("  %-55s %s", f.Title, tell(f, t, nil))
			addTrial(r, f.Key, s.Key(), t)
		}
		if err := r.Save(b.Results); err != nil { // what is interrupted is not lost
			return err
		}
	}
	for _, q := range quiets(b) {
		if err := w.quiet(ctx, r, q); err != nil {
			return err
		}
		if rest(ctx, w) != nil {
			if err := renew(); err != nil {
				return err
			}
		}
	}
	return nil
}

func rest(ctx context.Context, w *World) error {
	ctx, cancel := context.WithTimeout(ctx, benchRest)
	defer cancel()
	return w.AwaitRest(ctx)
}

// newWorld is three balancers and a cloud that takes no time at all, which would only
// make all systems more alike.
func (l *Lab) newWorld(ctx context.Context, s System) (*World, error) {
	return NewWorld(ctx, Options{Binary: l.Binary, Self: l.Self, AssignIP: l.AssignIP, Balancers: 3, Seed: l.Seed}, s)
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
}

func quiets(b Bench) []quietly {
	return []quietly{
		{report.Control, b.Quiet, ""},
		{"HAProxy reloaded 10 times under traffic", 0, "haproxy-reloaded"},
		{fmt.Sprintf("%d busy loops on %d cores", 4*runtime.NumCPU(), runtime.NumCPU()), b.Load, "saturated"},
	}
}

// quiet watches what happens in it.
func (w *World) quiet(ctx context.Context, r *report.Results, q quietly) error {
	s, err := w.NewScene(nil)
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
		if err := f.Begin(ctx, s); err != nil {
			return err
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

// Publish writes the document, in which what people have written stays, and its picture.
func Publish(r report.Results, docs string) error {
	file := filepath.Join(docs, "benchmarks.md")
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		text, err = report.Markdown(r)
	case err == nil:
		text, err = report.Refresh(text, r)
	}
	if err != nil {
		return err
	}
	picture, err := report.SVG(r)
	return errors.Join(err,
		os.MkdirAll(docs, 0o755),
		os.WriteFile(file, text, 0o644),
		os.WriteFile(filepath.Join(docs, "benchmarks.svg"), picture, 0o644))
}

// machine finds out what this one is; what it cannot find out stays empty.
func machine() report.Machine {
	m := report.Machine{
		CPU: fact("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), Go: runtime.Version(),
		HAProxy: firstLine("haproxy", "-v"), Keepalived: firstLine("keepalived", "--version"), Kernel: firstLine("uname", "-sr"),
		DiskNote: "each balancer's data on an ext4 of its own, in a file on the machine's disk",
	}
	_, _ = fmt.Sscan(fact("/proc/meminfo", "MemTotal"), &m.MemoryMB)
	m.MemoryMB /= 1024
	load, _ := os.ReadFile("/proc/loadavg")
	_, _ = fmt.Sscan(string(load), &m.Load1)
	return m
}

// fact is the value of a key in a file of "key: value" lines.
func fact(file, key string) string {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func firstLine(name string, args ...string) string {
	out, _ := exec.Command(name, args...).CombinedOutput()
	line, _, _ := bytes.Cut(out, []byte("\n"))
	return strings.TrimSpace(string(line))
}
