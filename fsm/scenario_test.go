package fsm

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite testdata/*.txt with what Decide says; a commit that does says why")

// TestScenarios plays the stories of testdata, each a conversation: commands, "----",
// and what the leader decides. The commands are those of scenario.do.
//
// Together the stories show every Reason that there is.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	seen := map[Code]bool{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { play(t, file, seen) })
	}
	for code := range sentences {
		if !seen[code] && !t.Failed() && !partial() {
			t.Errorf("no scenario shows the reason %q", code)
		}
	}
}

// partial says that -run has picked single scenarios.
func partial() bool { return strings.Contains(flag.Lookup("test.run").Value.String(), "/") }

func play(t *testing.T, file string, seen map[Code]bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &scenario{nodes: map[string]*Candidate{}, falls: map[string]Damping{}, seen: seen}
	var out strings.Builder
	for block := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		input, _, _ := strings.Cut(block, "\n----")
		out.WriteString(input + "\n")
		if strings.HasPrefix(block, "#") && !strings.Contains(block, "\n----") {
			out.WriteString("\n")
			continue
		}
		for line := range strings.SplitSeq(input, "\n") {
			if line, _, _ := strings.Cut(line, "#"); strings.TrimSpace(line) != "" {
				if err := s.do(strings.Fields(line)); err != nil {
					t.Fatalf("%s: %q: %v", file, line, err)
				}
			}
		}
		out.WriteString("----\n" + s.decide() + "\n\n")
	}
	got := strings.TrimSpace(out.String()) + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got != string(text) {
		t.Errorf("%s: got\n%s\nwant\n%s", file, got, text)
	}
}

// scenario is the leader's world as the commands have shaped it.
type scenario struct {
	now   time.Duration // since the story began
	nodes map[string]*Candidate
	falls map[string]Damping
	v     View
	seen  map[Code]bool
}

func (s *scenario) time(after time.Duration) time.Time { return start.Add(s.now + after) }

func (s *scenario) decide() string {
	v := s.v
	for _, c := range s.nodes {
		v.Candidates = append(v.Candidates, *c)
	}
	now := s.time(0)
	d := Decide(DefaultPolicy, v, now)
	s.seen[d.Reason.Code], s.seen[d.Reason.Cause] = true, true
	for _, c := range v.Candidates {
		_, why := Eligible(c)
		s.seen[why.Code] = true
	}
	out := fmt.Sprintf("%s: %s", s.v.Self, d.Kind)
	if d.Target != "" {
		out += " " + d.Target
	}
	if d.IP.IsValid() {
		out += " " + d.IP.String()
	}
	if d.Kind == Wait && !d.Next.IsZero() {
		out += fmt.Sprintf(" next=%s", d.Next.Sub(now))
	}
	return fmt.Sprintf("%s (%s)", out, d.Reason)
}

// do carries out one command. Words of the form key=value come after the others.
//
//	cluster lb1=150 lb2=100,nopreempt,delay=10s lb3=witness   addresses 10.0.0.1, .2, ...
//	leader lb2 [ips=A,B] [held]    lb2 leads from now on; held: next look in 30 s, else now
//	elected lb2 ips=A [holder=lb1] as leader, but by an election; holder: the one of record
//	follow [lb1]                   lb2 follows lb1, or nobody
//	at 6s                          the time, since the story began
//	report lb1 [check=FAILING,...] [weight=-60,...] [bonus=5] [fault=CLAIMFAULT] [running]
//	down|up|lag|joining|silent lb1   unreachable, back, behind, not voting yet, no report
//	drained|undrained lb1
//	backoff lb1 for=60s
//	falls lb1                      it has just lost the lead through its health
//	busy claim|transfer|look|none [ip=A]   A: what is claimed too, or looked at; else the first
//	pause  /  resume               an operator's
//	request [lb1]  /  norequest  /  prefer lb1
//	contested A=20s                A may be claimed then, and be looked at before
//	ownfaults A=2  /  due A=20s  /  looked A=20s (due then, and only looked at)  /  forget lb2
func (s *scenario) do(words []string) error {
	if words[0] == "at" {
		at, err := time.ParseDuration(words[1])
		if s.now = at; err != nil {
			return err
		}
		words = words[2:]
	}
	var err error
	if len(words) > 0 {
		err = s.arguments(words)
	}
	for name, c := range s.nodes {
		s.damp(name, c)
		if ok, _ := Eligible(*c); !ok {
			c.EligibleSince = time.Time{}
		} else if c.EligibleSince.IsZero() {
			c.EligibleSince = s.time(0)
		}
	}
	return err
}

// arguments sorts out the words of a command, and carries it out.
func (s *scenario) arguments(words []string) error {
	options := map[string]string{}
	var args []string
	for _, w := range words[1:] {
		if k, v, ok := strings.Cut(w, "="); ok {
			options[k] = v
		} else {
			args = append(args, w)
		}
	}
	return s.command(words, append(args, "", ""), options)
}

// damp keeps the marks of damping, as each node does for itself.
func (s *scenario) damp(name string, c *Candidate) {
	if c.Report == nil {
		return
	}
	d := s.falls[name].Step(s.time(0), *c.Report)
	s.falls[name] = d
	c.Report.Damped, c.Report.Falls = false, 0
	if _, damped := d.Damped(s.time(0)); damped {
		c.Report.Damped, c.Report.Falls = true, d.Falls
	}
}

func (s *scenario) command(words, args []string, options map[string]string) error {
	c := s.nodes[args[0]]
	switch words[0] {
	case "cluster":
		return s.cluster(words[1:])
	case "report", "down", "up", "lag", "joining", "silent", "drained", "undrained", "backoff", "unproven", "falls":
		if c == nil {
			return fmt.Errorf("no node %q", args[0])
		}
	}
	var err error
	switch words[0] {
	case "leader":
		s.lead(args, options)
	case "elected":
		s.lead(args, options)
		s.v.Vacant, s.v.Incumbent = true, options["holder"]
	case "follow":
		s.v.Leader, s.v.LeaderName = false, args[0]
	case "report":
		c.Report = report(c.Member, args[1], options)
	case "down":
		c.Reachable = false
	case "up":
		c.Reachable, c.CaughtUp, c.Voter = true, true, true
	case "lag":
		c.CaughtUp = false
	case "joining":
		c.Voter = false
	case "silent":
		c.Report = nil
	case "drained", "undrained":
		c.Drained = words[0] == "drained"
	case "falls":
		s.falls[args[0]] = s.falls[args[0]].Fell(s.time(0), *c.Report)
	case "forget":
		delete(s.nodes, args[0])
	case "backoff", "unproven":
		var d time.Duration
		d, err = time.ParseDuration(options["for"])
		if until := s.time(d); words[0] == "backoff" {
			c.BackoffUntil = until
		} else {
			c.UnprovenUntil = until
		}
	case "busy":
		s.busy(args[0], options["ip"])
	case "request":
		s.v.Request = &Request{Target: args[0]}
	case "pause", "resume":
		s.v.Paused = words[0] == "pause"
	case "norequest":
		s.v.Request = nil
	case "prefer":
		s.v.Preferred = args[0]
	case "ownfaults", "due", "looked", "contested":
		err = s.address(words[0], options)
	default:
		err = fmt.Errorf("unknown command")
	}
	return err
}

func (s *scenario) busy(action, ip string) {
	s.v.Busy = map[string]Action{"claim": ActionClaim, "transfer": ActionTransfer, "look": ActionLook}[action]
	for i := range s.v.IPs {
		v := &s.v.IPs[i]
		switch {
		case s.v.Busy != ActionClaim && s.v.Busy != ActionLook:
			v.Busy = false
		case v.IP.String() == ip || ip == "" && i == 0:
			v.Busy = true
		}
	}
}

func (s *scenario) cluster(members []string) error {
	clear(s.falls)
	for i, w := range members {
		name, list, _ := strings.Cut(w, "=")
		settings := strings.Split(list, ",")
		m := Member{ID: name, Name: name, Address: fmt.Sprintf("10.0.0.%d:7400", i+1), Role: RoleBalancer, Preempt: true}
		if m.Priority, _ = strconv.Atoi(settings[0]); settings[0] == "witness" {
			m.Role, m.Priority = RoleWitness, 100
		}
		for _, set := range settings[1:] {
			if set == "nopreempt" {
				m.Preempt = false
				continue
			}
			d, err := time.ParseDuration(strings.TrimPrefix(set, "delay="))
			if m.PreemptDelay = d; err != nil {
				return err
			}
		}
		s.nodes[name] = &Candidate{Member: m, Voter: true, Reachable: true, CaughtUp: true, Report: report(m, "", nil)}
	}
	return nil
}

// lead begins a term: what a leader knows of the time before is nothing.
func (s *scenario) lead(args []string, options map[string]string) {
	s.v = View{Self: args[0], Leader: true, LeaderSince: s.time(0), Preferred: s.v.Preferred, Paused: s.v.Paused}
	for ip := range strings.SplitSeq(options["ips"], ",") {
		if ip != "" {
			v := IPView{IP: netip.MustParseAddr(ip)}
			if args[1] == "held" {
				v.Due = s.time(30 * time.Second)
			}
			s.v.IPs = append(s.v.IPs, v)
		}
	}
	for _, c := range s.nodes {
		c.EligibleSince = time.Time{}
	}
}

func (s *scenario) address(command string, options map[string]string) error {
	for ip, value := range options {
		i := slices.IndexFunc(s.v.IPs, func(v IPView) bool { return v.IP.String() == ip })
		if i < 0 {
			return fmt.Errorf("no address %s", ip)
		}
		if command == "ownfaults" {
			s.v.IPs[i].OwnFaults, _ = strconv.Atoi(value)
			continue
		}
		d, err := time.ParseDuration(value)
		if err != nil {
			return err
		}
		if command == "contested" {
			s.v.IPs[i].ClaimAfter = s.time(d)
			continue
		}
		s.v.IPs[i].Due, s.v.IPs[i].Looked = s.time(d), command == "looked"
	}
	return nil
}

// report is what a node says whose checks stand as the options tell.
func report(m Member, state string, options map[string]string) *Report {
	checks := []Check{{Name: "haproxy", Known: state != "running", OK: true}}
	if names := options["check"]; names != "" {
		checks = nil
		weights := strings.Split(options["weight"], ",")
		for i, name := range strings.Split(names, ",") {
			weight, _ := strconv.Atoi(weights[i])
			checks = append(checks, Check{Name: name, Known: true, Weight: weight, Fault: weight == 0})
		}
	}
	if bonus := options["bonus"]; bonus != "" {
		weight, _ := strconv.Atoi(bonus)
		checks = append(checks, Check{Name: "bonus", Known: true, OK: true, Weight: weight})
	}
	r := &Report{Member: m.ID, Boot: "boot", Checks: checks, ClaimFault: options["fault"]}
	r.Health, r.Priority = Assess(m.Priority, r.Checks)
	return r
}

func TestEveryCodeHasItsSentence(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := map[Code]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && v.Type != nil && fmt.Sprint(v.Type) == "Code" {
			code, _ := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			declared[Code(code)] = true
		}
		return true
	})
	got, want := slices.Sorted(maps.Keys(sentences)), slices.Sorted(maps.Keys(declared))
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("sentences for %v\ndeclared are %v", got, want)
	}
}

// Each story says at its head which rule it tells, of the RFC or of keepalived, or that there
// is none.
func TestScenariosNameTheirSource(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(string(text), "\n\n")
		head = strings.ReplaceAll(head, "\n# ", " ")
		if !strings.HasPrefix(head, "#") || !source.MatchString(head) {
			t.Errorf("%s: its head names no source:\n%s", file, head)
		}
	}
}

// source is a section of RFC 9568, a line or an issue of keepalived, or none.
var source = regexp.MustCompile(`RFC 9568 section \d|vrrp\w*\.[ch]:\d+|keepalived (issues? \d+|has vrrp_)|No counterpart in VRRP`)
