package cluster

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/fsm"
)

// bare is a node without raft, for what needs none.
func bare() *Node {
	n := &Node{
		cfg: Config{Member: fsm.Member{ID: "lb1-id", Name: "lb1", Instance: "101"}},
		log: hclog.NewNullLogger(), fsm: fsm.New(), seen: newSightings("lb1-id", time.Now()),
		mail: make(chan func(*loop), 64), stopped: make(chan struct{}), turn: make(chan struct{}, 1),
	}
	start := time.Now()
	n.cfg.Boottime = func() time.Duration { return time.Since(start) }
	return n
}

// entry is c as a log entry of term.
func entry(t *testing.T, index, term uint64, c fsm.Command) *raft.Log {
	t.Helper()
	data, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return &raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: data}
}

// takes has the node store and apply a ticket.
func (n *Node) takes(t *testing.T, tk fsm.Ticket) {
	l := entry(t, 1, tk.Epoch, fsm.Command{Ticket: &tk})
	store := &logStore{raft.NewInmemStore(), n.seen}
	if err := store.StoreLog(l); err != nil {
		t.Fatal(err)
	}
	n.fsm.Apply(l)
}

// another is a tenure of term beside the loop's own, whose tickets are newer.
func another(term uint64) *tenure {
	t := &tenure{term: term}
	t.tickets.Store(100)
	return t
}

func TestForeignTicketIsWaitedOut(t *testing.T) {
	const full = TicketLife + TicketLife/20 + ticketSlack
	foreign := fsm.Ticket{Epoch: 5, Node: "lb2-id", Seq: 1, Life: TicketLife}
	for name, tc := range map[string]struct {
		past func(t *testing.T, n *Node)
		want time.Duration
	}{
		"none ever": {func(*testing.T, *Node) {}, 0},
		"just stored": {func(t *testing.T, n *Node) {
			time.Sleep(time.Hour)
			n.takes(t, foreign)
		}, full},
		"stored a while ago": {func(t *testing.T, n *Node) {
			n.takes(t, foreign)
			time.Sleep(300 * time.Millisecond)
		}, full - 300*time.Millisecond},
		"long gone": {func(t *testing.T, n *Node) {
			n.takes(t, foreign)
			time.Sleep(full)
		}, 0},
		"found on disk, counted from the process's start": {func(t *testing.T, n *Node) {
			n.fsm.Apply(entry(t, 1, 5, fsm.Command{Ticket: &foreign}))
			time.Sleep(100 * time.Millisecond)
		}, full - 100*time.Millisecond},
		"arrived in a snapshot": {func(t *testing.T, n *Node) {
			time.Sleep(time.Hour)
			n.fsm.Apply(entry(t, 1, 5, fsm.Command{Ticket: &foreign}))
			n.seen.restored(time.Now())
		}, full},
		"released": {func(t *testing.T, n *Node) {
			n.takes(t, foreign)
			n.fsm.Apply(entry(t, 2, 5, fsm.Command{Release: &foreign}))
		}, 0},
		"another one released": {func(t *testing.T, n *Node) {
			n.takes(t, foreign)
			n.fsm.Apply(entry(t, 2, 5, fsm.Command{Release: &fsm.Ticket{Epoch: 5, Node: "lb2-id", Seq: 2}}))
		}, full},
		"its own": {func(t *testing.T, n *Node) {
			n.takes(t, fsm.Ticket{Epoch: 5, Node: "lb1-id", Seq: 1, Life: TicketLife})
		}, 0},
		"a longer life than ours": {func(t *testing.T, n *Node) {
			n.takes(t, fsm.Ticket{Epoch: 5, Node: "lb2-id", Seq: 1, Life: 2 * time.Second})
		}, 2*time.Second + 100*time.Millisecond + ticketSlack},
		"a shorter life than ours": {func(t *testing.T, n *Node) {
			n.takes(t, fsm.Ticket{Epoch: 5, Node: "lb2-id", Seq: 1, Life: time.Millisecond})
		}, full},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := bare()
				tc.past(t, n)
				began := time.Now()
				if err := n.awaitForeignTicket(context.Background()); err != nil {
					t.Fatal(err)
				}
				if got := time.Since(began); got != tc.want {
					t.Errorf("waited %v, want %v", got, tc.want)
				}
			})
		})
	}
}

func TestTheWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := bare()
		n.takes(t, fsm.Ticket{Epoch: 5, Node: "lb2-id", Seq: 1, Life: time.Hour})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := n.takeTicket(ctx, &tenure{term: 6}); !errors.Is(err, errNoTicket) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want no ticket for lack of time", err)
		}
	})
}

// TestTicketEnds takes a ticket of a real leader and spoils it in every way there is.
func TestTicketEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(w *world, tk *ticket, cancel context.CancelFunc)
		want  string // in the error; empty: still valid
	}{
		"fresh":          {func(*world, *ticket, context.CancelFunc) {}, ""},
		"almost over":    {func(*world, *ticket, context.CancelFunc) { time.Sleep(TicketLife - time.Millisecond) }, ""},
		"over":           {func(*world, *ticket, context.CancelFunc) { time.Sleep(TicketLife) }, "valid for 750ms"},
		"given back":     {func(_ *world, tk *ticket, _ context.CancelFunc) { tk.end() }, "given back"},
		"action ended":   {func(_ *world, _ *ticket, cancel context.CancelFunc) { cancel() }, "context canceled"},
		"machine slept":  {func(_ *world, tk *ticket, _ context.CancelFunc) { tk.t0.boot -= 2 * clockSlack }, "suspended"},
		"clock stood":    {func(_ *world, tk *ticket, _ context.CancelFunc) { tk.t0.boot += 2 * clockSlack }, "suspended"},
		"slept for long": {func(_ *world, tk *ticket, _ context.CancelFunc) { tk.t0.boot -= time.Hour }, "suspended"},
		"scheduling noise": {func(_ *world, tk *ticket, _ context.CancelFunc) {
			tk.t0.boot -= clockSlack / 2
		}, ""},
		"leadership lost": {func(w *world, _ *ticket, _ context.CancelFunc) {
			w.boxes["lb2"].campaign()
			time.Sleep(100 * time.Millisecond)
		}, "leadership of term"},
		"cut off": {func(w *world, _ *ticket, _ context.CancelFunc) {
			w.isolate("lb1", true)
			time.Sleep(2 * testLAN.Lease)
		}, "leadership of term"},
	} {
		t.Run(name, func(t *testing.T) {
			three(t, func(t *testing.T, w *world) {
				n := w.boxes["lb1"].node
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				tk, err := n.takeTicket(ctx, another(n.raft.CurrentTerm()))
				w.must(err)
				tc.spoil(w, tk, cancel)
				err = tk.check()
				switch {
				case tc.want == "" && err != nil:
					t.Errorf("the ticket gives no right: %v", err)
				case tc.want != "" && (!errors.Is(err, errNoTicket) || !strings.Contains(err.Error(), tc.want)):
					t.Errorf("%v, want no ticket: %s", err, tc.want)
				}
			})
		})
	}
}

func TestWriteDoesNotBeginAtTheEndOfATicket(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		n := w.boxes["lb1"].node
		tk, err := n.takeTicket(context.Background(), another(n.raft.CurrentTerm()))
		w.must(err)
		time.Sleep(TicketLife - ticketMargin)
		if err := tk.valid(ticketMargin); !errors.Is(err, errNoTicket) {
			t.Errorf("%v with no more than the margin left, want no ticket", err)
		}
	})
}

func TestSlowCommitGivesNoTicket(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		n := w.boxes["lb1"].node
		resume := w.boxes["lb1"].disk.hang()
		time.AfterFunc(TicketLife-ticketMargin/2, resume)
		if _, err := n.takeTicket(context.Background(), another(n.raft.CurrentTerm())); !errors.Is(err, errNoTicket) {
			t.Errorf("%v after a commit that took almost all of the ticket's life, want no ticket", err)
		}
	})
}

