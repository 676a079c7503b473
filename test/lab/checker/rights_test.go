package checker_test

import (
	"testing"
	"time"

	"github.com/buoy-lb/buoy/test/lab/checker"
)

// TestRights: who has tickets and writes, and nothing else, can ask for P1. Each case
// has one violation at most.
func TestRights(t *testing.T) {
	request := func(node string, epoch uint64, arrived time.Duration) checker.Write {
		return checker.Write{Node: node, Epoch: epoch, Token: node, Arrived: arrived}
	}
	for _, c := range []struct {
		name    string
		writes  []checker.Write
		tickets []checker.Ticket
		want    string // in the only violation; "" for none
	}{
		{
			"as it should be",
			[]checker.Write{request("lb1", 2, 110*ms), request("lb2", 3, 2010*ms)},
			[]checker.Ticket{ticket("lb1", 2, 1, 100*ms), ticket("lb2", 3, 1, 2000*ms)},
			"",
		},
		{"no ticket", []checker.Write{request("lb1", 2, 110*ms)}, nil, "no valid ticket"},
		{"a foreign ticket", []checker.Write{request("lb1", 2, 110*ms)}, []checker.Ticket{ticket("lb2", 2, 1, 100*ms)}, "no valid ticket"},
		{"a ticket of another epoch", []checker.Write{request("lb1", 3, 110*ms)}, []checker.Ticket{ticket("lb1", 2, 1, 100*ms)}, "no valid ticket"},
		{
			"one ticket, two writes",
			[]checker.Write{request("lb1", 2, 110*ms), request("lb1", 2, 120*ms)},
			[]checker.Ticket{ticket("lb1", 2, 1, 100*ms)},
			"no valid ticket",
		},
		{
			"two tickets, two writes, the first one slow",
			[]checker.Write{request("lb1", 2, 2*s), request("lb1", 2, 2860*ms)},
			[]checker.Ticket{ticket("lb1", 2, 2, 1900*ms), ticket("lb1", 2, 1, 100*ms)},
			"",
		},
		{"before the ticket", []checker.Write{request("lb1", 2, 105*ms)}, []checker.Ticket{ticket("lb1", 2, 1, 100*ms)}, "no valid ticket"},
		{"long after the ticket", []checker.Write{request("lb1", 2, 5*s)}, []checker.Ticket{ticket("lb1", 2, 1, 100*ms)}, "no valid ticket"},
		{
			"begun too late",
			[]checker.Write{request("lb1", 2, 900*ms)},
			[]checker.Ticket{{Node: "lb1", Epoch: 2, T0: 100 * ms, Granted: 105 * ms, Begun: 890 * ms, Until: 850 * ms}},
			"no valid ticket",
		},
		{
			"begun before it was granted",
			[]checker.Write{request("lb1", 2, 900*ms)},
			[]checker.Ticket{{Node: "lb1", Epoch: 2, T0: 100 * ms, Granted: 105 * ms, Begun: 104 * ms, Until: 850 * ms}},
			"no valid ticket",
		},
		{
			"granted before it was asked for",
			[]checker.Write{request("lb1", 2, 900*ms)},
			[]checker.Ticket{{Node: "lb1", Epoch: 2, T0: 106 * ms, Granted: 105 * ms, Begun: 107 * ms, Until: 850 * ms}},
			"no valid ticket",
		},
		{
			"an old epoch",
			[]checker.Write{request("lb2", 3, 2010*ms), request("lb1", 2, 4010*ms)},
			[]checker.Ticket{ticket("lb1", 2, 1, 4000*ms), ticket("lb2", 3, 1, 2000*ms)},
			"epoch 2 after one of epoch 3",
		},
		{
			"two leaders in an epoch",
			[]checker.Write{request("lb1", 2, 110*ms), request("lb2", 2, 2010*ms)},
			[]checker.Ticket{ticket("lb1", 2, 1, 100*ms), ticket("lb2", 2, 1, 2000*ms)},
			"is also of",
		},
		{"anonymous", []checker.Write{{Token: "lb1", Arrived: 110 * ms}}, nil, "names no leader"},
		{"overlap", nil, []checker.Ticket{ticket("lb1", 2, 1, 100*ms), ticket("lb2", 3, 1, 600*ms)}, "overlap"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := checker.Rights(checker.History{Writes: c.writes, Tickets: c.tickets})
			if c.want == "" {
				expect(t, got, "", nil)
				return
			}
			expect(t, got, "P1", []string{c.want})
			if len(got) != 1 {
				t.Errorf("violations %q, want one", got)
			}
		})
	}
}
