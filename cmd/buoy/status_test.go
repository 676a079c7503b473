package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/assigner/cloudhttp"
	"github.com/buoy-lb/buoy/assigner/layer2"
	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/cluster/peernet"
	"github.com/buoy-lb/buoy/config"
	"github.com/buoy-lb/buoy/fsm"
	"github.com/buoy-lb/buoy/healthcheck"
)

// sample is the leader's view of three nodes: lb1 holds the address, lb2 is degraded,
// lb3 does not answer.
func sample(now time.Time) cluster.Status {
	member := func(name string, priority int) fsm.Member {
		return fsm.Member{
			ID: name + "-x", Name: name, Address: "10.0.0." + name[2:] + ":7400", Instance: "100" + name[2:],
			Role: fsm.RoleBalancer, Priority: priority, Version: "1.2.3", ConfigDigest: "ab",
		}
	}
	check := fsm.Check{Name: "haproxy", Known: true, OK: true, Output: "fine", Since: now.Add(-time.Hour)}
	weak := fsm.Check{Name: "haproxy", Known: true, Weight: -20, Output: "no usable backend", Since: now.Add(-time.Minute)}
	other := member("lb3", 90)
	other.ConfigDigest = "cd"
	return cluster.Status{
		Cluster: "web", ClusterID: "c1", Self: member("lb1", 150), RaftState: "Leader", Term: 4,
		LeaderID: "lb1-x", LeaderAddress: "10.0.0.1:7400", Voters: 3, Reachable: 2,
		Members: []cluster.MemberStatus{
			{Member: member("lb1", 150), Voter: true, State: cluster.StateMaster, Eligible: true, Report: fsm.Report{Member: "lb1-x", Priority: 150, Checks: []fsm.Check{check}}},
			{Member: member("lb2", 100), Voter: true, State: cluster.StateBackup, Eligible: true, Report: fsm.Report{Member: "lb2-x", Priority: 80, Checks: []fsm.Check{weak}}},
			{Member: other, Voter: true, State: cluster.StateUnreachable, Reason: "lb3 does not answer"},
		},
		Addresses: []cluster.AddressStatus{{
			IP: netip.MustParseAddr("203.0.113.10"), State: cluster.AddressClaimed, Holder: "lb1", Instance: "1001",
			VerifiedAt: now.Add(-12 * time.Second), Term: 4, Since: now.Add(-time.Hour),
		}},
		Last: &fsm.Transition{
			At: now.Add(-time.Hour), From: "lb2", To: "lb1", Reason: "lb1 outranks 150>100",
			Stages: fsm.Stages{Elect: 3200 * time.Microsecond, Claim: 41 * time.Millisecond, Confirm: 420 * time.Millisecond},
		},
	}
}