func TestTicketOfAnotherTermIsVoid(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		n := w.boxes["lb1"].node
		before := n.fsm.State().Ticket
		for _, term := range []uint64{n.raft.CurrentTerm() - 1, n.raft.CurrentTerm() + 1} {
			_, err := n.takeTicket(context.Background(), another(term))
			if !errors.Is(err, errNoTicket) || !strings.Contains(err.Error(), "leadership changed") {
				t.Errorf("epoch %d in term %d: %v, want no ticket", term, n.raft.CurrentTerm(), err)
			}
		}
		if after := n.fsm.State().Ticket; after != before {
			t.Errorf("a void ticket was stored: %+v", after)
		}
	})
}

// TestSuspendedGuest freezes the whole machine at every point of a claim: its monotonic
// clock stands still, CLOCK_BOOTTIME goes on. What was proved before gives no right
// afterwards, and a new ticket does.
func TestSuspendedGuest(t *testing.T) {
	for _, d := range []time.Duration{100 * time.Millisecond, 700 * time.Millisecond, TicketLife, 5 * time.Second, time.Minute} {
		t.Run(d.String(), func(t *testing.T) {
			three(t, func(t *testing.T, w *world) {
				b := w.boxes["lb1"]
				var slept atomic.Int64
				suspend := func() { slept.Add(int64(d)) }
				// The same node with a clock that is the claim's alone.
				n := &Node{cfg: b.node.cfg, raft: b.node.raft, fsm: b.node.fsm, seen: b.node.seen, log: b.node.log, turn: make(chan struct{}, 1)}
				n.cfg.Boottime = func() time.Duration { return b.node.cfg.Boottime() + time.Duration(slept.Load()) }
				fence, released := n.fence(another(n.raft.CurrentTerm()))
				defer released()

				resume := b.disk.hang()
				time.AfterFunc(time.Millisecond, func() { suspend(); resume() })
				if _, _, err := fence(context.Background()); !errors.Is(err, errNoTicket) {
					t.Errorf("%v after a suspend while the ticket was committed, want no ticket", err)
				}
				for _, begun := range []bool{false, true} {
					check, done, err := fence(context.Background())
					w.must(err)
					if begun {
						w.must(check())
					}
					suspend()
					if err := check(); !errors.Is(err, errNoTicket) {
						t.Errorf("%v after a suspend, write begun: %t; want no ticket", err, begun)
					}
					done()
				}
				check, done, err := fence(context.Background())
				w.must(err)
				w.must(check())
				done()
			})
		})
	}
}

func TestFenceReleasesOnceAndOnlyWhatStillMatters(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		n := w.boxes["lb1"].node
		fence, released := n.fence(another(n.raft.CurrentTerm()))
		for _, held := range []time.Duration{0, TicketLife} {
			check, done, err := fence(context.Background())
			w.must(err)
			w.must(check())
			time.Sleep(held)
			last := n.raft.LastIndex()
			done()
			done()
			released()
			if err := check(); !errors.Is(err, errNoTicket) {
				t.Errorf("check after done: %v, want no ticket", err)
			}
			matters := held < TicketLife
			if more := n.raft.LastIndex() - last; matters != (more == 1) || more > 1 {
				t.Errorf("done twice after %v: %d entries", held, more)
			}
			if tk := n.fsm.State().Ticket; tk.Released != matters {
				t.Errorf("done after %v: %+v", held, tk)
			}
		}
	})
}

func TestReadingTrustsTheLongerClock(t *testing.T) {
	at := time.Unix(1000, 0)
	from := reading{at, 50 * time.Second}
	for _, tc := range []struct {
		mono, boot, want time.Duration
		agree            bool
	}{
		{time.Second, time.Second, time.Second, true},
		{time.Second, time.Second + clockSlack/2, time.Second + clockSlack/2, true},
		{time.Second, time.Second + clockSlack, time.Second + clockSlack, false},
		{time.Second, time.Hour, time.Hour, false},
		{time.Second, time.Second - clockSlack, time.Second, false},
	} {
		got, agree := from.since(reading{at.Add(tc.mono), from.boot + tc.boot})
		if got != tc.want || agree != tc.agree {
			t.Errorf("monotonic +%v, boottime +%v: %v, %v; want %v, %v", tc.mono, tc.boot, got, agree, tc.want, tc.agree)
		}
	}
}
