package test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/assigner/dotest"
	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
)

// grant is one ticket as its node's log tells it. Times are CLOCK_BOOTTIME, which all
// nodes of a sandbox share.
type grant struct {
	node       string
	epoch, seq uint64
	t0, until  time.Duration
	logged     time.Duration
	released   time.Duration // 0: never
	begun      time.Duration // 0: no write
}

// end is when the node could no longer have used the ticket.
func (g *grant) end() time.Duration {
	if g.released != 0 {
		return min(g.released, g.until)
	}
	return g.until
}

// transit is how long a write may be on its way from the socket to the cloud's journal
// on a busy machine. A ticket bounds when a write begins, not when it arrives.
const transit = 2 * time.Second

// write is a request that reached the cloud, with its time of arrival.
type write struct {
	dotest.Write
	arrived time.Duration
}

// judge lists everything by which the record shows that somebody wrote to the cloud
// who was not a proved leader.
func judge(writes []write, grants []*grant) []string {
	var problems []string
	complain := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }

	leaders := map[uint64]string{}
	var epoch uint64
	used := map[*grant]bool{}
	for _, w := range writes {
		if w.Node == "" || w.Epoch == 0 || w.Token != w.Node {
			complain("write %d by %q with the token of %q names no leader: %s", w.Seq, w.Node, w.Token, w.UserAgent)
			continue
		}
		if w.Epoch < epoch {
			complain("write %d: epoch %d after epoch %d", w.Seq, w.Epoch, epoch)
		}
		epoch = max(epoch, w.Epoch)
		if other, ok := leaders[w.Epoch]; ok && other != w.Node {
			complain("write %d: epoch %d of %s is also of %s", w.Seq, w.Epoch, w.Node, other)
		}
		leaders[w.Epoch] = w.Node
		g := ticketOf(w, grants, used)
		if g == nil {
			complain("write %d by %s in epoch %d at %v has no valid ticket", w.Seq, w.Node, w.Epoch, w.arrived)
			continue
		}
		used[g] = true
	}
	return append(problems, overlaps(grants)...)
}

// ticketOf finds the unused ticket under which w was written.
func ticketOf(w write, grants []*grant, used map[*grant]bool) *grant {
	for _, g := range grants {
		valid := g.t0 < g.logged && g.logged <= g.begun && g.begun < g.until
		inTime := g.begun <= w.arrived && w.arrived < g.until+transit
		if !used[g] && g.node == w.Node && g.epoch == w.Epoch && valid && inTime {
			return g
		}
	}
	return nil
}

// overlaps finds tickets of two nodes that were valid at the same time.
func overlaps(grants []*grant) (problems []string) {
	sorted := slices.SortedFunc(slices.Values(grants), func(a, b *grant) int { return int(a.t0 - b.t0) })
	for i, a := range sorted {
		for _, b := range sorted[i+1:] {
			// A ticket is usable from when it was granted, not from t0.
			if a.node != b.node && b.logged < a.end() && a.logged < b.end() {
				problems = append(problems, fmt.Sprintf("tickets overlap: %s epoch %d seq %d and %s epoch %d seq %d",
					a.node, a.epoch, a.seq, b.node, b.epoch, b.seq))
			}
		}
	}
	return problems
}

// readGrants finds the tickets in a daemon's log.
func readGrants(t *testing.T, node, path string) []*grant {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var grants []*grant
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var l struct {
			Message string        `json:"@message"`
			Epoch   uint64        `json:"epoch"`
			Seq     uint64        `json:"seq"`
			At      time.Duration `json:"boottime_ns"`
			T0      time.Duration `json:"t0_boottime_ns"`
			Until   time.Duration `json:"until_boottime_ns"`
		}
		if json.Unmarshal(lines.Bytes(), &l) != nil {
			continue // a panic or a data race: see complaints
		}
		if l.Message == "ticket granted" {
			grants = append(grants, &grant{node: node, epoch: l.Epoch, seq: l.Seq, t0: l.T0, until: l.Until, logged: l.At})
			continue
		}
		for _, g := range grants {
			switch {
			case g.epoch != l.Epoch || g.seq != l.Seq:
			case l.Message == "write begun":
				g.begun = l.At
			case l.Message == "ticket released":
				g.released = l.At
			}
		}
	}
	return grants
}

