package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buoy-lb/buoy/fsm"
)

// askedPause is an error of a cloud that says when to come back.
type askedPause time.Duration

func (e askedPause) Error() string             { return "429" }
func (e askedPause) RetryDelay() time.Duration { return time.Duration(e) }

func TestRetryPause(t *testing.T) {
	plain := errors.New("500")
	for _, tc := range []struct {
		failures int
		failing  time.Duration
		err      error
		least    time.Duration
		most     time.Duration
	}{
		{0, 0, plain, 250 * time.Millisecond, 250 * time.Millisecond},
		{1, 250 * time.Millisecond, plain, 500 * time.Millisecond, 500 * time.Millisecond},
		{2, time.Second, plain, time.Second, time.Second},
		{3, 2 * time.Second, plain, 2 * time.Second, 2 * time.Second},
		{4, 4 * time.Second, plain, 1800 * time.Millisecond, 2200 * time.Millisecond},
		{40, time.Minute, plain, 1800 * time.Millisecond, 2200 * time.Millisecond},
		{60, 2 * time.Minute, plain, 8550 * time.Millisecond, 10450 * time.Millisecond},
		{1000, 24 * time.Hour, plain, 13500 * time.Millisecond, 16500 * time.Millisecond},
		{0, 0, fmt.Errorf("look: %w", askedPause(40*time.Second)), 40 * time.Second, 40 * time.Second},
		{3, 0, askedPause(time.Millisecond), 2 * time.Second, 2 * time.Second},
	} {
		for range 20 {
			if got := retryPause(tc.failures, tc.failing, tc.err); got < tc.least || got > tc.most {
				t.Errorf("after %d failures in %v (%v): %v, want %v to %v", tc.failures+1, tc.failing, tc.err, got, tc.least, tc.most)
			}
		}
	}
}

// TestAddressStates walks one address through the outcomes of looks and claims.
func TestAddressStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := leads()
		defer l.tenure.cancel()
		l.cfg.VerifyInterval = 30 * time.Second
		a := &address{state: AddressClaiming}
		l.tenure.ips = map[netip.Addr]*address{testIP: a}
		here := Outcome{Instance: "101", From: "101"}
		elsewhere := Outcome{Instance: "101", From: "102"}
		own, shared := error(testFault{own: true}), error(testFault{})
		for i, step := range []struct {
			out   Outcome
			err   error
			state AddressState
			own   int
			due   time.Duration // at most
		}{
			{Outcome{}, context.Canceled, AddressClaiming, 0, 250 * time.Millisecond}, // never at once
			{Outcome{}, shared, AddressClaiming, 0, 250 * time.Millisecond},
			{Outcome{Instance: "101", Moved: true, From: "102"}, nil, AddressClaimed, 0, guards[0]},
			{here, nil, AddressClaimed, 0, guards[1]},
			{here, nil, AddressClaimed, 0, guards[2]},
			{Outcome{}, own, AddressUnverified, 1, 250 * time.Millisecond},
			{Outcome{}, own, AddressUnverified, 2, 500 * time.Millisecond},
			{Outcome{}, shared, AddressUnverified, 0, time.Second},
			{here, nil, AddressClaimed, 0, guards[3]},
			{elsewhere, shared, AddressLost, 0, 250 * time.Millisecond},
			{elsewhere, context.Canceled, AddressLost, 0, 250 * time.Millisecond}, // our own doing
			{Outcome{Instance: "101", Moved: true, From: "102"}, nil, AddressClaimed, 0, guards[0]},
		} {
			if step.err != nil {
				l.claimFailed(l.tenure, testIP, step.out, step.err)
			} else {
				l.claimed(l.tenure, testIP, step.out)
			}
			due := time.Until(a.due)
			if a.state != step.state || a.ownFaults != step.own || due <= 0 || due > step.due {
				t.Errorf("step %d: %s, %d own faults, due in %v; want %s, %d, %v", i, a.state, a.ownFaults, due, step.state, step.own, step.due)
			}
		}
		if n := len(l.tenure.history); n != 2 {
			t.Errorf("%d moves on record, want 2", n)
		}
		for range guards {
			l.claimed(l.tenure, testIP, here)
		}
		if due := time.Until(a.due); due < 24*time.Second || due > 36*time.Second {
			t.Errorf("at rest the next look is in %v, want 30s, 20%% more or less", due)
		}
	})
}

