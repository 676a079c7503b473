package probe

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what was measured. Times are in milliseconds since the POST began.
type Report struct {
	Version  string     `json:"version"`
	Begun    time.Time  `json:"begun"`
	IP       netip.Addr `json:"ip"`
	Between  [2]int     `json:"between"`
	Home     int        `json:"home"` // the droplet where the address was, and is again if Restored
	Here     int        `json:"here"` // the one of the two that the probe ran on, 0 if on neither
	URL      string     `json:"url"`
	ToldBy   string     `json:"told_by"` // how the two answers differ; "" = they do not
	Rounds   int        `json:"rounds"`
	Poll     string     `json:"poll"` // between two reads of the API
	Moves    []Move     `json:"moves"`
	Summary  []Figure   `json:"summary"`
	Restored bool       `json:"restored"`

	// SameHolder is the answer to an assign to the droplet that has the address, Second to one
	// while the first move was under way; null: not asked.
	SameHolder *Answer `json:"same_holder"`
	Second     *Answer `json:"second_while_moving"`
	Limits     Limits  `json:"rate_limit"`
}

// Limits are the request limits as the answers' headers last told; -1 = not told.
type Limits struct {
	Requests   int    `json:"requests"` // that the probe made
	Limit      int    `json:"limit"`
	Remaining  int    `json:"remaining"`
	ResetIn    string `json:"reset_in,omitempty"`
	Refused    int    `json:"refused"` // with 429
	RetryAfter string `json:"retry_after,omitempty"`
}

// Move is one move; null is what was not seen.
type Move struct {
	To        int    `json:"to"`
	Accept    Answer `json:"accept"`
	State     string `json:"state"` // the action's last status
	Accepted  *MS    `json:"accepted_ms"`
	Completed *MS    `json:"completed_ms"`
	Holder    *MS    `json:"holder_ms"`   // a GET of the address shows the new holder, unlocked
	Metadata  *MS    `json:"metadata_ms"` // the metadata of the droplet where the probe runs shows it
	LastOld   *MS    `json:"last_old_ms"` // the end of the last answer of the old holder
	FirstNew  *MS    `json:"first_new_ms"`
	Unserved  *MS    `json:"unserved_ms"`
	Views     []View `json:"views"`
	Failed    int    `json:"failed_requests"` // of those that the probe made through the address
	Asked     int    `json:"requests"`
}

// MS is a time in milliseconds.
type MS float64

// View is what GETs of the address showed for a while.
type View struct {
	Droplet string `json:"droplet"` // old, new, null or an ID
	Locked  bool   `json:"locked"`
	First   MS     `json:"first_ms"`
	Last    MS     `json:"last_ms"`
}

// Figure is the distribution of one time over all moves.
type Figure struct {
	Name string `json:"name"`
	N    int    `json:"n"`
	Min  MS     `json:"min_ms"`
	P50  MS     `json:"p50_ms"`
	Max  MS     `json:"max_ms"`
}

// judge turns what was seen into a Move.
func (p *Probe) judge(o *observed) Move {
	since := func(t time.Time) *MS {
		if t.IsZero() {
			return nil
		}
		ms := MS(t.Sub(o.post.asked).Round(100*time.Microsecond).Microseconds()) / 1000
		return &ms
	}
	m := Move{
		To: o.to, Accept: o.post.Answer, State: cmp.Or(o.action, o.post.state), Accepted: since(o.post.at),
		Completed: since(o.completed), Holder: since(o.arrived), Metadata: since(o.flipped), Asked: len(o.looks),
	}
	if o.unknown {
		m.State = "unknown"
	}
	old := p.other(o.to)
	for _, v := range o.views {
		name := map[int]string{0: "null", old: "old", o.to: "new"}[v.droplet]
		m.Views = append(m.Views, View{cmp.Or(name, strconv.Itoa(v.droplet)), v.locked, *since(v.first), *since(v.last)})
	}
	for _, l := range o.looks {
		if !l.served() {
			m.Failed++
		}
	}
	if s := p.sign(); s != nil {
		lastOld, firstNew := s.change(o.looks, old, o.to, o.post.asked)
		m.LastOld, m.FirstNew = since(lastOld), since(firstNew)
		if m.LastOld != nil && m.FirstNew != nil {
			gap := max(*m.FirstNew-*m.LastOld, 0)
			m.Unserved = &gap
		}
	}
	return m
}

// change gives the end of the old holder's last answer and of the new one's first. A droplet that
// does not answer with HTTP cannot be told from the gap between the two, so it has neither.
func (s *sign) change(looks []look, from, to int, since time.Time) (lastOld, firstNew time.Time) {
	for _, l := range looks {
		if !l.served() {
			continue
		}
		switch s.of(l) {
		case from:
			if l.ended.After(lastOld) && l.ended.After(since) {
				lastOld = l.ended
			}
		case to:
			if l.begun.After(since) && (firstNew.IsZero() || l.ended.Before(firstNew)) {
				firstNew = l.ended
			}
		}
	}
	return lastOld, firstNew
}