// consult asks the oracle about everything that happened in w so far, and looks for
// crashes and data races in the daemons' logs.
func consult(t *testing.T, w *sandbox.World) {
	t.Helper()
	var grants []*grant
	for _, n := range w.Nodes() {
		grants = append(grants, readGrants(t, n.Name, n.LogFile())...)
		for _, sign := range []string{"DATA RACE", "panic: ", "fatal error: "} {
			if log := n.Tail(1 << 20); strings.Contains(log, sign) {
				t.Errorf("%s in the log of %s:\n%s", sign, n.Name, log)
			}
		}
	}
	var writes []write
	now, boot := time.Now(), cluster.Boottime()
	for _, r := range w.Cloud.Writes(time.Time{}) {
		writes = append(writes, write{r, boot - now.Sub(r.Arrived)})
	}
	if len(writes) == 0 || len(grants) == 0 {
		t.Errorf("the oracle has nothing to judge: %d writes, %d tickets", len(writes), len(grants))
	}
	for _, problem := range judge(writes, grants) {
		t.Error(problem)
	}
}

// The oracle must be able to object.
func TestOracleFindsUnprovedWrites(t *testing.T) {
	const ms = time.Millisecond
	ticket := func(node string, epoch uint64, t0 time.Duration) *grant {
		return &grant{node: node, epoch: epoch, seq: 1, t0: t0, logged: t0 + 5*ms, begun: t0 + 6*ms, until: t0 + 750*ms}
	}
	request := func(node string, epoch uint64, arrived time.Duration) write {
		return write{dotest.Write{Node: node, Epoch: epoch, Token: node}, arrived}
	}
	for _, c := range []struct {
		name   string
		writes []write
		grants []*grant
		want   string // in the only problem; "" for none
	}{
		{
			"as it should be",
			[]write{request("lb1", 2, 110*ms), request("lb2", 3, 2010*ms)},
			[]*grant{ticket("lb1", 2, 100*ms), ticket("lb2", 3, 2000*ms)},
			"",
		},
		{"no ticket", []write{request("lb1", 2, 110*ms)}, nil, "no valid ticket"},
		{"a foreign ticket", []write{request("lb1", 2, 110*ms)}, []*grant{ticket("lb2", 2, 100*ms)}, "no valid ticket"},
		{
			"one ticket, two writes",
			[]write{request("lb1", 2, 110*ms), request("lb1", 2, 120*ms)},
			[]*grant{ticket("lb1", 2, 100*ms)},
			"no valid ticket",
		},
		{"long after the ticket", []write{request("lb1", 2, 5*time.Second)}, []*grant{ticket("lb1", 2, 100*ms)}, "no valid ticket"},
		{
			"begun too late",
			[]write{request("lb1", 2, 900*ms)},
			[]*grant{{node: "lb1", epoch: 2, t0: 100 * ms, logged: 105 * ms, begun: 890 * ms, until: 850 * ms}},
			"no valid ticket",
		},
		{
			"an old epoch",
			[]write{request("lb2", 3, 2010*ms), request("lb1", 2, 4010*ms)},
			[]*grant{ticket("lb1", 2, 4000*ms), ticket("lb2", 3, 2000*ms)},
			"epoch 2 after epoch 3",
		},
		{
			"two leaders in an epoch",
			[]write{request("lb1", 2, 110*ms), request("lb2", 2, 2010*ms)},
			[]*grant{ticket("lb1", 2, 100*ms), ticket("lb2", 2, 2000*ms)},
			"is also of",
		},
		{"anonymous", []write{{dotest.Write{Token: "lb1", UserAgent: "curl"}, 110 * ms}}, nil, "names no leader"},
		{"overlap", nil, []*grant{ticket("lb1", 2, 100*ms), ticket("lb2", 3, 600*ms)}, "overlap"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := judge(c.writes, c.grants)
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
				t.Errorf("problems %q, want one with %q", got, c.want)
			}
		})
	}
}