func TestStatusForPeople(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	var out strings.Builder
	renderStatus(&out, palette{}, viewOf(sample(now), now))
	want := `cluster web, seen from lb1; leader lb1, term 4
quorum  2 of 3 voters; survives the loss of 0
address 203.0.113.10 -> lb1 (instance 1001), claimed, verified 12s ago, since 2026-03-01 11:00:00

MEMBER  STATE        PRIORITY  ROLE      ADDRESS        VERSION  CHECKS
lb1 *   MASTER       150       balancer  10.0.0.1:7400  1.2.3    haproxy ok
lb2     BACKUP       80/100    balancer  10.0.0.2:7400  1.2.3    haproxy FAILS: no usable backend (-20)
lb3     UNREACHABLE  90        balancer  10.0.0.3:7400  1.2.3    -

last move 2026-03-01 11:00:00 (1h0m0s ago): lb2 -> lb1, lb1 outranks 150>100
          detect 0 ms, elect 3.2 ms, claim 41 ms, confirm 420 ms, total 464.2 ms

warning lb2: check haproxy fails: no usable backend
warning lb3 does not answer
warning lb3 and lb1 differ in settings that must agree: cluster, timing, floating_ips, provider, verify_interval
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// TestLongOutput: a check that says much must not tear the table apart, and must be heard.
func TestLongOutput(t *testing.T) {
	now := time.Now()
	s := sample(now)
	said := "gone: stats socket /run/haproxy/admin.sock: " + strings.Repeat("ü", 200)
	s.Members[1].Report.Checks[0].Output = said
	view := viewOf(s, now)
	var out strings.Builder
	renderStatus(&out, palette{}, view)
	if !strings.Contains(out.String(), "haproxy FAILS: gone: stats socket /run/haproxy/admin.s… (-20)\n") {
		t.Errorf("the table shows\n%s", out.String())
	}
	if !strings.Contains(out.String(), "warning lb2: check haproxy fails: "+said+"\n") || view.Members[1].Checks[0].Output != said {
		t.Errorf("nobody hears all of it:\n%s", out.String())
	}
	if got := cell(strings.Repeat("ü", cellWidth)); got != strings.Repeat("ü", cellWidth) {
		t.Errorf("what fits is cut: %q", got)
	}
}

// TestStatusWithoutLeader: a node that hears no leader knows itself and the log, and must not
// pass old news for new.
func TestStatusWithoutLeader(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	s := sample(now)
	s.Self, s.RaftState, s.LeaderID, s.LeaderAddress, s.Reachable = s.Members[1].Member, "Candidate", "", "", 0
	for _, m := range []*cluster.MemberStatus{&s.Members[0], &s.Members[2]} {
		m.State, m.Eligible, m.Reason = cluster.StateUnreachable, false, m.Member.Name+" does not answer"
	}
	s.Members[2].Member.ConfigDigest = "ab"
	s.Addresses[0].State, s.Addresses[0].VerifiedAt = cluster.AddressUnverified, time.Time{}
	s.Last = nil
	view := viewOf(s, now)
	var out strings.Builder
	renderStatus(&out, palette{}, view)
	want := `cluster web, seen from lb2; leader none, term 4
quorum  2 of 3 voters; survives the loss of 0
address 203.0.113.10 -> lb1 (instance 1001), unverified, by the log, since 2026-03-01 11:00:00

MEMBER  STATE        PRIORITY  ROLE      ADDRESS        VERSION  CHECKS
lb1     UNREACHABLE  150       balancer  10.0.0.1:7400  1.2.3    unknown; last: haproxy ok
lb2     BACKUP       80/100    balancer  10.0.0.2:7400  1.2.3    haproxy FAILS: no usable backend (-20)
lb3     UNREACHABLE  90        balancer  10.0.0.3:7400  1.2.3    -

warning no leader: of the address, and of all members but lb2, this is what the log last said
warning without a leader nobody moves the address; 2 of 3 voters must be in contact to elect one
warning lb2: check haproxy fails: no usable backend
DEGRADED no leader: a quorum of voters is not in contact
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	if m := view.Members[0]; m.Reason != "without a leader nobody knows" {
		t.Errorf("lb1 is %s: %q", m.State, m.Reason)
	}
}

