package cluster

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/fsm"
)

// fullDisk takes nothing.
type fullDisk struct{ raft.LogStore }

func (fullDisk) StoreLogs([]*raft.Log) error { return errors.New("no space left on device") }

func TestSightings(t *testing.T) {
	const long = 3 * time.Second
	ticket := func(node string, life time.Duration) fsm.Command {
		return fsm.Command{Ticket: &fsm.Ticket{Epoch: 5, Node: node, Seq: 1, Life: life}}
	}
	handover := func(to string) fsm.Command { return fsm.Command{Handover: &fsm.Handover{From: "lb3-id", To: to}} }
	for name, tc := range map[string]struct {
		log                *raft.Log
		ticketAt, handover bool
		life               time.Duration
	}{
		"foreign ticket":        {entry(t, 1, 5, ticket("lb2-id", long)), true, false, long},
		"own ticket":            {entry(t, 1, 5, ticket("lb1-id", long)), false, false, 0},
		"hand-over to us":       {entry(t, 1, 5, handover("lb1-id")), false, true, 0},
		"hand-over to another":  {entry(t, 1, 5, handover("lb2-id")), false, false, 0},
		"release":               {entry(t, 1, 5, fsm.Command{Release: &fsm.Ticket{Node: "lb2-id"}}), false, false, 0},
		"unreadable":            {&raft.Log{Index: 1, Type: raft.LogCommand, Data: []byte("{")}, false, false, 0},
		"raft's own entry":      {&raft.Log{Index: 1, Type: raft.LogConfiguration}, false, false, 0},
		"ticket of a newer one": {entry(t, 1, 9, ticket("lb2-id", time.Millisecond)), true, false, time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				seen := newSightings("lb1-id", start)
				time.Sleep(time.Minute)
				store := &logStore{raft.NewInmemStore(), seen}
				if err := store.StoreLog(tc.log); err != nil {
					t.Fatal(err)
				}
				want := start
				if tc.ticketAt {
					want = time.Now()
				}
				if at, life := seen.foreignTicket(); !at.Equal(want) || life != tc.life {
					t.Errorf("ticket seen at %v, life %v; want %v, %v", at.Sub(start), life, want.Sub(start), tc.life)
				}
				if got := !seen.handoverAt().IsZero(); got != tc.handover {
					t.Errorf("hand-over seen: %v, want %v", got, tc.handover)
				}
			})
		})
	}
}

func TestSightingsNeverGoBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := newSightings("lb1-id", time.Now())
		store := &logStore{raft.NewInmemStore(), seen}
		time.Sleep(time.Minute)
		for i, life := range []time.Duration{3 * time.Second, time.Second} {
			if err := store.StoreLog(entry(t, uint64(i+1), 5, fsm.Command{Ticket: &fsm.Ticket{Epoch: 5, Node: "lb2-id", Life: life}})); err != nil {
				t.Fatal(err)
			}
		}
		stored := time.Now()
		time.Sleep(time.Second)
		if err := store.DeleteRange(1, 2); err != nil { // truncated by another leader
			t.Fatal(err)
		}
		full := &logStore{fullDisk{}, seen}
		if err := full.StoreLog(entry(t, 1, 6, fsm.Command{Ticket: &fsm.Ticket{Epoch: 6, Node: "lb2-id"}})); err == nil {
			t.Fatal("the error of the disk was lost")
		}
		if at, life := seen.foreignTicket(); !at.Equal(stored) || life != 3*time.Second {
			t.Errorf("seen %v after it was stored, life %v; want 0s and the longest, 3s", at.Sub(stored), life)
		}
		seen.restored(time.Now())
		if at, _ := seen.foreignTicket(); !at.Equal(time.Now()) {
			t.Errorf("seen %v ago after a snapshot was installed, want now", time.Since(at))
		}
	})
}

func TestQuietLoggerDropsRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := quiet(hclog.New(&hclog.LoggerOptions{Output: &out, Level: hclog.Info}))
		for range 5 {
			log.Error("failed to heartbeat to", "peer", "10.0.0.2", "backoff", time.Now())
			log.Error("failed to heartbeat to", "peer", "10.0.0.3")
			log.Warn("election timeout reached")
			log.Info("entering leader state")
			time.Sleep(time.Second)
		}
		time.Sleep(repeatInterval)
		log.Error("failed to heartbeat to", "peer", "10.0.0.2")
		for text, want := range map[string]int{"10.0.0.2": 2, "10.0.0.3": 1, "election timeout": 1, "entering leader": 5} {
			if got := strings.Count(out.String(), text); got != want {
				t.Errorf("%q logged %d times, want %d", text, got, want)
			}
		}
	})
}
