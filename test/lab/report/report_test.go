package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

func at(v float64) *float64 { return &v }

// ten makes ten trials whose stages follow from when the cloud was asked; a negative
// time stands for never. The outage is given, or follows.
func ten(asks [10]float64, outage *float64) []Trial {
	var trials []Trial
	for _, a := range asks {
		t := Trial{BoundMS: 8000, Failed: 400}
		if a >= 0 {
			t = Trial{
				Detected: at(a * 0.1), Elected: at(a * 0.9), Asked: at(a), Moved: at(a + 300), Served: at(a + 303),
				Outage: at(a + 305), Failed: int(a+305) / 20, BoundMS: 8000, Moves: 1,
			}
		}
		if outage != nil {
			t.Outage, t.Failed = outage, 0
		}
		trials = append(trials, t)
	}
	return trials
}

// sample has one of everything that can happen. The figures are made up.
func sample() Results {
	never := [10]float64{-1, -1, -1, -1, -1, -1, -1, -1, -1, -1}
	odd := ten([10]float64{31, 35, 28, 40, 33, 30, 90, 29, 36, 34}, nil)
	odd[2].Wrong, odd[6].Wrong, odd[7].Wrong = "moved twice", "moved twice", "asked for a | b"
	unknown := ten([10]float64{620, 700, 655, 610, 890, 640, 733, 702, 688, 671}, nil)
	unknown[0].Detected, unknown[1].Detected = nil, nil
	return Results{
		Date: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC), Version: "v0.2.0-3-g4b7abcc", Seed: 42,
		Command:  "make bench SEED=42",
		Machine:  Machine{CPU: "AMD EPYC 7763", Cores: 2, MemoryMB: 7940, Kernel: "6.1.0-18-amd64", HAProxy: "2.6.12", Keepalived: "2.2.7", Go: "go1.26.8", DiskNote: "virtio, fsync 1.1 ms", Load1: 0.12},
		AssignMS: 300, Trials: 10,
		Systems: []System{
			{"buoy", "buoy", "timing: lan, the default check"},
			{"usual", "usual", "VRRPv2 unicast, advert 1 s, pidof every 2 s"},
			{"tuned", "tuned", "VRRPv3 unicast, advert 100 ms, track_process"},
			{"floor", "floor", "VRRPv3 unicast, advert 10 ms, track_process"},
		},
		Faults: []Fault{
			{"haproxy-kill", "HAProxy killed on the holder", "kill -9 of all its processes.", true},
			{"power", "The holder loses its power", "Its network is cut and all of it stopped.", true},
			{"daemon-kill", "The daemon killed on the holder", "HAProxy lives, and the old holder goes on serving until the address moves: no request fails.", true},
			{"hang", "HAProxy hangs", "SIGSTOP. Neither pidof nor track_process sees it.", true},
			{"lost-call", "The cloud drops the first call", "Half of the time the other node's call is dropped too.", true},
			{"drift", "Somebody moves the address away", "Only buoy looks.", false},
			{"later", "Not reached in this run", "", true},
		},
		Cells: []Cell{
			{"haproxy-kill", "buoy", odd},
			{"haproxy-kill", "usual", ten([10]float64{4100, 5002, 3890, 4777, 5310, 4205, 4620, 3999, 5120, 4840}, nil)},
			{"haproxy-kill", "tuned", ten([10]float64{410, 350, 388, 402, 395, 377, 420, 361, 390, 405}, nil)},
			{"haproxy-kill", "floor", ten([10]float64{42, 35, 38.8, 40, 39, 37, 44, 36, 39, 4.4}, nil)},
			{"power", "buoy", unknown},
			{"power", "usual", ten([10]float64{3100, 3600, 3250, 3390, 3500, 3610, 3420, 3333, 3200, 3590}, nil)},
			{"power", "tuned", ten([10]float64{310, 370, 325, 339, 350, 361, 342, 333, 320, 359}, nil)},
			{"power", "floor", ten([10]float64{31, 37, 32, 33, 35, 36, 34, 33, 32, 35}, nil)[:7]},
			{"daemon-kill", "buoy", ten([10]float64{21, 22, 25, 20, 24, 480, 26, 23, 22, 21}, at(0))},
			{"daemon-kill", "usual", ten([10]float64{3100, 3600, 3250, 3390, 3500, 3610, 3420, 3333, 3200, 3590}, at(0))},
			{"daemon-kill", "tuned", ten([10]float64{310, 370, 325, 339, 350, 361, 342, 333, 320, 359}, at(0))},
			{"daemon-kill", "floor", nil},
			{"hang", "buoy", ten([10]float64{602, 611, 650, 599, 640, 633, 620, 618, 644, 607}, nil)},
			{"hang", "usual", ten(never, nil)},
			{"hang", "tuned", ten(never, nil)},
			{"hang", "floor", ten(never, nil)},
			{"lost-call", "buoy", ten([10]float64{33, 35, 30, 290, 31, 36, 34, 280, 32, 295}, nil)},
			{"lost-call", "usual", ten([10]float64{4100, -1, -1, 4777, 5310, -1, 4620, 3999, 5120, 4840}, nil)},
			{"lost-call", "tuned", ten([10]float64{410, -1, -1, -1, 395, -1, -1, 361, -1, 405}, nil)},
			{"drift", "buoy", ten([10]float64{2004, 1500, 9800, 1250, 880, 1990, 1700, 1300, 900, 11000}, nil)},
		},
		Quiet: []Quiet{
			{"buoy", Control, 60, 0, 3000, 0, 24.1},
			{"usual", Control, 60, 0, 3000, 0, 23.4},
			{"tuned", Control, 60, 0, 3000, 0, 27.9},
			{"floor", Control, 60, 1, 3000, 2, 61},
			{"buoy", "8 busy loops on 2 cores", 600, 0, 29100, 0, 88},
			{"floor", "8 busy loops on 2 cores", 90, 325, 4400, 210, 1450},
			{"tuned", "8 busy loops on 2 cores", 600, 1, 29000, 4, 400},
		},
		Planned: []Planned{
			{"buoy transfer", 4, 4, 400, 1, 0, 0, []float64{21, 30, 24, 26}, []float64{48, 55, 61, 50}},
			{"rolling | restart", 2, 3, 900, 0, 2, 1, []float64{31.5}, nil},
		},
	}
}