// TestWarningsOfMembers: the reason is told once, whoever says it best, and old news never.
func TestWarningsOfMembers(t *testing.T) {
	now := time.Now()
	failing := fsm.Check{Name: "web", Known: true, Fault: true, Output: "no answer"}
	for name, tc := range map[string]struct {
		m    cluster.MemberStatus
		want []string
	}{
		"its checks say why": {cluster.MemberStatus{
			State: cluster.StateFault, Reason: "lb1 is in FAULT: web", Report: fsm.Report{Health: fsm.HealthFault, Checks: []fsm.Check{failing}},
		}, []string{"lb1: check web fails: no answer"}},
		"its checks do not": {cluster.MemberStatus{
			State: cluster.StateFault, Reason: "lb1 cannot claim: 401", Report: fsm.Report{Health: fsm.HealthDegraded, Checks: []fsm.Check{failing}},
		}, []string{"lb1 cannot claim: 401", "lb1: check web fails: no answer"}},
		"gone with a failing check": {cluster.MemberStatus{
			State: cluster.StateUnreachable, Reason: "lb1 does not answer", Report: fsm.Report{Health: fsm.HealthFault, Checks: []fsm.Check{failing}},
		}, []string{"lb1 does not answer"}},
		"damped": {cluster.MemberStatus{
			State: cluster.StateBackup, Eligible: true, Report: fsm.Report{Health: fsm.HealthOK, Damped: true, Falls: 3},
		}, []string{"lb1 has failed 3 times: damped until it has been well for 10s"}},
	} {
		s := sample(now)
		tc.m.Member = s.Members[0].Member
		s.Members = []cluster.MemberStatus{tc.m}
		if got := warnings(s); !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// TestWarningsOfChecks: what a check only warns of changes no state, and is told.
func TestWarningsOfChecks(t *testing.T) {
	now := time.Now()
	checks, _ := checksOf(healthcheck.Verdict{Checks: []healthcheck.Status{
		{Name: "haproxy", Known: true, OK: true, Warn: true, Output: "saturated: 100 of 100 connections in use", Since: now},
	}})
	s := sample(now)
	before := len(viewOf(s, now).Warnings)
	s.Members[0].Report.Checks = checks
	s.Members[1].Report.Checks[0].Warn = true // it fails, too, and is listed as failing already
	view := viewOf(s, now)
	if len(view.Warnings) != before+1 || view.Warnings[0] != "lb1: check haproxy passes, but: saturated: 100 of 100 connections in use" {
		t.Errorf("warnings %q", view.Warnings)
	}
	if found := problems(view); len(found) > 0 {
		t.Errorf("degraded: %q", found)
	}
}

func TestColoursChangeNoLetter(t *testing.T) {
	now := time.Now()
	s := viewOf(sample(now), now)
	var plain, coloured strings.Builder
	renderStatus(&plain, palette{}, s)
	renderStatus(&coloured, palette{on: true}, s)
	stripped := coloured.String()
	for _, code := range []string{"0", "1", "31", "32", "33"} {
		stripped = strings.ReplaceAll(stripped, "\x1b["+code+"m", "")
	}
	if stripped != plain.String() || !strings.Contains(coloured.String(), "\x1b[32mMASTER") {
		t.Errorf("got %q", coloured.String())
	}
}

func TestProblems(t *testing.T) {
	now := time.Now()
	for name, tc := range map[string]struct {
		change func(*cluster.Status)
		want   string // "" means healthy
	}{
		"healthy":           {func(*cluster.Status) {}, ""},
		"in no cluster":     {func(s *cluster.Status) { s.Members = nil }, "in no cluster"},
		"no leader":         {func(s *cluster.Status) { s.LeaderID, s.RaftState = "", "Candidate" }, "no leader"},
		"not verified":      {func(s *cluster.Status) { s.Addresses[0].State = cluster.AddressUnverified }, "203.0.113.10 is unverified, held by lb1"},
		"nobody holds it":   {func(s *cluster.Status) { s.Addresses[0].Holder, s.Addresses[0].Instance = "", "" }, "held by nobody"},
		"a stranger has it": {func(s *cluster.Status) { s.Addresses[0].Holder, s.Addresses[0].Instance = "", "77" }, "instance 77 (not a member)"},
		"a witness leads":   {func(s *cluster.Status) { s.Members[0].State, s.Addresses = cluster.StateWitness, nil }, "lb1 is a witness"},
		"holder in FAULT": {func(s *cluster.Status) {
			s.Members[0].State, s.Members[0].Reason = cluster.StateFault, "lb1 is in FAULT"
		}, "and lb1 is in FAULT"},
		"holder unreachable": {func(s *cluster.Status) { s.Addresses[0].Holder = "lb3" }, "lb3 does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			s := sample(now)
			tc.change(&s)
			got := strings.Join(problems(viewOf(s, now)), "; ")
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestFollowersView: own place, the leader's knowledge.
func TestFollowersView(t *testing.T) {
	now := time.Now()
	leaders := viewOf(sample(now), now.Add(-time.Second))
	behind := sample(now)
	behind.Self, behind.RaftState, behind.LastContact, behind.Reachable = behind.Members[1].Member, "Follower", now.Add(-40*time.Millisecond), 0
	behind.Members, behind.Addresses = behind.Members[:2], nil
	got := overlay(leaders, viewOf(behind, now))
	if got.Self != "lb2" || got.Raft.State != "Follower" || *got.Raft.LastContactMS != 40 || !got.Time.Equal(now) {
		t.Errorf("own place is lost: %+v", got.Raft)
	}
	if got.Raft.Tolerates != 0 || len(got.Members) != 3 || got.FloatingIPs[0].VerifiedAt == nil {
		t.Errorf("the leader's knowledge is lost: %+v", got)
	}
	if got.Master() {
		t.Error("a follower passes for master")
	}
}

// TestWatchKey: time alone is no news, everything else is.
func TestWatchKey(t *testing.T) {
	now := time.Now()
	key := func(s cluster.Status, at time.Time) string {
		_, k := statusFrame(palette{}, viewOf(s, at), nil)
		return k
	}
	later := sample(now)
	later.Addresses[0].VerifiedAt = now.Add(20 * time.Second)
	if key(sample(now), now) != key(later, now.Add(30*time.Second)) {
		t.Error("the passing of time is news")
	}
	moved := sample(now)
	moved.Members[1].State = cluster.StateFault
	if key(sample(now), now) == key(moved, now) {
		t.Error("a new state is no news")
	}
	if _, k := statusFrame(palette{}, api.Status{}, errors.New("no daemon")); !strings.Contains(k, "no daemon") {
		t.Errorf("an error is no news: %q", k)
	}
}

func TestMemberAddress(t *testing.T) {
	for given, want := range map[string]string{
		"10.114.0.2": "10.114.0.2:7400", "10.114.0.2:99": "10.114.0.2:99", "lb2": "lb2:7400", "lb2.example:7401": "lb2.example:7401",
		"fd00::2": "[fd00::2]:7400", "[fd00::2]": "[fd00::2]:7400", "[fd00::2]:99": "[fd00::2]:99",
		"": "", ":7400": "", "lb2:": "", "lb2:0": "", "lb2:65536": "", "lb2:x": "", "http://lb2:7400": "",
	} {
		got, err := memberAddress(given)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("memberAddress(%q) = %q, %v; want %q", given, got, err, want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for err, want := range map[error]int{
		nil:                               0,
		errNo:                             1,
		errors.New("port in use"):         1,
		fsm.Refusef("already a member"):   1,
		&usageError{}:                     2,
		&config.Error{}:                   2,
		&peernet.SecretError{}:            2,
		&cloudhttp.TokenError{}:           2,
		&layer2.SetupError{}:              2,
		cluster.ErrWedged:                 70,
		errors.Join(cluster.ErrWedged):    70,
		fmt.Errorf("run: %w", errStuck):   1,
		errors.Join(&config.Error{}, nil): 2,
	} {
		if got := exitCode(err); got != want {
			t.Errorf("exitCode(%T %v) = %d, want %d", err, err, got, want)
		}
	}
	var out bytes.Buffer
	printError(&out, errNo)
	printError(&out, nil)
	if out.Len() > 0 {
		t.Errorf("printed %q", out.String())
	}
}

// TestEveryKindOfCheckIsMade: a configured check must not end up as another kind.
func TestEveryKindOfCheckIsMade(t *testing.T) {
	for want, c := range map[string]config.Check{
		"*healthcheck.HAProxy": {HAProxy: &config.HAProxyCheck{}},
		"healthcheck.HTTP":     {HTTP: &config.HTTPCheck{}},
		"healthcheck.TCP":      {TCP: &config.TCPCheck{}},
		"*healthcheck.Process": {Process: &config.ProcessCheck{}},
		"*healthcheck.Command": {Command: &config.CommandCheck{Command: []string{"/bin/true"}}},
	} {
		if got := reflect.TypeOf(checkerOf(c)).String(); got != want {
			t.Errorf("made %s, want %s", got, want)
		}
	}
}

// TestWatchdogIsFedByTheLoop: the service manager hears of us only while the loop turns.
func TestWatchdogIsFedByTheLoop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "30000")
	t.Setenv("WATCHDOG_PID", "")
	var stuck atomic.Bool
	asked := make(chan bool, 1000)
	alive := func() bool {
		asked <- !stuck.Load()
		return !stuck.Load()
	}
	done := make(chan struct{})
	go func() { defer close(done); feedWatchdog(t.Context(), alive, hclog.NewNullLogger()) }()
	t.Cleanup(func() { <-done })

	buf := make([]byte, 64)
	_ = manager.SetReadDeadline(time.Now().Add(30 * time.Second))
	if n, err := manager.Read(buf); err != nil || string(buf[:n]) != "WATCHDOG=1" {
		t.Fatalf("got %q, %v", buf[:n], err)
	}
	stuck.Store(true)
	for no := 0; no < 3; {
		if !<-asked {
			no++
		}
	}
	fed := len(asked)
	for {
		_ = manager.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := manager.Read(buf); err != nil {
			break // what was fed before it got stuck has been read
		}
	}
	for range 3 {
		<-asked
	}
	_ = manager.SetReadDeadline(time.Now().Add(time.Millisecond))
	if n, err := manager.Read(buf); err == nil {
		t.Errorf("fed while stuck: %q (%d)", buf[:n], fed)
	}
}

// TestStatusOfTwoAddresses: one is there, the other is not, and everybody can see which, why,
// and that somebody else is writing.
func TestStatusOfTwoAddresses(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	s := sample(now)
	s.Members[0].State = cluster.StateClaiming
	s.Addresses = append(s.Addresses, cluster.AddressStatus{
		IP: netip.MustParseAddr("2001:db8::10"), State: cluster.AddressClaiming, Instance: "7",
		Error: "claim 2001:db8::10: 422 unprocessable_entity", Contested: 4, ClaimAfter: now.Add(8 * time.Second),
	})
	view := viewOf(s, now)
	var out strings.Builder
	renderStatus(&out, palette{}, view)
	for _, want := range []string{
		"address 203.0.113.10 -> lb1 (instance 1001), claimed,",
		"address 2001:db8::10 -> nobody (instance 7), claiming, not verified yet\n",
		"warning 2001:db8::10: claim 2001:db8::10: 422 unprocessable_entity\n",
		"warning somebody else keeps moving 2001:db8::10 away: a person, or a second cluster? It was claimed back 4 times, and is now left for longer each time, this time until 12:00:08\n",
		"DEGRADED 2001:db8::10 is claiming, held by instance 7 (not a member)\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if found := problems(view); len(found) != 1 { // exit status 1, and for this address alone
		t.Errorf("problems: %q", found)
	}
	if view.Master() {
		t.Error("MASTER of half of the addresses")
	}
}
