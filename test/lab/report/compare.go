package report

import (
	"bytes"
	"fmt"
	"math"
	"strings"
)

// The blocks with the figures.

// askedTable is the main one: all systems beside each other, and how often buoy's p50
// goes into that of the others.
func askedTable(r Results) []byte {
	g := spreads(r, asked)
	rivals := []string{}
	for _, s := range r.Systems {
		if s.Key != Buoy {
			rivals = append(rivals, s.Key)
		}
	}
	if len(rivals) == len(r.Systems) { // nothing to compare with
		rivals = nil
	}
	for _, key := range rivals {
		g.head = append(g.head, escape(r.name(key)+"/"+r.name(Buoy)))
		g.align += "r"
	}
	for i, f := range r.Faults {
		ours := measure(r.trials(f.Key, Buoy), asked)
		for _, key := range rivals {
			g.rows[i] = append(g.rows[i], ratio(measure(r.trials(f.Key, key), asked).Summary, ours.Summary))
		}
	}
	b := bytes.NewBufferString("p50 / p99 / max")
	if len(rivals) > 0 {
		b.WriteString("; the last columns are ratios of the p50, above 1 where " + escape(r.name(Buoy)) + " is quicker")
	}
	b.WriteString(".\n\n")
	g.markdown(b)
	return b.Bytes()
}

func outageTable(r Results) []byte {
	g := spreads(r, outage)
	b := bytes.NewBufferString("p50 / p99 / max.\n\n")
	g.markdown(b)
	return b.Bytes()
}

// spreads has a row for each fault and a column for each system.
func spreads(r Results, time func(Trial) *float64) grid {
	g := grid{head: []string{"Fault"}, align: "l"}
	for _, s := range r.Systems {
		g.head = append(g.head, escape(r.name(s.Key)))
		g.align += "r"
	}
	for _, f := range r.Faults {
		row := []string{escape(f.Title)}
		for _, s := range r.Systems {
			row = append(row, spreadText(measure(r.trials(f.Key, s.Key), time), f, r.Trials))
		}
		g.add(row...)
	}
	return g
}

func spreadText(s spread, f Fault, meant int) string {
	switch {
	case s.N == 0 && f.Shared:
		return "not measured"
	case s.N == 0:
		return none
	}
	text := triple(s.Summary)
	switch {
	case s.never == s.N:
		text = s.bounded()
	case math.IsInf(s.P50, 1):
		text = s.failures() + strings.TrimPrefix(s.bounded(), "never")
	case s.never > 0:
		text += "<br>" + s.failures() + strings.TrimPrefix(s.bounded(), "never")
	}
	if s.N != meant {
		text += "<br>" + count(s.N, "trial")
	}
	return text
}

// slower lists where another system did better than buoy, at the precision of the tables.
func slower(r Results) []byte {
	b := bytes.NewBufferString("Where buoy is slower:")
	compared, found := 0, 0
	for _, m := range []struct {
		what string
		time func(Trial) *float64
	}{{"until the cloud is asked", asked}, {"outage", outage}} {
		for _, f := range r.Faults {
			ours := measure(r.trials(f.Key, Buoy), m.time)
			for _, s := range r.Systems {
				theirs := measure(r.trials(f.Key, s.Key), m.time)
				if s.Key == Buoy || ours.N == 0 || theirs.N == 0 {
					continue
				}
				compared++
				if d := behind(ours.Summary, theirs.Summary, r.name(Buoy), r.name(s.Key)); d != "" {
					if found == 0 {
						b.WriteString("\n\n")
					}
					found++
					fmt.Fprintf(b, "- %s, %s: %s.\n", escape(f.Title), m.what, d)
				}
			}
		}
	}
	switch {
	case compared == 0:
		b.WriteString(" not known; this run compares nothing.\n")
	case found == 0:
		b.WriteString(" nowhere in this run; no other system has a lower p50 or p99 in the two tables.\n")
	}
	return b.Bytes()
}

// behind says where ours is longer than theirs, and by how much; "" if nowhere.
func behind(ours, theirs Summary, us, them string) string {
	var out []string
	add := func(a, b float64, what string) {
		if a > b && ms(a) != ms(b) {
			out = append(out, fmt.Sprintf("%s %s, %s %s (%s)", escape(us), ms(a), escape(them), ms(b), what))
		}
	}
	add(ours.P50, theirs.P50, "p50")
	add(ours.P99, theirs.P99, "p99")
	return strings.Join(out, "; ")
}

// stages shows which part of a failover takes how long.
func stages(r Results) []byte {
	times := []func(Trial) *float64{
		func(t Trial) *float64 { return t.Detected },
		func(t Trial) *float64 { return t.Elected },
		asked,
		func(t Trial) *float64 { return t.Moved },
		func(t Trial) *float64 { return t.Served },
	}
	g := grid{head: []string{"Fault", "Detected", "Elected", "Asked", "Moved", "Served"}, align: "lrrrrr"}
	for _, f := range r.Faults {
		trials := r.trials(f.Key, Buoy)
		if len(trials) == 0 {
			continue
		}
		row := []string{escape(f.Title)}
		for _, time := range times {
			s := known(trials, time)
			text := none
			if s.N > 0 {
				text = ms(s.P50)
			}
			if s.N > 0 && s.N < len(trials) {
				text += fmt.Sprintf(" (%d of %d)", s.N, len(trials))
			}
			row = append(row, text)
		}
		g.add(row...)
	}
	b := bytes.NewBufferString("Medians, each counted from the fault, of the trials that reached the stage; " +
		"their number is given where some did not, or did not tell.\n\n")
	g.markdown(b)
	return b.Bytes()
}
