package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Buoy is the Key of the system that the others are compared with; Control the Condition
// of a Quiet in which nothing was done at all.
const (
	Buoy    = "buoy"
	Control = "nothing (control)"
)

// Results is one run. All durations are milliseconds, so that results.json can be read
// with grep; a pointer is nil where there is no figure.
type Results struct {
	Date    time.Time `json:"date"`
	Version string    `json:"version"` // of buoy
	Seed    uint64    `json:"seed"`
	Command string    `json:"command"` // how to repeat it
	Machine Machine   `json:"machine"`
	// AssignMS is how long the fake cloud takes to move the address.
	AssignMS float64 `json:"assign_ms"`
	// Trials is how many were meant for each cell; one that has another number says so.
	Trials  int      `json:"trials"`
	Systems []System `json:"systems"`
	Faults  []Fault  `json:"faults"`
	Cells   []Cell   `json:"cells"`
	Quiet   []Quiet  `json:"quiet"`
	// Planned is buoy's alone: an operator of keepalived has no such commands.
	Planned []Planned `json:"planned"`
}

// Machine is what the run ran on. What is empty or zero is not printed.
type Machine struct {
	CPU        string  `json:"cpu"`
	Cores      int     `json:"cores"`
	MemoryMB   int     `json:"memory_mb"`
	Kernel     string  `json:"kernel"`
	HAProxy    string  `json:"haproxy"`
	Keepalived string  `json:"keepalived"`
	Go         string  `json:"go"`
	DiskNote   string  `json:"disk_note"`
	Load1      float64 `json:"load1"` // before the run; always printed
}

// System is one contestant. The order of Results.Systems is that of all tables.
type System struct {
	Key  string `json:"key"`  // "buoy", "usual", "tuned", "floor"
	Name string `json:"name"` // what the tables call it
	Note string `json:"note"` // "VRRPv2 unicast, advert 1 s, pidof every 2 s"
}

// Fault is one thing that was broken.
type Fault struct {
	Key   string `json:"key"`
	Title string `json:"title"`
	// Note explains what the figures cannot: above all why nobody was without service
	// (an outage of 0) when the old holder goes on serving.
	Note string `json:"note"`
	// Shared: every system is meant to be put to this fault, so that one without trials
	// is shown as "not measured". Otherwise it is left out, as the fault is not its own.
	Shared bool `json:"shared"`
}

// Cell is one system under one fault, both by Key.
type Cell struct {
	Fault  string  `json:"fault"`
	System string  `json:"system"`
	Trials []Trial `json:"trials"`
}

// Trial is one fault, once. The stages are milliseconds after the fault; nil means never
// within the bound, or not known.
type Trial struct {
	Detected *float64 `json:"detected"` // somebody knows
	Elected  *float64 `json:"elected"`  // somebody is to take over
	Asked    *float64 `json:"asked"`    // the cloud has been asked to move the address
	Moved    *float64 `json:"moved"`    // the cloud has moved it
	Served   *float64 `json:"served"`   // a client is answered from there
	// Back is, where the address was moved away from a holder that is to keep it, when the
	// cloud had it moved back for good.
	Back *float64 `json:"back,omitempty"`
	// Outage is the client's view: from the last success before the fault's effect to
	// the first one after. Nil: not served again within the bound. 0: no request failed.
	Outage  *float64 `json:"outage"`
	Failed  int      `json:"failed"`   // requests
	BoundMS float64  `json:"bound_ms"` // how long the trial waited
	Moves   int      `json:"moves"`
	Wrong   string   `json:"wrong"` // what is odd, such as "moved twice"; mostly empty
}

// Quiet is a stretch in which nobody had a reason to move the address.
type Quiet struct {
	System       string  `json:"system"`
	Condition    string  `json:"condition"` // Control, "reload under traffic", …
	Seconds      float64 `json:"seconds"`
	Moves        int     `json:"moves"`
	Requests     int     `json:"requests"`
	Failed       int     `json:"failed"`
	LongestGapMS float64 `json:"longest_gap_ms"`
}

// Load reads what Save wrote. Unknown keys are an error: such a file is not ours.
func Load(path string) (Results, error) {
	f, err := os.Open(path)
	if err != nil {
		return Results{}, err
	}
	defer f.Close()
	var r Results
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return Results{}, fmt.Errorf("read %s: %w", path, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Results{}, fmt.Errorf("read %s: more than one JSON value", path)
	}
	return r, nil
}

// Save writes the results as JSON. The file is whole or as before: a run saves again
// after every trial, and may be interrupted.
func (r Results) Save(path string) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("save %s: %w", path, err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("save results: %w", err)
	}
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("save %s: %w", path, err), os.Remove(f.Name()))
	}
	return nil
}

// check finds what would make a document say something else than was measured.
func (r Results) check() error {
	systems, faults := map[string]bool{}, map[string]bool{}
	for _, s := range r.Systems {
		if systems[s.Key] {
			return fmt.Errorf("results: system %q is listed twice", s.Key)
		}
		systems[s.Key] = true
	}
	for _, f := range r.Faults {
		if faults[f.Key] {
			return fmt.Errorf("results: fault %q is listed twice", f.Key)
		}
		faults[f.Key] = true
	}
	cells := map[[2]string]bool{}
	for _, c := range r.Cells {
		at := [2]string{c.Fault, c.System}
		switch {
		case !faults[c.Fault] || !systems[c.System]:
			return fmt.Errorf("results: a cell for fault %q and system %q, which are not both listed", c.Fault, c.System)
		case cells[at]:
			return fmt.Errorf("results: two cells for fault %q and system %q", c.Fault, c.System)
		}
		cells[at] = true
		for i, t := range c.Trials {
			if !t.finite() {
				return fmt.Errorf("results: fault %q, system %q, trial %d: not a number", c.Fault, c.System, i+1)
			}
		}
	}
	for _, q := range r.Quiet {
		if !systems[q.System] {
			return fmt.Errorf("results: %q without a fault for system %q, which is not listed", q.Condition, q.System)
		}
	}
	for _, p := range r.Planned {
		for _, v := range slices.Concat(p.Decided, p.Asked) {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return fmt.Errorf("results: planned move %q has a time that is not a number", p.What)
			}
		}
	}
	return nil
}

func (t Trial) finite() bool {
	for _, v := range []*float64{&t.BoundMS, t.Detected, t.Elected, t.Asked, t.Moved, t.Served, t.Outage} {
		if v != nil && (math.IsNaN(*v) || math.IsInf(*v, 0)) {
			return false
		}
	}
	return true
}

// trials returns what was measured for a fault and a system; none is fine.
func (r Results) trials(fault, system string) []Trial {
	for _, c := range r.Cells {
		if c.Fault == fault && c.System == system {
			return c.Trials
		}
	}
	return nil
}

// measured reports whether any system has trials for a fault.
func (r Results) measured(fault string) bool {
	for _, s := range r.Systems {
		if len(r.trials(fault, s.Key)) > 0 {
			return true
		}
	}
	return false
}

// perCell says how many trials stand behind a figure: "10 trials", "7 to 10 trials".
func (r Results) perCell() string {
	least, most := 0, 0
	for _, c := range r.Cells {
		if n := len(c.Trials); n > 0 {
			most = max(most, n)
			if least == 0 || n < least {
				least = n
			}
		}
	}
	if least == most {
		return count(most, "trial")
	}
	return fmt.Sprintf("%d to %s", least, count(most, "trial"))
}

// name returns what the tables call a system.
func (r Results) name(system string) string {
	for _, s := range r.Systems {
		if s.Key == system && s.Name != "" {
			return s.Name
		}
	}
	return system
}
