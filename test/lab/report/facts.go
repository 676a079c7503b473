package report

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// The blocks that say what was run, on what, and what came with it.

func method(r Results) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Measured on %s with buoy %s: %s under %s, %s each, on one machine, "+
		"against a fake cloud that takes %s to move an address. ",
		r.Date.UTC().Format("2006-01-02"), escape(r.Version), count(len(r.Systems), "system"), count(len(r.Faults), "fault"),
		r.perCell(), ms(r.AssignMS))
	b.WriteString("A trial breaks one thing and watches what follows, up to a bound. " +
		"p50 and p99 are nearest ranks: figures that were measured, not values between them. " +
		"With fewer than 100 trials the p99 is the longest. " +
		"A trial in which something never happened counts as longer than all others; " +
		"\"never (> 8 s)\" says how long it was waited for.\n")
	return b.Bytes()
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func systems(r Results) []byte {
	g := grid{head: []string{"System", "Set-up"}, align: "ll"}
	for _, s := range r.Systems {
		g.add(escape(r.name(s.Key)), escape(s.Note))
	}
	return g.bytes()
}

func machine(r Results) []byte {
	m := r.Machine
	g := grid{head: []string{"Machine", ""}, align: "ll"}
	add := func(what, value string) {
		if value != "" {
			g.add(what, escape(value))
		}
	}
	add("CPU", m.CPU)
	if m.Cores > 0 {
		add("Cores", strconv.Itoa(m.Cores))
	}
	if m.MemoryMB > 0 {
		add("Memory", fmt.Sprintf("%d MB", m.MemoryMB))
	}
	add("Disk", m.DiskNote)
	add("Kernel", m.Kernel)
	add("HAProxy", m.HAProxy)
	add("keepalived", m.Keepalived)
	add("Go", m.Go)
	add("Load before the run", fmt.Sprintf("%.2f", m.Load1))
	return g.bytes()
}

func noise(r Results) []byte {
	g := grid{head: []string{"System", "Watched", "Moves", "Requests", "Failed", "Longest gap between successes"}, align: "lrrrrr"}
	longest, still := 0.0, false
	for _, q := range r.Quiet {
		if q.Condition != Control {
			continue
		}
		if q.Moves == 0 { // a gap after a move is the system's, not the lab's
			longest, still = max(longest, q.LongestGapMS), true
		}
		g.add(escape(r.name(q.System)), seconds(math.Round(q.Seconds)*1000),
			strconv.Itoa(q.Moves), strconv.Itoa(q.Requests), strconv.Itoa(q.Failed), ms(q.LongestGapMS))
	}
	b := bytes.NewBuffer(g.bytes())
	if still {
		fmt.Fprintf(b, "\nThe longest gap without a move is %s: so much is noise in this run.\n", ms(longest))
	}
	return b.Bytes()
}

func moves(r Results) []byte {
	g := quietGrid(r, escape, "Condition", "System", "Watched", "Moves", "Moves a minute", "Requests", "Failed", "Longest gap")
	return g.bytes()
}

func odd(r Results) []byte {
	var b bytes.Buffer
	for _, f := range r.Faults {
		for _, s := range r.Systems {
			trials := r.trials(f.Key, s.Key)
			for _, o := range oddities(trials) {
				fmt.Fprintf(&b, "- %s, %s: %s (%d of %s)\n", escape(f.Title), escape(r.name(s.Key)), escape(o.what), o.n, count(len(trials), "trial"))
			}
		}
	}
	if b.Len() == 0 {
		b.WriteString("Nothing was.\n")
	}
	return b.Bytes()
}

func faults(r Results) []byte {
	var b bytes.Buffer
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "- %s", escape(f.Title))
		if f.Note != "" {
			fmt.Fprintf(&b, ": %s", escape(f.Note))
		}
		b.WriteString("\n")
	}
	if b.Len() == 0 {
		b.WriteString("None.\n")
	}
	return b.Bytes()
}

func repeat(r Results) []byte {
	var b bytes.Buffer
	if r.Command != "" {
		fmt.Fprintf(&b, "```sh\n%s\n```\n\n", strings.TrimSpace(r.Command))
	}
	fmt.Fprintf(&b, "This run began at %s with the seed %d.\n", r.Date.UTC().Format("2006-01-02 15:04 MST"), r.Seed)
	return b.Bytes()
}