func TestOriginOfATenure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const second = time.Second
		time.Sleep(time.Hour)
		now := time.Now()
		ago := func(d time.Duration) time.Time { return now.Add(-d) }
		told := fsm.Handover{From: "lb2-id", To: "lb1-id", Reason: "lb2 is in FAULT", Term: 6, Detect: 30 * time.Millisecond}
		silent := lastLeader{name: "lb2", contact: ago(3 * second), candidateAt: ago(second)}
		for name, tc := range map[string]struct {
			told   fsm.Handover
			stored time.Time
			lost   lastLeader
			want   origin
		}{
			"the first of all":       {want: origin{reason: "first leader"}},
			"a hand-over":            {told, ago(second), silent, origin{reason: "lb2 is in FAULT", detect: 30 * time.Millisecond, elect: second}},
			"an election":            {fsm.Handover{}, time.Time{}, silent, origin{reason: "leader lb2 fell silent", detect: 2 * second, elect: second}},
			"a hand-over long ago":   {told, ago(handoverFresh), silent, origin{reason: "leader lb2 fell silent", detect: 2 * second, elect: second}},
			"a hand-over on disk":    {told, time.Time{}, silent, origin{reason: "leader lb2 fell silent", detect: 2 * second, elect: second}},
			"a hand-over to another": {fsm.Handover{To: "lb3-id", Term: 6}, ago(second), silent, origin{reason: "leader lb2 fell silent", detect: 2 * second, elect: second}},
			"a contact after it stood": {
				lost: lastLeader{name: "lb2", contact: now, candidateAt: ago(second)},
				want: origin{reason: "leader lb2 fell silent", elect: second},
			},
			"itself": {
				lost: lastLeader{name: "lb1", contact: ago(time.Hour), candidateAt: ago(second)},
				want: origin{reason: "lost the majority and found it again", elect: second},
			},
			"several terms on": {
				told: fsm.Handover{To: "lb1-id", Reason: "asked", Term: 3}, stored: ago(second),
				want: origin{reason: "asked", elect: second},
			},
		} {
			l := leads()
			l.tenure.cancel()
			l.fsm.Apply(entry(t, 1, tc.told.Term, fsm.Command{Handover: &tc.told}))
			l.seen.handover, l.lost, l.tenure.readyAt = tc.stored, tc.lost, now
			got, want := l.originOf(l.tenure), tc.want
			if got.reason != want.reason || got.detect != want.detect || got.elect != want.elect {
				t.Errorf("%s: %+v, want %+v", name, got, want)
			}
		}
	})
}

// TestStagesAddUp: how the tenure began explains the first move of each address, and no later one.
func TestStagesAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := leads()
		defer l.tenure.cancel()
		l.tenure.origin = origin{reason: "lb2 is in FAULT", detect: 40 * time.Millisecond, elect: 20 * time.Millisecond}
		other := netip.MustParseAddr("2001:db8::10")
		l.tenure.ips = map[netip.Addr]*address{testIP: {}, other: {}}
		move := func(ip netip.Addr, reason string, want fsm.Stages) {
			t.Helper()
			time.Sleep(200 * time.Millisecond)
			l.tenure.ips[ip].ask(time.Now(), false)
			time.Sleep(100 * time.Millisecond)
			accepted := time.Now()
			time.Sleep(200 * time.Millisecond)
			l.claimed(l.tenure, ip, Outcome{Moved: true, Instance: "101", From: "102", Accepted: accepted, Confirmed: time.Now()})
			got := l.tenure.history[len(l.tenure.history)-1]
			if got.Reason != reason || got.Stages != want {
				t.Errorf("%s: %+v, want %+v, %s", got.Reason, got.Stages, want, reason)
			}
		}
		const ms = time.Millisecond
		move(testIP, "lb2 is in FAULT", fsm.Stages{Detect: 40 * ms, Elect: 20 * ms, Claim: 300 * ms, Confirm: 200 * ms})
		move(other, "lb2 is in FAULT", fsm.Stages{Detect: 40 * ms, Elect: 20 * ms, Claim: 800 * ms, Confirm: 200 * ms})
		time.Sleep(time.Hour)
		move(testIP, "the address had been moved away", fsm.Stages{Detect: time.Hour + 700*ms, Claim: 100 * ms, Confirm: 200 * ms})
	})
}

