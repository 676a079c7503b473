package fsm

import (
	"testing"

	"pgregory.net/rapid"
)

func TestAssess(t *testing.T) {
	ok := func(weight int) Check { return Check{Known: true, OK: true, Weight: weight} }
	failing := func(weight int) Check { return Check{Known: true, Weight: weight} }
	fault, unknown := Check{Known: true, Fault: true}, Check{Weight: -50, Fault: true}
	for name, c := range map[string]struct {
		base     int
		checks   []Check
		health   Health
		priority int
	}{
		"no checks":                  {100, nil, HealthOK, 100},
		"weights add up":             {100, []Check{ok(20), failing(-50)}, HealthDegraded, 70},
		"positive weight, failing":   {100, []Check{failing(0)}, HealthDegraded, 100},
		"reverse: lower when ok":     {100, []Check{ok(-30)}, HealthOK, 70},
		"floor":                      {100, []Check{failing(-253), failing(-253)}, HealthDegraded, 1},
		"ceiling":                    {250, []Check{ok(253)}, HealthOK, 254},
		"clamped once, at the end":   {100, []Check{failing(-253), ok(200)}, HealthDegraded, 47},
		"fault":                      {100, []Check{ok(0), fault, failing(-10)}, HealthFault, 90},
		"no result yet":              {100, []Check{ok(0), unknown}, HealthUnknown, 100},
		"no result yet, and failing": {100, []Check{failing(-10), unknown}, HealthUnknown, 90},
		"fault outweighs no result":  {100, []Check{unknown, fault, unknown}, HealthFault, 100},
		"owner is immune":            {255, []Check{failing(-253)}, HealthDegraded, 255},
		"owner in fault":             {255, []Check{fault}, HealthFault, 255},
		"passing, whatever Fault":    {100, []Check{{Known: true, OK: true, Fault: true}}, HealthOK, 100},
	} {
		if health, priority := Assess(c.base, c.checks); health != c.health || priority != c.priority {
			t.Errorf("%s: %s %d, want %s %d", name, health, priority, c.health, c.priority)
		}
	}
}

func TestOutranks(t *testing.T) {
	at := func(id, address string) Candidate {
		c := healthy(id, 100)
		c.Member.Address = address
		return c
	}
	silent := at("z", "10.0.0.99:7400")
	silent.Report = nil
	// Best first.
	ranked := []Candidate{
		healthy("a", 101),
		at("b", "[2001:db8::1]:7400"),
		at("c", "200.0.0.1:7400"),
		at("d", "10.0.0.10:7400"),
		at("e", "10.0.0.9:7401"),
		at("f", "[::ffff:10.0.0.9]:7400"),
		at("h", "not an address"),
		at("g", ""),
		silent,
	}
	for i, a := range ranked {
		for j, b := range ranked {
			if got := Outranks(a, b); got != (i < j) {
				t.Errorf("Outranks(%s, %s) = %v", a.Member.ID, b.Member.ID, got)
			}
		}
	}
}

func TestOutranksIsATotalOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cs := candidates(t)
		for _, a := range cs {
			for _, b := range cs {
				if (a.Member.ID != b.Member.ID) != (Outranks(a, b) != Outranks(b, a)) {
					t.Fatalf("%+v and %+v: neither or both come first", a, b)
				}
				for _, c := range cs {
					if Outranks(a, b) && Outranks(b, c) && !Outranks(a, c) {
						t.Fatalf("not transitive: %+v, %+v, %+v", a, b, c)
					}
				}
			}
		}
	})
}
