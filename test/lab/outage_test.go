package lab

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/test/lab/checker"
	"github.com/buoy-lb/buoy/test/lab/variant"
)

const msec = time.Millisecond

func TestOutage(t *testing.T) {
	request := func(begun time.Duration, ok bool) checker.Request { return checker.Request{Begun: begun, OK: ok} }
	up := func(begun time.Duration) checker.Request { return request(begun, true) }
	down := func(begun time.Duration) checker.Request { return request(begun, false) }
	for _, c := range []struct {
		name        string
		requests    []checker.Request
		gap, served float64 // ms; negative: nil
		failed      int
	}{
		{"all served", []checker.Request{up(95 * msec), up(100 * msec), up(105 * msec)}, 0, -1, 0},
		{"one failed", []checker.Request{up(95 * msec), down(100 * msec), up(105 * msec)}, 10, 5, 1},
		{
			"the longest of two",
			[]checker.Request{up(95 * msec), down(100 * msec), up(105 * msec), down(110 * msec), down(115 * msec), up(120 * msec)},
			15, 20, 3,
		},
		{"not served again", []checker.Request{up(95 * msec), down(100 * msec)}, -1, -1, 1},
		{"never served", []checker.Request{down(95 * msec)}, -1, -1, 1},
		{"nobody asked", nil, -1, -1, 0},
		{"failed before the first success", []checker.Request{down(95 * msec), up(100 * msec)}, 0, -1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			gap, served, failed := outage(c.requests, 100*msec)
			if value(gap) != c.gap || value(served) != c.served || failed != c.failed {
				t.Errorf("gap %v, served %v, failed %d, want %v, %v, %d", value(gap), value(served), failed, c.gap, c.served, c.failed)
			}
		})
	}
}

func value(v *float64) float64 {
	if v == nil {
		return -1
	}
	return *v
}

// `make lab` promises every fault once.
func TestPartsLeaveNoFaultOut(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range append(Parts(), ShortParts()...) {
		for _, key := range p.Faults {
			if _, err := FindFault(key); err != nil {
				t.Errorf("%s: %v", p.Name, err)
			}
			seen[key] = true
		}
	}
	for _, f := range Faults() {
		if !seen[f.Key] {
			t.Errorf("%s is in no part", f.Key)
		}
	}
	if _, err := FindFault("earthquake"); err == nil {
		t.Error("no error for a fault that does not exist")
	}
}

func TestEveryMutantHasItsPlay(t *testing.T) {
	var names []string
	for _, v := range variant.Mutants() {
		names = append(names, v.Name)
		if plays[v.Name].do == nil {
			t.Errorf("no play for %s", v.Name)
		}
	}
	for name := range plays {
		if !slices.Contains(names, name) {
			t.Errorf("a play for %s, which does not exist", name)
		}
	}
}

// A chaos run can be repeated: the same seed draws the same faults, and no two that get
// in one another's way.
func TestDrawIsTheSeeds(t *testing.T) {
	keys := func(seed uint64) (out []string) {
		r := rand.New(rand.NewPCG(seed, 0))
		for range 200 {
			drawn := draw(r)
			if len(drawn) == 2 && conflict(drawn[0], drawn[1]) {
				t.Errorf("%s goes with %s", drawn[0].Key, drawn[1].Key)
			}
			for _, f := range drawn {
				out = append(out, f.Key)
			}
		}
		return out
	}
	if !slices.Equal(keys(1), keys(1)) {
		t.Error("a seed draws now this, now that")
	}
	if slices.Equal(keys(1), keys(2)) {
		t.Error("two seeds draw the same")
	}
}

func TestRandomPauses(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	short := 0
	for range 1000 {
		d := randomPause(r)
		if d < 100*time.Millisecond || d > time.Minute {
			t.Fatalf("a pause of %v", d)
		}
		if d < time.Second {
			short++
		}
	}
	if short < 250 || short > 450 { // 36 %
		t.Errorf("%d of 1000 are below a second", short)
	}
}

func TestAddressesOfBalancers(t *testing.T) {
	for n := 1; n <= 9; n++ {
		if got := numberOf(addressOf(n)); got != n {
			t.Errorf("balancer %d has the address of %d", n, got)
		}
	}
}

// A notice of what the tests must not do: without Enter there is no world.
func TestNoWorldOutsideOfTheLab(t *testing.T) {
	if Inside() {
		t.Fatal("the tests run inside of a lab")
	}
	if _, err := newDir(); err == nil || errors.Is(err, ErrNotRoot) {
		t.Errorf("newDir outside of the lab: %v", err)
	}
}
