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

	"github.com/buoy-lb/buoy/test/lab/report"
)

// Bench says what `make bench` measures.
type Bench struct {
	Trials int
	// Transfers is how many planned transfers are measured.
	Transfers int
	Docs      string // folder of benchmarks.md and benchmarks.svg
	Results   string // file of all figures
	Version   string // of buoy
	Faults    []string
	Systems   []string
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
		if f, err := FindFault(key); err != nil || !f.measured() && !slices.Contains(plannedKeys(), key) {
			return usagef("no fault %q that is measured", key)
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
		if f.measured() && chosen(b.Faults, f.Key) {
			faults = append(faults, f)
			r.Faults = append(r.Faults, report.Fault{Key: f.Key, Title: f.Title, Note: f.Note, Shared: f.Shared})
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
			one := contest{lab: l, bench: b, system: c.system, results: &r, chance: rand.New(rand.NewPCG(l.Seed, uint64(pass)))}
			if err := one.run(ctx, faults, trials); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	if err := l.planned(ctx, b, &r); err != nil {
		return fmt.Errorf("planned moves: %w", err)
	}
	report.Table(r, l.Out)
	return Publish(r, b.Docs)
}

// measured reports whether the benchmark has the systems, or buoy alone, suffer f.
func (f Fault) measured() bool { return (f.Shared || f.Own) && f.Moves }

func chosen(keys []string, key string) bool {
	return len(keys) == 0 || slices.Contains(keys, key)
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
