package checker_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/buoy-lb/buoy/test/lab/checker"
)

// TestJudgeTakesAnything: whatever the record says, the judge says the same of it twice,
// in order of time, and leaves it as it was.
func TestJudgeTakesAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := randomHistory(t)
		before := h
		before.Truth, before.Writes, before.Holders = slices.Clone(h.Truth), slices.Clone(h.Writes), slices.Clone(h.Holders)
		before.Tickets, before.Roles = slices.Clone(h.Tickets), slices.Clone(h.Roles)
		before.Samples, before.Acks = slices.Clone(h.Samples), slices.Clone(h.Acks)
		first, second := checker.Judge(h), checker.Judge(before)
		if !reflect.DeepEqual(first, second) {
			t.Errorf("judged %q, then %q", first, second)
		}
		if !slices.IsSortedFunc(first, func(a, b checker.Violation) int { return int(a.At - b.At) }) {
			t.Errorf("out of order: %q", first)
		}
		if !reflect.DeepEqual(h, before) {
			t.Errorf("judging changed %+v to %+v", before, h)
		}
	})
}

// randomHistory has few names and times, so that they meet.
func randomHistory(t *rapid.T) checker.History {
	name := rapid.SampledFrom([]string{"", "lb1", "lb2", "lb3", "lb4", checker.Outside, checker.Cloud})
	at := rapid.Map(rapid.IntRange(-2, 40), func(n int) time.Duration { return time.Duration(n) * s / 4 })
	small := rapid.Uint64Range(0, 3)
	yes := rapid.Bool()
	condition := rapid.Custom(func(t *rapid.T) checker.Condition {
		return checker.Condition{Serving: yes.Draw(t, "serving"), Daemon: yes.Draw(t, "daemon"), Voter: yes.Draw(t, "voter"), API: yes.Draw(t, "api")}
	})
	pair := rapid.Custom(func(t *rapid.T) [2]string { return [2]string{name.Draw(t, "from"), name.Draw(t, "to")} })
	return checker.History{
		Setup: checker.Setup{
			System: rapid.SampledFrom([]string{"buoy", "keepalived (usual)"}).Draw(t, "system"),
			Assign: at.Draw(t, "assign"), Settle: at.Draw(t, "settle"), Detect: at.Draw(t, "detect"),
			Repair: at.Draw(t, "repair"), Cause: at.Draw(t, "cause"), Minority: at.Draw(t, "minority"),
		},
		End: at.Draw(t, "end"),
		Truth: rapid.SliceOf(rapid.Custom(func(t *rapid.T) checker.Truth {
			return checker.Truth{
				At: at.Draw(t, "at"), Nodes: rapid.MapOfN(name, condition, 0, 4).Draw(t, "nodes"), Cut: rapid.SliceOfN(pair, 0, 3).Draw(t, "cut"),
				MayMove: yes.Draw(t, "may move"), Drift: yes.Draw(t, "drift"), Rough: yes.Draw(t, "rough"),
			}
		})).Draw(t, "truth"),
		Writes: rapid.SliceOf(rapid.Custom(func(t *rapid.T) checker.Write {
			node := name.Draw(t, "node")
			return checker.Write{
				Arrived: at.Draw(t, "arrived"), Accepted: at.Draw(t, "accepted"), Node: node, Token: node,
				Epoch: small.Draw(t, "epoch"), Target: name.Draw(t, "target"), Held: at.Draw(t, "held"),
			}
		})).Draw(t, "writes"),
		Holders: rapid.SliceOf(rapid.Custom(func(t *rapid.T) checker.Holder {
			return checker.Holder{At: at.Draw(t, "at"), To: name.Draw(t, "to"), Foreign: yes.Draw(t, "foreign")}
		})).Draw(t, "holders"),
		Tickets: rapid.SliceOf(rapid.Custom(func(t *rapid.T) checker.Ticket {
			return checker.Ticket{
				Node: name.Draw(t, "node"), Epoch: small.Draw(t, "epoch"), Seq: small.Draw(t, "seq"), T0: at.Draw(t, "t0"),
				Until: at.Draw(t, "until"), Granted: at.Draw(t, "granted"), Begun: at.Draw(t, "begun"), Ended: at.Draw(t, "ended"),
			}
		})).Draw(t, "tickets"),
		Roles: rapid.SliceOf(rapid.Custom(func(t *rapid.T) checker.Role {
			return checker.Role{At: at.Draw(t, "at"), Node: name.Draw(t, "node"), State: "MASTER", Term: small.Draw(t, "term")}
		})).Draw(t, "roles"),
		Samples: rapid.SliceOf(rapid.Custom(func(t *rapid.T) checker.Sample {
			return checker.Sample{
				At: at.Draw(t, "at"), Node: name.Draw(t, "node"), Leads: yes.Draw(t, "leads"), Term: small.Draw(t, "term"),
				Voters: int(small.Draw(t, "voters")), Members: rapid.SliceOfN(name, 0, 3).Draw(t, "members"), Moved: int64(small.Draw(t, "moved")),
			}
		})).Draw(t, "samples"),
		Acks: rapid.SliceOf(rapid.Custom(func(t *rapid.T) checker.Ack {
			return checker.Ack{At: at.Draw(t, "at"), Member: name.Draw(t, "member"), Left: yes.Draw(t, "left")}
		})).Draw(t, "acks"),
	}
}
