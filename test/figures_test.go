package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
)

const (
	figureRuns = 20
	idleTime   = 30 * time.Second
)

// TestFigures measures what the README promises and prints it. It asserts no speed:
// that would make the tests fail on a busy machine.
func TestFigures(t *testing.T) {
	if os.Getenv("BUOY_FIGURES") == "" {
		t.Skip("takes minutes and a quiet machine: run `make figures`")
	}
	binary, err := releaseBinary()
	if err != nil {
		t.Fatal(err)
	}
	// Nobody preempts, so that each fault causes one move.
	s := &story{T: t, w: newWorld(t, binary, []int{150, 100, 50}, false)}
	s.step("form", 2*bound, form, "lb1")

	t.Logf("%-28s %8s %8s %8s  (ms from the fault to the cloud's acceptance of the new holder's write, %d runs)", "fault", "p50", "p99", "max", figureRuns)
	s.measure("HAProxy killed", func(_ context.Context, n *sandbox.Node) error { n.KillHAProxy(); return nil })
	s.measure("daemon stopped (SIGTERM)", func(_ context.Context, n *sandbox.Node) error { n.SignalStop(); return nil })
	s.measure("daemon killed (-9)", func(_ context.Context, n *sandbox.Node) error { n.KillDaemon(); return nil })
	consult(t, s.w)
	s.readyToWrite()

	s.idle()
	info, err := os.Stat(binary)
	s.must(err)
	t.Logf("binary, stripped: %.1f MB", float64(info.Size())/1e6)
}

// measure breaks the holder so many times, whoever it is, and mends it again.
func (s *story) measure(name string, fault func(context.Context, *sandbox.Node) error) {
	var took []time.Duration
	for range figureRuns {
		ctx, cancel := context.WithTimeout(s.Context(), 2*bound)
		took = append(took, s.once(ctx, fault))
		cancel()
	}
	slices.Sort(took)
	at := func(q float64) float64 { return took[int(q*float64(len(took)-1)+0.5)].Seconds() * 1e3 }
	s.Logf("%-28s %8.1f %8.1f %8.1f", name, at(0.5), at(0.99), at(1))
}

// readyToWrite prints what lies between a node's right to act as leader and the moment at
// which its first write to the cloud goes to the socket, by the daemons' own logs: the ticket,
// which is two writes to disk and a round trip, and what buoy adds to it.
func (s *story) readyToWrite() {
	type line struct {
		Message  string `json:"@message"`
		Boottime int64  `json:"boottime_ns"`
		T0       int64  `json:"t0_boottime_ns"`
	}
	var before, ticket, after, total []time.Duration
	for _, n := range s.w.Nodes() {
		data, err := os.ReadFile(n.LogFile())
		s.must(err)
		var ready, granted line
		for text := range bytes.Lines(data) {
			var l line
			if json.Unmarshal(text, &l) != nil {
				continue // HAProxy's, or a panic's
			}
			switch {
			case l.Message == "ready to act as leader":
				ready, granted = l, line{}
			case l.Message == "ticket granted" && ready.Boottime > 0:
				granted = l
			case l.Message == "write begun" && granted.Boottime > 0:
				before = append(before, time.Duration(granted.T0-ready.Boottime))
				ticket = append(ticket, time.Duration(granted.Boottime-granted.T0))
				after = append(after, time.Duration(l.Boottime-granted.Boottime))
				total = append(total, time.Duration(l.Boottime-ready.Boottime))
				ready = line{} // what it writes later is another matter
			}
		}
	}
	s.Logf("%-28s %8s %8s %8s  (ms, %d times)", "from the lead to the write", "p50", "p99", "max", len(total))
	for _, part := range []struct {
		name string
		took []time.Duration
	}{{"  until the ticket is asked", before}, {"  the ticket", ticket}, {"  until the write begins", after}, {"  together", total}} {
		slices.Sort(part.took)
		at := func(q float64) float64 { return part.took[int(q*float64(len(part.took)-1)+0.5)].Seconds() * 1e3 }
		s.Logf("%-28s %8.1f %8.1f %8.1f", part.name, at(0.5), at(0.99), at(1))
	}
}

