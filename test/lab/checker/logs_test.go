package checker_test

import (
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/buoy-lb/buoy/test/lab/checker"
)

// daemonLog is what a daemon writes, in its own words: see cluster's ticket.go, status.go
// and loop.go.
const daemonLog = `{"@level":"info","@message":"role","@module":"buoy","@timestamp":"2026-11-26T12:04:54.227180Z","boottime_ns":90000000000,"reason":"","state":"BACKUP","term":1,"was":""}
{"@level":"info","@message":"leading","@module":"buoy","@timestamp":"2026-11-26T12:04:55.227289Z","boottime_ns":100000000000,"term":2}
{"@level":"info","@message":"waiting out a ticket","@module":"buoy","@timestamp":"2026-11-26T12:04:55.227300Z","epoch":1,"node":"lb2","wait":1000000000}
{"@level":"info","@message":"ticket granted","@module":"buoy","@timestamp":"2026-11-26T12:04:56.027289Z","boottime_ns":100105000000,"epoch":2,"node":"lb1","seq":1,"t0_boottime_ns":100100000000,"until_boottime_ns":100850000000}
{"@level":"info","@message":"write begun","@module":"buoy","@timestamp":"2026-11-26T12:04:56.028289Z","boottime_ns":100106000000,"epoch":2,"seq":1}
{"@level":"info","@message":"ticket released","@module":"buoy","@timestamp":"2026-11-26T12:04:56.128289Z","boottime_ns":100200000000,"epoch":2,"seq":1}
{"@level":"info","@message":"role","@module":"buoy","@timestamp":"2026-11-26T12:04:57.227180Z","boottime_ns":101000000000,"reason":"","state":"MASTER","term":2,"was":"CLAIMING"}
{"@level":"info","@message":"ticket granted","@module":"buoy","@timestamp":"2026-11-26T12:05:06.027289Z","boottime_ns":110105000000,"epoch":2,"node":"lb1","seq":2,"t0_boottime_ns":110100000000,"until_boottime_ns":110850000000}
{"@level":"warn","@message":"write refused","@module":"buoy","@timestamp":"2026-11-26T12:05:06.927289Z","boottime_ns":110900000000,"epoch":2,"error":"no right to write to the cloud: the ticket is 800ms old, valid for 750ms","seq":2}
{"@level":"info","@message":"ticket expired","@module":"buoy","@timestamp":"2026-11-26T12:05:06.937289Z","boottime_ns":110910000000,"epoch":2,"seq":2}
{"@level":"info","@message":"no longer leading","@module":"buoy","@timestamp":"2026-11-26T12:05:07.227289Z","boottime_ns":111000000000,"term":2}
`

func TestReadLog(t *testing.T) {
	const torn = `{"@level":"info","@message":"ticket granted","@module":"buoy","boottime_ns":1201`
	tickets, roles, complaints, err := checker.ReadLog(strings.NewReader(daemonLog+torn), "lb1")
	if err != nil {
		t.Fatal(err)
	}
	at := func(since time.Duration) time.Duration { return 100*s + since }
	wantTickets := []checker.Ticket{
		{Node: "lb1", Epoch: 2, Seq: 1, T0: at(100 * ms), Until: at(850 * ms), Granted: at(105 * ms), Begun: at(106 * ms), Ended: at(200 * ms)},
		{Node: "lb1", Epoch: 2, Seq: 2, T0: at(10100 * ms), Until: at(10850 * ms), Granted: at(10105 * ms), Ended: at(10910 * ms)},
	}
	if !reflect.DeepEqual(tickets, wantTickets) {
		t.Errorf("tickets %+v, want %+v", tickets, wantTickets)
	}
	wantRoles := []checker.Role{
		{At: 90 * s, Node: "lb1", State: "BACKUP", Term: 1},
		{At: 100 * s, Node: "lb1", State: "LEADING", Term: 2},
		{At: 101 * s, Node: "lb1", State: "MASTER", Term: 2},
		{At: 111 * s, Node: "lb1", State: "FOLLOWING", Term: 2},
	}
	if !reflect.DeepEqual(roles, wantRoles) {
		t.Errorf("roles %+v, want %+v", roles, wantRoles)
	}
	if len(complaints) != 0 {
		t.Errorf("complaints %q about a good log", complaints)
	}
}

func TestReadLogComplains(t *testing.T) {
	const crashed = `==================
WARNING: DATA RACE
Write at 0x00c000123456 by goroutine 41:
{"@level":"info","@message":"leading","@module":"buoy","boottime_ns":100000000000,"term":2}
panic: send on closed channel

goroutine 7 [running]:
fatal error: fault`
	_, roles, complaints, err := checker.ReadLog(strings.NewReader(crashed), "lb1")
	want := []string{"WARNING: DATA RACE", "panic: send on closed channel", "fatal error: fault"}
	if err != nil || !reflect.DeepEqual(complaints, want) {
		t.Errorf("complaints %q, error %v; want %q", complaints, err, want)
	}
	if len(roles) != 1 {
		t.Errorf("roles %+v between the lines of a trace, want one", roles)
	}
}

func TestReadLogReportsTheReader(t *testing.T) {
	broken := errors.New("broken")
	r := io.MultiReader(strings.NewReader(daemonLog), iotest.ErrReader(broken))
	tickets, _, _, err := checker.ReadLog(r, "lb1")
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "lb1") || len(tickets) != 2 {
		t.Errorf("error %v, %d tickets; want the reader's, with the node, and what was read", err, len(tickets))
	}
}
