package cluster

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

var testIP6 = netip.MustParseAddr("2001:db8::10")

// twoAddresses is a cluster of three with an IPv4 and an IPv6 address, at rest on lb1.
func twoAddresses(t *testing.T, body func(t *testing.T, w *world)) {
	t.Helper()
	bubble(t, func(t *testing.T, w *world) {
		for i, name := range []string{"lb1", "lb2", "lb3"} {
			w.add(name, 150-50*i, func(b *box) { b.ips = []netip.Addr{testIP, testIP6} })
		}
		w.form("lb1", "lb2", "lb3")
		w.settles("lb1", 10*time.Second)
		time.Sleep(2 * time.Minute)
		if h := w.cloud.holderOf(testIP6); h != "lb1" {
			t.Fatalf("%s is held by %s, want lb1", testIP6, h)
		}
		body(t, w)
	})
}

// TestAddressesMoveSideBySide: a cloud that takes long over one address does not keep the
// other, and the node is MASTER when it has both.
func TestAddressesMoveSideBySide(t *testing.T) {
	twoAddresses(t, func(t *testing.T, w *world) {
		w.cloud.slows(testIP, 10*time.Second)
		w.boxes["lb1"].fault()
		time.Sleep(time.Second)
		s := w.boxes["lb2"].node.Status()
		if s.Members[1].State != StateClaiming {
			t.Errorf("lb2 is %s, want CLAIMING", s.Members[1].State)
		}
		if v4, v6 := s.Addresses[0], s.Addresses[1]; v4.State != AddressClaiming || v4.Held || v6.State != AddressClaimed || !v6.Held || v6.Holder != "lb2" {
			t.Errorf("after a second %+v\n%+v; want IPv6 to be claimed, and IPv4 on its way", v4, v6)
		}
		time.Sleep(10 * time.Second)
		s = w.boxes["lb2"].node.Status()
		if s.Members[1].State != StateMaster {
			t.Errorf("lb2 is %s in the end, want MASTER", s.Members[1].State)
		}
		confirm := map[netip.Addr]time.Duration{}
		for _, tr := range w.boxes["lb3"].node.fsm.State().Transitions[2:] {
			confirm[tr.IP] = tr.Stages.Confirm
			if tr.From != "lb1" || tr.To != "lb2" || tr.Reason != "lb1 is in FAULT: haproxy; lb2 takes over" || tr.Stages.Claim > 100*time.Millisecond {
				t.Errorf("%+v", tr)
			}
		}
		if confirm[testIP] != 10*time.Second || confirm[testIP6] > 100*time.Millisecond {
			t.Errorf("confirmed after %v", confirm)
		}
		w.cloud.slows(testIP, 0)
		w.stays(10 * time.Minute)
		w.cloud.disciplined(t)
	})
}

// TestOneAddressOfTwo: what works is done, and what does not is named.
func TestOneAddressOfTwo(t *testing.T) {
	twoAddresses(t, func(t *testing.T, w *world) {
		w.cloud.breaks(testIP, testFault{})
		w.boxes["lb1"].fault()
		time.Sleep(10 * time.Second)
		s := w.boxes["lb2"].node.Status()
		v4, v6 := s.Addresses[0], s.Addresses[1]
		if v4.Held || v4.Error != "cloud fault (own: false)" || !v6.Held || v6.State != AddressClaimed || v6.Error != "" {
			t.Errorf("%+v\n%+v", v4, v6)
		}
		if s.Members[1].State != StateClaiming {
			t.Errorf("lb2 is %s, want CLAIMING", s.Members[1].State)
		}
		w.cloud.breaks(testIP, nil)
		w.settles("lb2", 5*time.Second)
		w.cloud.disciplined(t)
	})
}

// TestAddressThatAllAreRefused, because it is gone, leaves the other one a successor.
func TestAddressThatAllAreRefused(t *testing.T) {
	twoAddresses(t, func(t *testing.T, w *world) {
		w.cloud.breaks(testIP6, testFault{own: true})
		time.Sleep(2 * selfTestInterval)
		for _, m := range w.boxes["lb1"].node.Status().Members {
			if !m.Eligible {
				t.Errorf("%s is not eligible: %s", m.Member.Name, m.Reason)
			}
		}
		w.boxes["lb1"].fault()
		w.until(func() bool { return w.cloud.holderOf(testIP) == "lb2" })
		w.cloud.breaks(testIP6, nil)
		w.until(func() bool { return w.cloud.holderOf(testIP6) == "lb2" })
		w.cloud.disciplined(t)
	})
}

// TestAbortEndsAllClaims: with two claims in flight the leader is as free to go as with one.
func TestAbortEndsAllClaims(t *testing.T) {
	twoAddresses(t, func(t *testing.T, w *world) {
		for _, ip := range []netip.Addr{testIP, testIP6} {
			w.cloud.slows(ip, time.Minute)
		}
		w.boxes["lb1"].fault()
		w.until(func() bool { return len(w.cloud.writes()) == 4 }) // 2 to form, 2 by lb2
		w.cloud.slows(testIP, 0)
		w.cloud.slows(testIP6, 0)
		w.boxes["lb2"].fault()
		w.settles("lb3", 500*time.Millisecond)
		time.Sleep(100 * time.Millisecond)
		if h := w.cloud.holderOf(testIP6); h != "lb3" {
			t.Errorf("%s is held by %s, want lb3", testIP6, h)
		}
		w.cloud.disciplined(t)
	})
}

// TestTicketsOfANodeTakeTurns: one is in use at a time, the newest, and only its release
// counts.
func TestTicketsOfANodeTakeTurns(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		n := w.boxes["lb1"].node
		fence, released := n.fence(another(n.raft.CurrentTerm()))
		check, done, err := fence(context.Background())
		w.must(err)
		first := n.fsm.State().Ticket
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if _, _, err := fence(ctx); !errors.Is(err, errNoTicket) {
			t.Errorf("%v beside a ticket in use, want none", err)
		}
		w.must(check()) // which is as good as before
		second := make(chan func(), 1)
		go func() {
			_, done, err := fence(context.Background())
			if err != nil {
				t.Error(err)
			}
			second <- done
		}()
		time.Sleep(50 * time.Millisecond)
		if tk := n.fsm.State().Ticket; tk != first {
			t.Errorf("ticket %d was taken while %d is in use", tk.Seq, first.Seq)
		}
		resume := w.boxes["lb1"].disk.hang() // so that the release comes late
		done()
		time.Sleep(50 * time.Millisecond)
		resume()
		done = <-second
		w.must(n.raft.Barrier(time.Second).Error())
		if tk := n.fsm.State().Ticket; tk.Seq <= first.Seq || tk.Released {
			t.Errorf("%+v is the newest, and in use", tk)
		}
		if _, err := n.apply(context.Background(), fsm.Command{Release: &first}, time.Second); err != nil {
			t.Fatal(err)
		}
		if tk := n.fsm.State().Ticket; tk.Released {
			t.Error("the release of the older ticket freed the newer")
		}
		done()
		released()
		if tk := n.fsm.State().Ticket; !tk.Released {
			t.Errorf("%+v after its release", tk)
		}
	})
}