func (s *story) once(ctx context.Context, fault func(context.Context, *sandbox.Node) error) time.Duration {
	s.must(s.calm(ctx))
	// At no particular moment between two heartbeats or checks.
	<-time.After(rand.N(500 * time.Millisecond))
	old := s.w.Node(s.w.Holder())
	began := time.Now()
	s.must(fault(ctx, old))
	var took time.Duration
	s.must(sandbox.Poll(ctx, "another node's write", func(context.Context) error {
		for _, w := range s.w.Cloud.Writes(began) {
			if w.Node != old.Name && !w.Accepted.IsZero() {
				took = w.Accepted.Sub(began)
				return nil
			}
		}
		return fmt.Errorf("none by anybody but %s", old.Name)
	}))
	s.must(old.StopDaemon(ctx)) // has ended, or is about to, or is restarted afresh
	s.must(old.StartHAProxy(ctx))
	s.must(old.StartDaemon(ctx))
	return took
}

// calm waits until the holder is confirmed, the others are eligible, and no ticket of a
// past claim is left to wait for.
func (s *story) calm(ctx context.Context) error {
	err := sandbox.Poll(ctx, "everybody to be well", func(ctx context.Context) error {
		holder := s.w.Holder()
		if holder == "" {
			return fmt.Errorf("no holder")
		}
		status, err := s.w.Node(holder).Status(ctx)
		if err != nil {
			return err
		}
		for _, m := range status.Members {
			if m.ID == holder && m.State != api.StateMaster || !m.Eligible {
				return fmt.Errorf("%s %s %s", m.ID, m.State, m.Reason)
			}
		}
		return nil
	})
	if err == nil {
		<-time.After(time.Second)
	}
	return err
}

// idle reports what each daemon costs while nothing happens.
func (s *story) idle() {
	ctx, cancel := context.WithTimeout(s.Context(), 2*bound)
	defer cancel()
	s.must(s.calm(ctx))
	before := map[string]usage{}
	for _, n := range s.w.Nodes() {
		before[n.Name] = s.usage(n)
	}
	<-time.After(idleTime)
	for _, n := range s.w.Nodes() {
		u, b := s.usage(n), before[n.Name]
		role := "follower"
		if n.Name == s.w.Holder() {
			role = "holder"
		}
		s.Logf("idle %s (%s): %.2f %% of a core, %.1f MB RSS, %.1f KB/s written, %.1f KB/s read (all sockets and files)", n.Name, role,
			100*(u.cpu-b.cpu).Seconds()/idleTime.Seconds(), float64(u.rss)/1e6,
			float64(u.written-b.written)/1e3/idleTime.Seconds(), float64(u.read-b.read)/1e3/idleTime.Seconds())
	}
}

// usage is what a process has used: see proc(5).
type usage struct {
	cpu           time.Duration
	rss           int
	read, written int // bytes through read(2) and write(2), sockets included
}

// clockTick is USER_HZ, which Linux fixes for all that user programs see.
const clockTick = 10 * time.Millisecond

func (s *story) usage(n *sandbox.Node) usage {
	field := func(file, pattern string) int {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(n.PID()), file))
		s.must(err)
		m := regexp.MustCompile(pattern).FindSubmatch(text)
		if m == nil {
			s.Fatalf("no %s in %s", pattern, text)
		}
		value, err := strconv.Atoi(string(m[1]))
		s.must(err)
		return value
	}
	const cpuFields = `\) \S(?: \S+){10} ` // utime and stime are the 14th and 15th
	return usage{
		cpu:     time.Duration(field("stat", cpuFields+`(\d+)`)+field("stat", cpuFields+`\d+ (\d+)`)) * clockTick,
		rss:     1024 * field("status", `VmRSS:\s+(\d+) kB`),
		read:    field("io", `rchar: (\d+)`),
		written: field("io", `wchar: (\d+)`),
	}
}
