package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/fsm"
)

// TestDrainWaits plays what the status says, a look each, the last again and again.
func TestDrainWaits(t *testing.T) {
	status := func(leader, holder string, state api.IPState, eligible ...string) api.Status {
		s := api.Status{Raft: api.Raft{Leader: leader}, FloatingIPs: []api.FloatingIP{{IP: floatingIP, Holder: holder, State: state}}}
		for _, id := range eligible {
			s.Members = append(s.Members, api.Member{ID: id, Eligible: true})
		}
		return s
	}
	before := status("lb1", "lb1", api.IPClaimed, "lb2")
	between := status("", "lb1", api.IPUnverified)
	claiming := status("lb2", "lb1", api.IPClaiming, "lb2")
	done := status("lb2", "lb2", api.IPClaimed, "lb2")
	alone := status("lb1", "lb1", api.IPClaimed)
	for name, tc := range map[string]struct {
		order drainOrder
		looks []api.Status
		said  string
		err   string // it then takes transferWait
	}{
		"moves":                 {drainOrder{}, []api.Status{before, between, claiming, done}, "lb2 leads and holds the address", ""},
		"not waited for":        {drainOrder{noWait: true}, []api.Status{before, between, claiming}, "lb2 leads", ""},
		"by force, and moves":   {drainOrder{force: true}, []api.Status{before, claiming, done}, "lb2 leads and holds the address", ""},
		"by force, and stays":   {drainOrder{force: true}, []api.Status{alone}, "nobody is eligible: the address stays where it is", ""},
		"nobody leads":          {drainOrder{noWait: true}, []api.Status{before, between}, "", "nobody leads"},
		"the others fell sick":  {drainOrder{}, []api.Status{before, alone}, "", "lb1 still leads"},
		"the cloud does not":    {drainOrder{}, []api.Status{claiming}, "", floatingIP + " is claiming, held by lb1"},
		"nobody's":              {drainOrder{}, []api.Status{status("lb2", "", api.IPClaimed)}, "", "held by nobody"},
		"lost, then lb1 leads":  {drainOrder{}, []api.Status{claiming, before}, "", "lb1 still leads"},
		"a third one takes it":  {drainOrder{}, []api.Status{claiming, status("lb3", "lb3", api.IPClaimed)}, "lb3 leads and holds the address", ""},
		"nobody holds anything": {drainOrder{}, []api.Status{{Raft: api.Raft{Leader: "lb2"}}}, "lb2 leads and holds the address", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), transferWait)
				defer cancel()
				tc.order.node = "lb1"
				look := func(context.Context) (api.Status, error) {
					s := tc.looks[0]
					if len(tc.looks) > 1 {
						tc.looks = tc.looks[1:]
					}
					return s, nil
				}
				began := time.Now()
				said, err := tc.order.await(ctx, look, func(string) {})
				if said != tc.said || (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
					t.Errorf("%q, %v; want %q, %q", said, err, tc.said, tc.err)
				}
				if took := time.Since(began); err != nil && took != transferWait {
					t.Errorf("gave up after %v, want %v", took, transferWait)
				}
			})
		})
	}
}

// TestAwaitStatusOutlivesErrors: a daemon that does not answer for a moment is no end.
func TestAwaitStatusOutlivesErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		look := func(context.Context) (api.Status, error) {
			if looks++; looks < 3 {
				return api.Status{}, errors.New("the daemon hangs")
			}
			return api.Status{Self: "lb1"}, nil
		}
		s, err := awaitStatus(t.Context(), look, func(api.Status) string { return "" })
		if s.Self != "lb1" || err != nil {
			t.Errorf("%+v, %v", s, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		looks = -100
		if _, err := awaitStatus(ctx, look, func(api.Status) string { return "" }); !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "the daemon hangs; ") {
			t.Errorf("%v", err)
		}
	})
}

func TestDrainedForPeople(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	s := sample(now)
	s.Members[2].Member.ConfigDigest = "ab"
	mark := func(i int, until time.Time) {
		s.Members[i].Drain = fsm.Drain{Member: s.Members[i].Member.ID, Since: now, Until: until}
		s.Members[i].Reason = s.Members[i].Member.Name + " is drained"
	}
	mark(0, now.Add(30*time.Minute))
	mark(1, now.Add(30*24*time.Hour))
	mark(2, time.Time{})
	s.Members[0].State, s.Members[1].State = cluster.StateDrained, cluster.StateDrained
	view := viewOf(s, now)
	var out strings.Builder
	renderStatus(&out, palette{}, view)
	for _, want := range []string{
		"lb1 *   DRAINED until 12:30                 150       balancer",
		"lb2     DRAINED until 2026-03-31 12:00      80/100    balancer",
		"lb3     UNREACHABLE, drained until undrain  90        balancer",
		"warning lb1 is drained\n", "warning lb2 is drained\n", "warning lb3 does not answer\n",
		"DEGRADED 203.0.113.10 is held by lb1, and lb1 is drained\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if d := view.Members[0].Drain; d == nil || !d.Until.Equal(now.Add(30*time.Minute)) || view.Members[2].Drain.Until != nil {
		t.Errorf("drains in the JSON: %+v, %+v", d, view.Members[2].Drain)
	}
}

// TestAtLeader: an order that may be repeated outlasts a change of leader, and no more.
func TestAtLeader(t *testing.T) {
	nobody, lb2 := &fsm.NotLeaderError{}, &fsm.NotLeaderError{ID: "lb2-x", Name: "lb2", Address: "10.0.0.2:7400"}
	refused := fsm.Refusef("no")
	for name, tc := range map[string]struct {
		here, there []error // one after the other, the last again and again
		want        error
		took        time.Duration
	}{
		"here":                  {[]error{nil}, nil, nil, 0},
		"there":                 {[]error{lb2}, []error{nil}, nil, 0},
		"refused there":         {[]error{lb2}, []error{refused}, refused, 0},
		"after an election":     {[]error{nobody, nobody, lb2}, []error{nil}, nil, 2 * leaderPause},
		"it has just handed on": {[]error{lb2}, []error{nobody, lb2, nil}, nil, 2 * leaderPause},
		"nobody leads":          {[]error{nobody}, nil, nobody, leaderWait},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				next := func(errs *[]error) error {
					err := (*errs)[0]
					if len(*errs) > 1 {
						*errs = (*errs)[1:]
					}
					return err
				}
				began := time.Now()
				err := atLeader(t.Context(), func() error { return next(&tc.here) }, func(l *fsm.NotLeaderError) error {
					if l != lb2 {
						t.Errorf("asked %+v", l)
					}
					return next(&tc.there)
				})
				if took := time.Since(began); !errors.Is(err, tc.want) || took != tc.took {
					t.Errorf("%v after %v; want %v, %v", err, took, tc.want, tc.took)
				}
			})
		})
	}
}
