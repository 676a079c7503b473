package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/buoy-lb/buoy/api"
)

// renderStatus prints s for people.
func renderStatus(w io.Writer, p palette, s api.Status) {
	renderHeader(w, p, s)
	for _, ip := range s.FloatingIPs {
		fmt.Fprintf(w, "%s %s\n", p.bold("address"), addressLine(s, ip))
	}
	if len(s.Members) > 0 {
		fmt.Fprintln(w)
		renderMembers(w, p, s)
	}
	if t := s.LastTransition; t != nil {
		from := t.From
		if from == "" {
			from = "nobody"
		}
		st := t.StagesMS
		fmt.Fprintf(w, "\n%s %s (%s): %s -> %s, %s\n", p.bold("last move"), t.At.Local().Format(time.DateTime), ago(s.Time, t.At), from, t.To, t.Reason)
		fmt.Fprintf(w, "          detect %g ms, elect %g ms, claim %g ms, confirm %g ms, total %g ms\n", st.Detect, st.Elect, st.Claim, st.Confirm, st.Total)
	}
	found := problems(s)
	if len(s.Warnings)+len(found) > 0 {
		fmt.Fprintln(w)
	}
	for _, warning := range s.Warnings {
		fmt.Fprintf(w, "%s %s\n", p.yellow("warning"), warning)
	}
	for _, problem := range found {
		fmt.Fprintf(w, "%s %s\n", p.red("DEGRADED"), problem)
	}
}

func renderHeader(w io.Writer, p palette, s api.Status) {
	leader := s.Raft.Leader
	if leader == "" {
		leader = "none"
	}
	fmt.Fprintf(w, "%s %s, seen from %s; leader %s, term %d\n", p.bold("cluster"), s.Cluster, s.Self, leader, s.Raft.Term)
	if s.Raft.Voters > 0 {
		fmt.Fprintf(w, "%s  %d of %d voters; survives the loss of %d\n", p.bold("quorum"), s.Raft.Quorum, s.Raft.Voters, s.Raft.Tolerates)
	}
}

// addressLine is a floating IP, its holder, its state and how sure that is.
func addressLine(s api.Status, ip api.FloatingIP) string {
	holder := ip.Holder
	if holder == "" {
		holder = "nobody"
	}
	if ip.Instance != "" {
		holder += " (instance " + ip.Instance + ")"
	}
	verified := "not verified yet"
	switch {
	case ip.VerifiedAt != nil:
		verified = "verified " + ago(s.Time, *ip.VerifiedAt)
	case s.Raft.Leader == "":
		verified = "by the log"
	}
	line := fmt.Sprintf("%s -> %s, %s, %s", ip.IP, holder, ip.State, verified)
	if ip.Since != nil {
		line += ", since " + ip.Since.Local().Format(time.DateTime)
	}
	return line
}

// renderMembers prints one line a member. Colours go on afterwards: tabwriter would
// count their bytes.
func renderMembers(w io.Writer, p palette, s api.Status) {
	var table strings.Builder
	tw := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "MEMBER\tSTATE\tPRIORITY\tROLE\tADDRESS\tVERSION\tCHECKS")
	for _, m := range s.Members {
		name := m.ID
		if m.ID == s.Raft.Leader {
			name += " *"
		}
		role := m.Role
		if !m.Voter {
			role += ", joining"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, state(s.Time, m), priority(m), role, m.Address, m.Version, checks(m))
	}
	_ = tw.Flush() // a Builder takes everything
	lines := strings.Split(strings.TrimSuffix(table.String(), "\n"), "\n")
	fmt.Fprintln(w, p.bold(lines[0]))
	for i, m := range s.Members {
		fmt.Fprintln(w, strings.Replace(lines[i+1], string(m.State), stateColour(p, m.State), 1))
	}
}

func stateColour(p palette, s api.MemberState) string {
	switch s {
	case api.StateMaster:
		return p.green(string(s))
	case api.StateClaiming, api.StateDrained:
		return p.yellow(string(s))
	case api.StateFault, api.StateUnreachable:
		return p.red(string(s))
	case api.StateBackup, api.StateWitness:
	}
	return string(s)
}

// state is what a member is doing and, if an operator has drained it, how long.
func state(now time.Time, m api.Member) string {
	switch {
	case m.Drain == nil:
		return string(m.State)
	case m.State == api.StateDrained:
		return string(m.State) + " " + drainEnd(now, m.Drain.Until)
	default:
		return string(m.State) + ", drained " + drainEnd(now, m.Drain.Until)
	}
}

// drainEnd is when a drain ends, in words; a nil until is nobody's plan.
func drainEnd(now time.Time, until *time.Time) string {
	if until == nil {
		return "until undrain"
	}
	if until.Local().Format(time.DateOnly) == now.Local().Format(time.DateOnly) {
		return "until " + until.Local().Format("15:04")
	}
	return "until " + until.Local().Format("2006-01-02 15:04")
}

// priority is what the checks leave of the configured priority, and that one if it differs.
func priority(m api.Member) string {
	if m.EffectivePriority == m.Priority {
		return fmt.Sprint(m.Priority)
	}
	return fmt.Sprintf("%d/%d", m.EffectivePriority, m.Priority)
}

// checks is each check in a word or, where it fails, with the beginning of what it said;
// the warnings have it all.
func checks(m api.Member) string {
	var words []string
	for _, c := range m.Checks {
		word := c.Name + " ok"
		if !c.OK {
			word = c.Name + " FAILS: " + cell(c.Output)
		}
		if c.Weight != 0 {
			word += fmt.Sprintf(" (%+d)", c.Weight)
		}
		words = append(words, word)
	}
	switch said := strings.Join(words, ", "); {
	case m.State == api.StateUnreachable && said != "":
		return "unknown; last: " + said
	case said == "":
		return "-"
	default:
		return said
	}
}

// ago is how long before now t was, in words.
func ago(now, t time.Time) string {
	return max(now.Sub(t), 0).Truncate(time.Second).String() + " ago"
}
