package fsm

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func survivor(id string, priority int, health Health, change func(*Candidate)) Candidate {
	c := Candidate{
		Member: Member{ID: id, Name: id, Address: "10.0.0." + id[2:] + ":7400", Role: RoleBalancer, Priority: priority},
		Report: &Report{Member: id, Health: health, Priority: priority}, Voter: true, Reachable: true, CaughtUp: true,
	}
	if change != nil {
		change(&c)
	}
	return c
}

func TestTurn(t *testing.T) {
	witness := func(c *Candidate) { c.Member.Role = RoleWitness }
	damped := func(c *Candidate) { c.Report.Damped = true }
	lags := func(c *Candidate) { c.CaughtUp = false }
	for name, c := range map[string]struct {
		survivors []Candidate
		want      []string // who stands, in turn
	}{
		"by priority":              {[]Candidate{survivor("lb1", 50, HealthOK, nil), survivor("lb2", 100, HealthOK, nil)}, []string{"lb2", "lb1"}},
		"a tie, by address":        {[]Candidate{survivor("lb1", 100, HealthOK, nil), survivor("lb2", 100, HealthOK, nil)}, []string{"lb2", "lb1"}},
		"a sick one does not":      {[]Candidate{survivor("lb1", 150, HealthFault, nil), survivor("lb2", 100, HealthOK, nil)}, []string{"lb2"}},
		"nor one that lags":        {[]Candidate{survivor("lb1", 150, HealthOK, lags), survivor("lb2", 100, HealthOK, nil)}, []string{"lb2"}},
		"a damped one comes later": {[]Candidate{survivor("lb1", 150, HealthOK, damped), survivor("lb2", 100, HealthOK, nil)}, []string{"lb2", "lb1"}},
		"nor a witness":            {[]Candidate{survivor("lb1", 250, HealthOK, witness), survivor("lb2", 100, HealthDegraded, nil)}, []string{"lb2"}},
		"all sick: all":            {[]Candidate{survivor("lb1", 150, HealthFault, nil), survivor("lb2", 100, HealthUnknown, nil)}, []string{"lb1", "lb2"}},
		"all sick: witnesses last": {[]Candidate{survivor("lb1", 250, HealthOK, witness), survivor("lb2", 100, HealthFault, nil)}, []string{"lb2", "lb1"}},
		"nobody":                   {nil, nil},
	} {
		var got []string
		for range c.survivors {
			got = append(got, "")
		}
		n := 0
		for _, s := range c.survivors {
			if turn, ok := Turn(s.Member.ID, c.survivors); ok {
				got[turn] = s.Member.ID
				n++
			}
		}
		if got = got[:n]; !slices.Equal(got, c.want) {
			t.Errorf("%s: %v stand, want %v", name, got, c.want)
		}
		if _, ok := Turn("lb9", c.survivors); ok {
			t.Errorf("%s: a stranger stands", name)
		}
	}
}

// TestTurnsAreDistinct: whoever asks, and in whatever order the answers came in, no two
// have the same turn, and the turns have no gaps.
func TestTurnsAreDistinct(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var all []Candidate
		for _, id := range []string{"lb1", "lb2", "lb3", "lb4"} {
			h := []Health{HealthOK, HealthDegraded, HealthFault, HealthUnknown}[rng.IntN(4)]
			all = append(all, survivor(id, 1+rng.IntN(3), h, func(c *Candidate) {
				c.CaughtUp = rng.IntN(4) > 0
				if rng.IntN(4) == 0 {
					c.Member.Role = RoleWitness
				}
			}))
		}
		var turns []int
		for _, id := range []string{"lb1", "lb2", "lb3", "lb4"} {
			rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			if turn, ok := Turn(id, all); ok {
				turns = append(turns, turn)
			}
		}
		slices.Sort(turns)
		for i, turn := range turns {
			if turn != i {
				t.Fatalf("turns %v of %+v", turns, all)
			}
		}
		if len(turns) == 0 {
			t.Fatalf("nobody stands of %+v", all)
		}
	}
}
