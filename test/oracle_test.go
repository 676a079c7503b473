package test

import (
	"os"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
	"github.com/buoy-lb/buoy/test/lab/checker"
)

// consult asks the oracle about everything that happened in w so far, and looks for
// crashes and data races in the daemons' logs.
func consult(t *testing.T, w *sandbox.World) {
	t.Helper()
	h := checker.History{Setup: checker.Setup{System: "buoy"}}
	// Before the logs: a write that has arrived is in its node's log by now.
	now, boot := time.Now(), cluster.Boottime()
	for _, r := range w.Cloud.Writes(time.Time{}) {
		h.Writes = append(h.Writes, checker.Write{
			Arrived: boot - now.Sub(r.Arrived), Node: r.Node, Epoch: r.Epoch, Token: r.Token, Outcome: r.Outcome,
		})
	}
	for _, n := range w.Nodes() {
		readLog(t, n, &h)
	}
	if len(h.Writes) == 0 || len(h.Tickets) == 0 {
		t.Errorf("the oracle has nothing to judge: %d writes, %d tickets", len(h.Writes), len(h.Tickets))
	}
	for _, v := range checker.Rights(h) {
		t.Error(v)
	}
}

// readLog adds to h what is in the log of n.
func readLog(t *testing.T, n *sandbox.Node, h *checker.History) {
	t.Helper()
	file, err := os.Open(n.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	tickets, roles, complaints, err := checker.ReadLog(file, n.Name)
	if err != nil {
		t.Fatal(err)
	}
	h.Tickets, h.Roles = append(h.Tickets, tickets...), append(h.Roles, roles...)
	for _, sign := range complaints {
		t.Errorf("%s in the log of %s:\n%s", sign, n.Name, n.Tail(1<<20))
	}
}
