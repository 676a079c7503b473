package checker_test

import (
	"slices"
	"time"

	"github.com/buoy-lb/buoy/test/lab/checker"
)

// cutAt ends a history early; breakIt goes on from there.
func cutAt(end time.Duration, breakIt func(*history)) func(*history) {
	return func(h *history) {
		h.End = end
		h.Truth = slices.DeleteFunc(h.Truth, func(t checker.Truth) bool { return t.At >= end })
		h.Writes = slices.DeleteFunc(h.Writes, func(w checker.Write) bool { return w.Arrived >= end })
		h.Holders = slices.DeleteFunc(h.Holders, func(x checker.Holder) bool { return x.At >= end })
		h.Tickets = slices.DeleteFunc(h.Tickets, func(t checker.Ticket) bool { return t.T0 >= end })
		h.Roles = slices.DeleteFunc(h.Roles, func(r checker.Role) bool { return r.At >= end })
		h.Samples = slices.DeleteFunc(h.Samples, func(s checker.Sample) bool { return s.At >= end })
		breakIt(h)
	}
}

// dropMove makes the cloud do nothing where it changed the holder for the nth time.
func (h *history) dropMove(n int) { h.Holders = slices.Delete(h.Holders, n, n+1) }

// unservedFor has all of the client's requests fail from 60 s on.
func unservedFor(d time.Duration) func(*history) {
	return func(h *history) {
		for at := 60 * s; at < 60*s+d; at += 100 * ms {
			h.Requests = append(h.Requests, checker.Request{Begun: at, Ended: at + 100*ms, Error: "no route"})
		}
		h.Requests = append(h.Requests, checker.Request{Begun: 60*s + d, Ended: 60*s + d + ms, OK: true, By: "lb1"})
	}
}

// oldWrite is one of lb2, begun shortly before lb1 took over at 40 s.
func oldWrite(arrived time.Duration) func(*history) {
	return func(h *history) {
		h.ticket("lb2", 3, 2, 39500*ms)
		h.write("lb2", 3, arrived).Accepted = 0
	}
}

// sickTarget gives the address to lb3 for a moment, whose HAProxy died at 50 s.
func sickTarget(at time.Duration) func(*history) {
	return cutAt(49*s, func(h *history) {
		h.End = 60 * s
		h.truth(50*s, "kill HAProxy on lb3", checker.Truth{MayMove: true}).serving("lb3", false)
		h.Holders = append(h.Holders, checker.Holder{At: at, To: "lb3"}, checker.Holder{At: 53500 * ms, To: "lb1"})
	})
}

// moveAt has lb2 claim the address at t0, and ends the history after that.
func moveAt(t0 time.Duration) func(*history) {
	return cutAt(t0-ms, func(h *history) {
		h.claim(t0, "lb2", 5, 1)
		h.End = t0 + 5*s
	})
}

// minority has lb1 write at t0 when nobody reaches anybody from 50 s on.
func minority(t0 time.Duration) func(*history) {
	return cutAt(50*s, func(h *history) {
		h.truth(50*s, "cut all", checker.Truth{MayMove: true}).cut("lb1", "lb2", "lb3").cut("lb2", "lb3")
		h.ticket("lb1", 4, 2, t0)
		h.write("lb1", 4, t0+10*ms)
		h.End = 60 * s
	})
}