// times are the rows of the report's table.
var times = []struct {
	name, what string
	of         func(Move) *MS
}{
	{"accepted", "POST answered", func(m Move) *MS { return m.Accepted }},
	{"completed", "action no longer in progress", func(m Move) *MS { return m.Completed }},
	{"holder", "GET shows the new holder, unlocked", func(m Move) *MS { return m.Holder }},
	{"metadata", "metadata here shows it", func(m Move) *MS { return m.Metadata }},
	{"first new", "first answer of the new holder", func(m Move) *MS { return m.FirstNew }},
	{"unserved", "last old answer to first new one", func(m Move) *MS { return m.Unserved }},
}

// finish computes what follows from the moves.
func (r *Report) finish() {
	for _, t := range times {
		var all []MS
		for _, m := range r.Moves {
			if v := t.of(m); v != nil {
				all = append(all, *v)
			}
		}
		f := Figure{Name: t.name, N: len(all)}
		if slices.Sort(all); len(all) > 0 {
			f.Min, f.P50, f.Max = all[0], all[(len(all)-1)/2], all[len(all)-1]
		}
		r.Summary = append(r.Summary, f)
	}
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) error {
	fmt.Fprintf(w, "%s between droplets %d and %d, %s, buoy %s\n", r.IP, r.Between[0], r.Between[1], r.Begun.Format(time.RFC3339), r.Version)
	fmt.Fprintf(w, "%d moves; the API was read every %s, address and action in turn, so their times are up to twice that late\n\n", len(r.Moves), r.Poll)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SINCE THE POST\tMIN\tP50\tMAX\tMOVES\t")
	for i, f := range r.Summary {
		fmt.Fprintf(table, "%s\t%s\t%d of %d\t\n", times[i].what, f.spread(), f.N, len(r.Moves))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	fmt.Fprintln(w)
	for _, line := range r.findings() {
		fmt.Fprintln(w, line)
	}
	return nil
}

func (f Figure) spread() string {
	if f.N == 0 {
		return "not measured\t\t"
	}
	return fmt.Sprintf("%s\t%s\t%s", f.Min, f.P50, f.Max)
}

// String is the time in milliseconds up to a second, in seconds from there.
func (t MS) String() string {
	if t < 1000 {
		return fmt.Sprintf("%.0f ms", float64(t))
	}
	return fmt.Sprintf("%.2f s", float64(t)/1000)
}

// findings are the rest of the report, a line each.
func (r *Report) findings() []string {
	answer := func(a *Answer) string {
		if a == nil {
			return "not measured"
		}
		return a.String()
	}
	lines := []string{
		"while it moves, GET shows      " + r.viewsText(),
		"the action ends as             " + r.statesText(),
		"an assign to the holder        " + answer(r.SameHolder),
		"a second assign while it moves " + answer(r.Second) + r.secondNote(),
		"through the address            " + r.webText(),
		"metadata                       " + r.metadataText(),
		fmt.Sprintf("requests to the API            %d; limit %d, remaining %d, oldest forgotten in %s; refused with 429: %d",
			r.Limits.Requests, r.Limits.Limit, r.Limits.Remaining, cmp.Or(r.Limits.ResetIn, "?"), r.Limits.Refused),
	}
	back := "the address is back at droplet %d"
	if !r.Restored {
		back = "THE ADDRESS IS NOT BACK at droplet %d"
	}
	return append(lines, fmt.Sprintf(back, r.Home))
}

// viewsText counts what was seen between the POST and the end of a move.
func (r *Report) viewsText() string {
	count := map[string]int{}
	for _, m := range r.Moves {
		seen := map[string]bool{}
		for _, v := range m.Views {
			if v.Droplet == "new" && !v.Locked {
				continue // the end
			}
			name := v.Droplet
			if v.Locked {
				name += ", locked"
			}
			if !seen[name] {
				count[name]++
			}
			seen[name] = true
		}
	}
	if len(count) == 0 {
		return "nothing else: it was over before the first look"
	}
	return counted(count, len(r.Moves))
}

func (r *Report) statesText() string {
	count := map[string]int{}
	for _, m := range r.Moves {
		count[cmp.Or(m.State, "not seen")]++
	}
	if len(count) == 0 {
		return "not measured"
	}
	return counted(count, len(r.Moves))
}

func counted(count map[string]int, of int) string {
	var parts []string
	for name, n := range count {
		parts = append(parts, fmt.Sprintf("%s (%d of %d moves)", name, n, of))
	}
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}

func (r *Report) secondNote() string {
	switch {
	case r.Second == nil:
		return ": the first move was over within 2 s"
	case r.Second.good():
		return ": accepted"
	}
	return ": refused"
}

func (r *Report) webText() string {
	asked, failed := 0, 0
	for _, m := range r.Moves {
		asked, failed = asked+m.Asked, failed+m.Failed
	}
	if r.ToldBy == "" {
		return fmt.Sprintf("not measured: the answers of %s do not tell the two droplets apart", r.URL)
	}
	return fmt.Sprintf("%d of %d requests to %s failed; the droplets are told apart by: %s", failed, asked, r.URL, r.ToldBy)
}

func (r *Report) metadataText() string {
	if r.Here == 0 {
		return "not measured: the probe did not run on one of the two droplets"
	}
	return fmt.Sprintf("seen on droplet %d", r.Here)
}
