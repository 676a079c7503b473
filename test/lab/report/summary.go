package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Summary is what remains of a list of times. Without values all of it is 0.
type Summary struct {
	N             int
	P50, P99, Max float64
}

// Summarise takes percentiles by nearest rank: of n values in order, the one at place
// ceil(p × n), counted from 1. So each is a value that occurred, none lies between two:
// the p50 of two is the smaller, and the p99 of fewer than 100 is the greatest (of
// exactly 100 it is the greatest but one). A value may be +Inf, for what never came.
func Summarise(values []float64) Summary {
	n := len(values)
	if n == 0 {
		return Summary{}
	}
	v := slices.Clone(values)
	slices.Sort(v)
	rank := func(percent int) float64 { return v[(n*percent+99)/100-1] }
	return Summary{N: n, P50: rank(50), P99: rank(99), Max: v[n-1]}
}

// spread is what the trials of a cell say about one of their times. Those that never
// came count as +Inf in the Summary: to leave them out would flatter who fails.
type spread struct {
	Summary
	never int
	bound float64 // the shortest wait among those that never came
}

func asked(t Trial) *float64  { return t.Asked }
func outage(t Trial) *float64 { return t.Outage }

func measure(trials []Trial, time func(Trial) *float64) spread {
	s := spread{bound: math.Inf(1)}
	var values []float64
	for _, t := range trials {
		if v := time(t); v != nil {
			values = append(values, *v)
			continue
		}
		values = append(values, math.Inf(1))
		s.never++
		s.bound = min(s.bound, t.BoundMS)
	}
	s.Summary = Summarise(values)
	return s
}

// known is the other view, for stages: the times that there are.
func known(trials []Trial, time func(Trial) *float64) Summary {
	var values []float64
	for _, t := range trials {
		if v := time(t); v != nil {
			values = append(values, *v)
		}
	}
	return Summarise(values)
}

// bounded says "never (> 8 s)": what is known of a time that never came is the wait.
func (s spread) bounded() string {
	if s.bound <= 0 || math.IsInf(s.bound, 1) {
		return "never"
	}
	return "never (> " + seconds(s.bound) + ")"
}

// failures says "3 of 10 never".
func (s spread) failures() string { return fmt.Sprintf("%d of %d never", s.never, s.N) }

// ms writes a time in milliseconds with about three digits and its unit.
func ms(v float64) string {
	switch a := math.Abs(v); {
	case math.IsInf(v, 0):
		return "never"
	case a < 0.05:
		return "0 ms"
	case a < 9.95:
		return fmt.Sprintf("%.1f ms", v)
	case a < 999.5:
		return fmt.Sprintf("%.0f ms", v)
	case a < 9995:
		return fmt.Sprintf("%.2f s", v/1000)
	case a < 99950:
		return fmt.Sprintf("%.1f s", v/1000)
	default:
		return fmt.Sprintf("%.0f s", v/1000)
	}
}

// seconds writes a round time without the zeros: 8 s, 0.3 s, 1.5 s.
func seconds(v float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.3f", v/1000), "0"), ".") + " s"
}

// triple writes p50 / p99 / max, and the unit once if all three have the same.
func triple(s Summary) string {
	parts := []string{ms(s.P50), ms(s.P99), ms(s.Max)}
	if _, unit, _ := strings.Cut(parts[2], " "); unit != "" {
		for _, p := range parts {
			if !strings.HasSuffix(p, " "+unit) {
				return strings.Join(parts, " / ")
			}
		}
		parts[0], parts[1] = strings.TrimSuffix(parts[0], " "+unit), strings.TrimSuffix(parts[1], " "+unit)
	}
	return strings.Join(parts, " / ")
}

// ratio writes a / b, or a dash where one of them is no figure to divide.
func ratio(a, b Summary) string {
	if a.N == 0 || b.N == 0 || math.IsInf(a.P50, 0) || math.IsInf(b.P50, 0) || a.P50 < 0 || b.P50 <= 0 {
		return none
	}
	switch v := a.P50 / b.P50; {
	case v < 0.995:
		return fmt.Sprintf("%.2f", v)
	case v < 9.95:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.0f", v)
	}
}