// extremes are results from which nothing can be drawn, or hardly.
func extremes() map[string]Results {
	empty := sample()
	empty.Cells, empty.Quiet, empty.Planned = nil, nil, nil
	hollow := sample()
	for i := range hollow.Cells {
		hollow.Cells[i].Trials = nil
	}
	never := sample()
	for i, c := range never.Cells {
		never.Cells[i].Trials = make([]Trial, len(c.Trials)) // not even a bound
	}
	alone := sample()
	alone.Systems = alone.Systems[1:]
	alone.Cells = alone.Cells[1:4]
	alone.Quiet = alone.Quiet[1:2]
	long := sample()
	long.Cells[3].Trials[4].Outage = at(3e7)
	long.Cells[3].Trials[5].Outage = at(-3)
	long.Faults[0].Title = strings.Repeat("A long title, with ÄÖÜ & 電源 <b> | ", 9)
	for i := range long.Systems {
		long.Systems[i].Name = strings.Repeat("WMW ", 9) + long.Systems[i].Key
		long.Systems[i].Note = strings.Repeat("many words ", 30)
	}
	many := sample()
	for _, k := range "abcdefgh" {
		many.Systems = append(many.Systems, System{Key: string(k), Name: string(k)})
	}
	return map[string]Results{
		"sample": sample(), "zero": {}, "no cells": empty, "no trials": hollow,
		"all never": never, "no buoy": alone, "long": long, "many": many,
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (run the test with -update if that is meant):\n%s", path, got)
	}
}

func TestGolden(t *testing.T) {
	r := sample()
	doc, err := Markdown(r)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "benchmarks.md", doc)
	pic, err := SVG(r)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "benchmarks.svg", pic)
	var b bytes.Buffer
	Table(r, &b)
	golden(t, "table.txt", b.Bytes())
	path := filepath.Join(t.TempDir(), "results.json")
	if err := r.Save(path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "results.json", data)
}