// TestStagesOfWhatIsNotKnown: a lost reply, and a provider that cannot tell who holds the
// address, leave times out; the record must not take that for the year 1.
func TestStagesOfWhatIsNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ms = time.Millisecond
		for name, tc := range map[string]struct {
			out  func(accepted, confirmed time.Time) Outcome
			want fsm.Stages
		}{
			"the reply was lost": {
				func(_, confirmed time.Time) Outcome { return Outcome{Confirmed: confirmed} },
				fsm.Stages{Claim: 300 * ms},
			},
			"nobody can tell": {
				func(accepted, _ time.Time) Outcome { return Outcome{Unverified: true, Accepted: accepted} },
				fsm.Stages{Claim: 100 * ms, Confirm: 200 * ms},
			},
		} {
			l := leads()
			l.tenure.ips = map[netip.Addr]*address{testIP: {}}
			time.Sleep(100 * ms)
			accepted := time.Now()
			time.Sleep(200 * ms)
			out := tc.out(accepted, time.Now())
			out.Moved, out.Instance, out.From = true, "101", "102"
			l.claimed(l.tenure, testIP, out)
			l.tenure.cancel()
			if got := l.tenure.history[0]; got.Stages != tc.want || !got.At.Equal(time.Now()) {
				t.Errorf("%s: at %v, %+v; want now, %+v", name, got.At, got.Stages, tc.want)
			}
		}
	})
}

// TestGuards: after a claim the address is looked at 2, 5, 10, 20 and 40 s later, then each
// verify interval, 20 % more or less.
func TestGuards(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		time.Sleep(time.Minute)
		w.boxes["lb1"].quit()
		w.settles("lb2", time.Second)
		began := time.Since(w.start)
		before := w.cloud.looked()
		time.Sleep(3 * time.Minute)
		w.cloud.mu.Lock()
		looks := slices.Clone(w.cloud.looks[before:])
		w.cloud.mu.Unlock()
		for i, at := range []time.Duration{2, 5, 10, 20, 40} {
			if got := looks[i] - began; got < at*time.Second-100*time.Millisecond || got > at*time.Second+100*time.Millisecond {
				t.Errorf("look %d comes %v after the claim, want %v s", i+1, got, at)
			}
		}
		for i := 5; i < len(looks); i++ {
			if gap := looks[i] - looks[i-1]; gap < 24*time.Second || gap > 36*time.Second {
				t.Errorf("look %d comes %v after the one before", i+1, gap)
			}
		}
	})
}

// TestAMoveIsOnRecordBeforeTheNext: a leader that hands over as soon as it holds the
// address must have told so.
func TestAMoveIsOnRecordBeforeTheNext(t *testing.T) {
	three(t, func(t *testing.T, w *world) {
		w.cloud.setLatency(600 * time.Millisecond)
		before := w.cloud.attempts()
		w.boxes["lb1"].fault()
		for w.cloud.attempts() == before {
			time.Sleep(time.Millisecond)
		}
		// lb2 finishes its claim and hands back, while the news of lb1 is in its write.
		time.Sleep(590 * time.Millisecond)
		resume := w.boxes["lb2"].disk.hang()
		time.Sleep(20 * time.Millisecond) // the ticket's release is on its way to the disk
		w.boxes["lb1"].heal()
		time.Sleep(20 * time.Millisecond)
		resume()
		w.settles("lb1", 5*time.Second)
		time.Sleep(time.Second)
		var moves []string
		for _, tr := range w.boxes["lb3"].node.fsm.State().Transitions {
			moves = append(moves, tr.From+">"+tr.To)
			if s := tr.Stages; tr.From != "" && (s.Claim < 600*time.Millisecond || s.Claim > 2*time.Second || s.Elect < 0) {
				t.Errorf("stages of a move by hand-over: %+v", tr)
			}
		}
		if got := strings.Join(moves, " "); got != ">lb1 lb1>lb2 lb2>lb1" {
			t.Errorf("moves on record: %s", got)
		}
	})
}
