package report

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// Table writes what there is so far, for a terminal. Cells without trials are left out.
func Table(r Results, w io.Writer) {
	g := grid{
		head:  []string{"FAULT", "SYSTEM", "N", "ASKED p50", "max", "OUTAGE p50", "max", "FAILED", "REMARKS"},
		align: "llrrrrrrl",
	}
	for _, f := range r.Faults {
		title := oneLine(f.Title)
		for _, s := range r.Systems {
			trials := r.trials(f.Key, s.Key)
			if len(trials) == 0 {
				continue
			}
			a, o := measure(trials, asked), measure(trials, outage)
			failed := 0
			for _, t := range trials {
				failed += t.Failed
			}
			g.add(title, oneLine(r.name(s.Key)), fmt.Sprint(a.N), ms(a.P50), ms(a.Max),
				ms(o.P50), ms(o.Max), fmt.Sprint(failed), remarks(trials, a, o))
			title = "" // once a fault
		}
	}
	if len(g.rows) > 0 {
		g.text(w)
	}
	if len(r.Planned) > 0 {
		if len(g.rows) > 0 {
			fmt.Fprintln(w)
		}
		p := plannedGrid(r, oneLine, "PLANNED MOVE", "N", "MOVES", "REFUSED", "REQUESTS", "FAILED", "CUT", "DECIDED p50/p99/max", "COMMAND p50/p99/max")
		p.text(w)
	}
	if len(r.Quiet) == 0 {
		return
	}
	if len(g.rows)+len(r.Planned) > 0 {
		fmt.Fprintln(w)
	}
	q := quietGrid(r, oneLine, "WITHOUT A FAULT", "SYSTEM", "WATCHED", "MOVES", "PER MINUTE", "REQUESTS", "FAILED", "LONGEST GAP")
	q.text(w)
}

// remarks says in a few words what the figures of a cell do not show.
func remarks(trials []Trial, asked, outage spread) string {
	var out []string
	if asked.never > 0 {
		out = append(out, fmt.Sprintf("%d never asked", asked.never))
	}
	if outage.never > 0 {
		out = append(out, fmt.Sprintf("%d not served in %s", outage.never, seconds(outage.bound)))
	}
	for _, o := range oddities(trials) {
		out = append(out, fmt.Sprintf("%d× %s", o.n, oneLine(o.what)))
	}
	return strings.Join(out, "; ")
}

// oddity is something odd and in how many trials it was seen.
type oddity struct {
	what string
	n    int
}

// oddities counts what is odd, in order of appearance.
func oddities(trials []Trial) []oddity {
	var out []oddity
next:
	for _, t := range trials {
		if t.Wrong == "" {
			continue
		}
		for i := range out {
			if out[i].what == t.Wrong {
				out[i].n++
				continue next
			}
		}
		out = append(out, oddity{t.Wrong, 1})
	}
	return out
}

// quietGrid lists the stretches in which nobody had a reason to move the address.
func quietGrid(r Results, text func(string) string, head ...string) grid {
	g := grid{head: head, align: "llrrrrrr"}
	for _, q := range r.Quiet {
		perMinute := none
		if q.Seconds > 0 {
			perMinute = rate(float64(q.Moves) / q.Seconds * 60)
		}
		g.add(text(q.Condition), text(r.name(q.System)), seconds(math.Round(q.Seconds)*1000),
			fmt.Sprint(q.Moves), perMinute, fmt.Sprint(q.Requests), fmt.Sprint(q.Failed), ms(q.LongestGapMS))
	}
	return g
}

// rate writes a number of moves a minute; what is not 0 never looks like it.
func rate(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 0.995:
		return fmt.Sprintf("%.2g", v)
	case v < 9.95:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.0f", v)
	}
}

// oneLine makes a text fit a line of a terminal.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
