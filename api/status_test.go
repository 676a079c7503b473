package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/api"
)

var update = flag.Bool("update", false, "rewrite golden files")

// sampleStatus is a small cluster in which every field has a value.
func sampleStatus() api.Status {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	contact := int64(12)
	return api.Status{
		Cluster: "web", Time: at, Version: "1.2.3", Self: "lb1",
		Raft: api.Raft{State: "Leader", Term: 4, Leader: "lb1", Quorum: 2, Voters: 3, Tolerates: 1, LastContactMS: &contact},
		Members: []api.Member{{
			ID: "lb1", Address: "10.0.0.1:7400", Role: "balancer", Voter: true, State: api.StateMaster,
			Priority: 150, EffectivePriority: 130, Eligible: true, Drain: &api.Drain{Since: at, Until: &at}, Instance: "1001", Version: "1.2.3", ConfigDigest: "ab12",
			Checks: []api.Check{{Name: "haproxy", OK: false, Weight: -20, Output: "no usable backend", Since: at}},
		}},
		FloatingIPs: []api.FloatingIP{{
			IP: "203.0.113.10", Holder: "lb1", Instance: "1001", State: api.IPClaimed, VerifiedAt: &at, Term: 4, Since: &at,
		}},
		LastTransition: &api.Transition{
			At: at, From: "lb2", To: "lb1", Reason: "lb1 outranks lb2",
			StagesMS: api.Stages{Elect: 3.2, Claim: 41, Confirm: 420.5, Total: 464.7},
		},
		Warnings: []string{"lb1: no usable backend"},
	}
}

// TestStatusJSON holds the format that scripts and other tools are written against.
func TestStatusJSON(t *testing.T) {
	empty := api.Status{Members: []api.Member{}, FloatingIPs: []api.FloatingIP{}, Warnings: []string{}}
	for name, status := range map[string]api.Status{"full": sampleStatus(), "empty": empty} {
		t.Run(name, func(t *testing.T) {
			got, err := json.MarshalIndent(status, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			file := "testdata/status-" + name + ".json"
			if *update {
				if err := os.WriteFile(file, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(bytes.TrimSpace(want), got) {
				t.Errorf("the JSON changed (rewrite with -update only if operators are told):\n%s", got)
			}
		})
	}
}

func TestMillis(t *testing.T) {
	for d, want := range map[time.Duration]float64{
		0: 0, 49 * time.Microsecond: 0, 51 * time.Microsecond: 0.1, 1234567 * time.Nanosecond: 1.2, 3 * time.Second: 3000,
	} {
		if got := api.Millis(d); got != want {
			t.Errorf("Millis(%v) = %v, want %v", d, got, want)
		}
	}
}