func TestLoadReadsWhatSaveWrote(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.json")
	for range 2 { // the second time over the first
		if err := sample().Save(path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, sample()) {
		t.Errorf("Load gives\n%+v", got)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSaveLeavesTheOldFileOnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.json")
	if err := sample().Save(path); err != nil {
		t.Fatal(err)
	}
	bad := sample()
	bad.AssignMS = math.NaN()
	if err := bad.Save(path); err == nil {
		t.Error("NaN was saved")
	}
	if _, err := Load(path); err != nil {
		t.Error(err)
	}
	if err := sample().Save(filepath.Join(path, "below a file")); err == nil {
		t.Error("saved below a file")
	}
}

func TestLoadRefusesWhatIsNotOurs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.json")
	for _, data := range []string{"", "[]", `{"sed": 1}`, `{"seed": 1} {}`} {
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil {
			t.Errorf("%q was loaded", data)
		}
	}
	if _, err := Load(path + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestSummariseTakesNearestRanks(t *testing.T) {
	count := func(n int) []float64 { // n, n-1, … 1
		var v []float64
		for i := n; i > 0; i-- {
			v = append(v, float64(i))
		}
		return v
	}
	inf := math.Inf(1)
	for _, c := range []struct {
		values []float64
		want   Summary
	}{
		{nil, Summary{}},
		{[]float64{7}, Summary{1, 7, 7, 7}},
		{[]float64{9, 7}, Summary{2, 7, 9, 9}},
		{count(3), Summary{3, 2, 3, 3}},
		{count(10), Summary{10, 5, 10, 10}},
		{count(99), Summary{99, 50, 99, 99}},
		{count(100), Summary{100, 50, 99, 100}},
		{count(101), Summary{101, 51, 100, 101}},
		{count(1000), Summary{1000, 500, 990, 1000}},
		{[]float64{inf, 5, inf, 6}, Summary{4, 6, inf, inf}},
		{[]float64{-1, 0, 0}, Summary{3, 0, 0, 0}},
	} {
		before := append([]float64(nil), c.values...)
		if got := Summarise(c.values); got != c.want {
			t.Errorf("Summarise of %d values: %+v, want %+v", len(c.values), got, c.want)
		}
		if !reflect.DeepEqual(before, append([]float64(nil), c.values...)) {
			t.Errorf("Summarise has sorted its argument")
		}
	}
}

func TestTimesKeepThreeDigitsAtMost(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0 ms", 0.01: "0 ms", 0.06: "0.1 ms", 9.94: "9.9 ms", 9.96: "10 ms", 349.4: "349 ms", 999.4: "999 ms",
		999.6: "1.00 s", 1234: "1.23 s", 9994: "9.99 s", 9996: "10.0 s", 99940: "99.9 s", 99960: "100 s", -2: "-2.0 ms",
		math.Inf(1): "never",
	} {
		if got := ms(v); got != want {
			t.Errorf("ms(%v) = %q, want %q", v, got, want)
		}
	}
	for v, want := range map[float64]string{8000: "8 s", 300: "0.3 s", 1500: "1.5 s", 10000: "10 s", 0: "0 s"} {
		if got := seconds(v); got != want {
			t.Errorf("seconds(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestRatiosNeedTwoFigures(t *testing.T) {
	s := func(p50 float64) Summary { return Summary{N: 1, P50: p50} }
	for _, c := range []struct {
		a, b Summary
		want string
	}{
		{s(100), s(10), "10"},
		{s(34), s(10), "3.4"},
		{s(10), s(10), "1.0"},
		{s(5), s(10), "0.50"},
		{s(0), s(10), "0.00"},
		{s(10), s(0), none},
		{s(math.Inf(1)), s(10), none},
		{s(10), s(math.Inf(1)), none},
		{Summary{}, s(10), none},
		{s(10), Summary{}, none},
	} {
		if got := ratio(c.a, c.b); got != c.want {
			t.Errorf("ratio(%v, %v) = %q, want %q", c.a.P50, c.b.P50, got, c.want)
		}
	}
}

func TestBuoyIsNotSparedWhereItIsSlower(t *testing.T) {
	cell := func(system string, asks ...float64) Cell {
		c := Cell{Fault: "f", System: system}
		for _, a := range asks {
			tr := Trial{BoundMS: 8000}
			if a >= 0 {
				tr.Asked = at(a)
			}
			c.Trials = append(c.Trials, tr)
		}
		return c
	}
	for _, c := range []struct {
		name         string
		ours, theirs []float64
		want         string
	}{
		{"quicker", []float64{10, 20}, []float64{11, 21}, "nowhere in this run"},
		{"equal in the table", []float64{10.2}, []float64{10.1}, "nowhere in this run"},
		{"p50", []float64{12, 20}, []float64{10, 20}, "- F, until the cloud is asked: buoy 12 ms, usual 10 ms (p50).\n"},
		{"p99", []float64{10, 30}, []float64{10, 20}, "- F, until the cloud is asked: buoy 30 ms, usual 20 ms (p99).\n"},
		{"never", []float64{10, -1}, []float64{10, 20}, "- F, until the cloud is asked: buoy never, usual 20 ms (p99).\n"},
		{"both never", []float64{-1}, []float64{-1}, "nowhere in this run"},
		{"alone", []float64{10}, nil, "not known"},
	} {
		r := Results{
			Systems: []System{{Key: "buoy"}, {Key: "usual"}}, Faults: []Fault{{Key: "f", Title: "F"}},
			Cells: []Cell{cell("buoy", c.ours...), cell("usual", c.theirs...)},
		}
		if got := string(slower(r)); !strings.Contains(got, c.want) {
			t.Errorf("%s: %q does not contain %q", c.name, got, c.want)
		}
	}
}

func TestUpdateReplacesItsBlockOnly(t *testing.T) {
	doc := "# A\nprose with <!-- begin x --> in it\n<!-- begin x -->\nold\n<!-- end x -->\nmore\n<!-- begin y -->\n<!-- end y -->"
	got, err := Update([]byte(doc), "x", []byte("new\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(doc, "\nold\n", "\n\nnew\n\n", 1)
	if string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	again, err := Update(got, "x", []byte("new\n"))
	if err != nil || !bytes.Equal(again, got) {
		t.Errorf("the second time: %v, %q", err, again)
	}
	if got, err = Update(got, "y", []byte("last")); err != nil || !strings.HasSuffix(string(got), "<!-- begin y -->\n\nlast\n\n<!-- end y -->") {
		t.Errorf("the last block: %v, %q", err, got)
	}
}

func TestUpdateRefusesADocumentWithoutItsMarkers(t *testing.T) {
	const begin, end = "<!-- begin x -->\n", "<!-- end x -->\n"
	for name, c := range map[string]struct{ doc, block, body string }{
		"no markers":    {"text\n", "x", ""},
		"no begin":      {end, "x", ""},
		"no end":        {begin, "x", ""},
		"wrong order":   {end + begin, "x", ""},
		"twice":         {begin + end + begin + end, "x", ""},
		"another block": {begin + end, "y", ""},
		"no name":       {begin + end, "", ""},
		"a bad name":    {begin + end, "x -->", ""},
		"body marks":    {begin + end, "x", "a\n" + end},
	} {
		if got, err := Update([]byte(c.doc), c.block, []byte(c.body)); err == nil {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestProseSurvivesRefresh(t *testing.T) {
	doc, err := Markdown(sample())
	if err != nil {
		t.Fatal(err)
	}
	edited := bytes.Replace(doc, []byte("## The faults\n"), []byte("## The faults\n\nBy hand.\n"), 1)
	r := sample()
	r.Seed = 4711
	got, err := Refresh(edited, r)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Replace(edited, []byte("the seed 42"), []byte("the seed 4711"), 1)
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s", got)
	}
	if _, err := Refresh(bytes.Replace(doc, []byte("<!-- end odd -->\n"), nil, 1), r); err == nil {
		t.Error("a block was lost, and Refresh did not say so")
	}
}

func TestResultsThatContradictThemselvesAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*Results){
		"a system twice":     func(r *Results) { r.Systems[1].Key = "buoy" },
		"a fault twice":      func(r *Results) { r.Faults[1].Key = r.Faults[0].Key },
		"a cell twice":       func(r *Results) { r.Cells[1].System = "buoy" },
		"an unknown fault":   func(r *Results) { r.Cells[1].Fault = "x" },
		"an unknown system":  func(r *Results) { r.Cells[1].System = "x" },
		"quiet, unknown":     func(r *Results) { r.Quiet[1].System = "x" },
		"planned, no number": func(r *Results) { r.Planned[0].Asked[1] = math.NaN() },
		"not a number":       func(r *Results) { r.Cells[1].Trials[0].Outage = at(math.NaN()) },
	} {
		r := sample()
		spoil(&r)
		if _, err := Markdown(r); err == nil {
			t.Errorf("%s: Markdown does not mind", name)
		}
		if _, err := SVG(r); err == nil {
			t.Errorf("%s: SVG does not mind", name)
		}
		Table(r, io.Discard) // must not panic
	}
}

func TestTablesHaveAsManyCellsInEachRow(t *testing.T) {
	for name, r := range extremes() {
		doc, err := Markdown(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		columns := 0
		for line := range strings.Lines(string(doc)) {
			if !strings.HasPrefix(line, "|") {
				columns = 0
				continue
			}
			n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
			if columns != 0 && n != columns {
				t.Errorf("%s: %d instead of %d in %s", name, n, columns, line)
			}
			columns = n
		}
		for _, bad := range []string{"NaN", "Inf", "%!", "{"} {
			if strings.Contains(string(doc), bad) {
				t.Errorf("%s: the document contains %s", name, bad)
			}
		}
	}
}

func TestTerminalTableIsAligned(t *testing.T) {
	for name, r := range extremes() {
		var b bytes.Buffer
		Table(r, &b)
		if strings.ContainsAny(b.String(), "\t\x1b") || strings.Contains(b.String(), " \n") {
			t.Errorf("%s: tabs, escapes or trailing blanks in\n%s", name, b.String())
		}
		remarks := -1 // all remarks begin in the same place
		for line := range strings.Lines(b.String()) {
			if strings.HasPrefix(line, "FAULT") {
				remarks = strings.Index(line, "REMARKS")
				continue
			}
			if line == "\n" {
				break
			}
			if runes := []rune(line); remarks >= 0 && len(runes) > remarks && runes[remarks-1] != ' ' {
				t.Errorf("%s: %q is out of line", name, line)
			}
		}
	}
}

func TestPictureIsWellFormed(t *testing.T) {
	for name, r := range extremes() {
		pic, err := SVG(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, _ := SVG(r)
		if !bytes.Equal(pic, again) {
			t.Errorf("%s: two pictures of the same results differ", name)
		}
		seen := map[string]int{}
		d := xml.NewDecoder(bytes.NewReader(pic))
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if e, ok := token.(xml.StartElement); ok {
				seen[e.Name.Local]++
			}
		}
		if seen["title"] != 1 || seen["desc"] != 1 || seen["style"] != 1 || seen["script"] != 0 {
			t.Errorf("%s: elements %v", name, seen)
		}
		if bytes.Contains(pic, []byte("NaN")) || bytes.Contains(pic, []byte("Inf")) || !utf8.Valid(pic) {
			t.Errorf("%s: a number is none, or the text is not UTF-8", name)
		}
	}
}

func TestNothingInThePictureOverlaps(t *testing.T) {
	for name, r := range extremes() {
		p := layout(r)
		var boxes []box // of text and of legend keys, with the text as class
		for _, l := range p.labels {
			w := textWidth(l.text, l.size) * boldness(l.class)
			b := box{l.text, l.x, l.y - l.size*0.8, w, l.size}
			if l.anchor == "middle" {
				b.x -= w / 2
			}
			boxes = append(boxes, b)
		}
		for _, h := range p.heads {
			boxes = append(boxes, box{"arrow", h.x - arrow, h.y - barHeight/2, arrow, barHeight})
		}
		boxes = append(boxes, p.keys...)
		boxes = append(boxes, p.bars...)
		for i, a := range boxes {
			if a.x < 0 || a.y < 0 || a.x+a.w > picWidth || a.y+a.h > p.height {
				t.Errorf("%s: %+v lies outside", name, a)
			}
			for _, b := range boxes[i+1:] {
				if a.x < b.x+b.w && b.x < a.x+a.w && a.y < b.y+b.h && b.y < a.y+a.h {
					t.Errorf("%s: %+v and %+v overlap", name, a, b)
				}
			}
		}
		for _, b := range p.bars {
			if b.x < plotLeft || b.w < 2 || b.x+b.w > plotRight {
				t.Errorf("%s: bar %+v is outside of the plot", name, b)
			}
		}
		for _, l := range p.lines {
			if max(l.x1, l.x2) > plotRight || min(l.y1, l.y2) < 0 || max(l.y1, l.y2) > p.height {
				t.Errorf("%s: line %+v is outside", name, l)
			}
		}
	}
}
