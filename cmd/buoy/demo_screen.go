package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
)

// demoScreen prints the timeline, one line after another. On a terminal a table stays
// below it, drawn anew in place. Safe for concurrent use.
type demoScreen struct {
	out   io.Writer
	live  bool // out is a terminal
	width int
	begun time.Time

	mu   sync.Mutex
	rows []string // of the table as it stands on the screen
}

func newDemoScreen(out io.Writer) *demoScreen {
	s := &demoScreen{out: out, begun: time.Now()}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		width, _, err := term.GetSize(int(file.Fd()))
		s.live, s.width = err == nil && width > 0, width
	}
	return s
}

// say adds a line to the timeline.
func (s *demoScreen) say(format string, args ...any) {
	line := fmt.Sprintf("%6.2fs  %s\n", time.Since(s.begun).Seconds(), fmt.Sprintf(format, args...))
	s.redraw(line, func() {})
}

// print adds text without a time.
func (s *demoScreen) print(text string) { s.redraw(text, func() {}) }

// table replaces the table; nil removes it.
func (s *demoScreen) table(rows []string) {
	s.redraw("", func() { s.rows = rows })
}

// redraw takes the table off the screen, prints text in its place, applies change, and
// draws the table below, all in one write so that nothing flickers.
func (s *demoScreen) redraw(text string, change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	if n := len(s.rows); n > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", n) // up to its first line, then clear to the end
	}
	b.WriteString(text)
	change()
	for _, row := range s.rows {
		// A row that wrapped would take two lines, and the next redraw go up too few.
		runes := []rune(row)
		b.WriteString(string(runes[:min(len(runes), s.width-1)]) + "\n")
	}
	_, _ = io.WriteString(s.out, b.String())
}

// demoTable shows the cluster through the eyes of the first daemon that answers.
func demoTable(ctx context.Context, w *sandbox.World) []string {
	holder := w.Holder()
	if holder == "" {
		holder = "no member"
	}
	rows := []string{"", fmt.Sprintf("  the cloud says: %s → %s", sandbox.Address, holder)}
	for _, n := range w.Nodes() {
		status, err := n.Status(ctx)
		if err != nil || len(status.Members) == 0 {
			continue
		}
		rows = append(rows, fmt.Sprintf("  %-7s %-12s %-9s %s", "member", "state", "priority", "why"))
		for _, m := range status.Members {
			rows = append(rows, fmt.Sprintf("  %-7s %-12s %-9d %s", m.ID, m.State, m.EffectivePriority, why(m)))
		}
		return rows
	}
	return append(rows, "  no daemon answers")
}

// why says in a few words what keeps a member from holding the address.
func why(m api.Member) string {
	for _, c := range m.Checks {
		if !c.OK {
			return c.Name + ": " + c.Output
		}
	}
	return m.Reason
}

// outageText says what the users noticed.
func outageText(o sandbox.Outage) string {
	if o.Failed == 0 {
		return fmt.Sprintf("no request of %d failed", o.Requests)
	}
	return fmt.Sprintf("%d of %d requests failed, nobody was served for %d ms", o.Failed, o.Requests, o.Down.Milliseconds())
}

// stagesText says how long buoy and the cloud took, stage by stage.
func stagesText(t api.Transition) string {
	s := t.StagesMS
	return fmt.Sprintf("detect %.1f + elect %.1f + claim %.1f + confirm %.1f = %.1f ms (%s)", s.Detect, s.Elect, s.Claim, s.Confirm, s.Total, t.Reason)
}

// explain prints what to try while `--keep` leaves the world running.
func (d *demo) explain() {
	w, lb1, lb2 := d.world, d.world.Node("lb1"), d.world.Node("lb2")
	d.screen.print(fmt.Sprintf(`
It keeps running until Ctrl-C; then everything is removed. Try, in another terminal:

  %[6]s --socket %[1]s status --watch
  %[6]s --socket %[1]s transfer lb1
  curl -i %[3]s
  kill -9 %[4]d      # the HAProxy of lb2, which holds the address
  kill -9 %[5]d      # the daemon of lb1
  less %[2]s/lb1/buoy.log     # and buoy.yaml, haproxy.cfg of each node beside it
`, lb1.Socket(), w.Dir, w.URL, lb2.HAProxyPID(), lb1.PID(), d.binary))
}
