package healthcheck

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var t0 = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// feed steps a tracker through one result a second: g good, h hard, n hard and
// certain. It returns what passed after each, as "+" and "-".
func feed(tr tracker, results string) (tracker, string) {
	said := ""
	for i, c := range results {
		r := Result{State: Good}
		if c != 'g' {
			r = Result{State: Hard, Now: c == 'n'}
		}
		tr = tr.step(r, t0.Add(time.Duration(i)*time.Second))
		if tr.passing() {
			said += "+"
		} else {
			said += "-"
		}
	}
	return tr, said
}

func TestRiseAndFallCountConsecutiveResults(t *testing.T) {
	for _, c := range []struct {
		name          string
		spec          Spec
		results, want string
	}{
		{"one success is enough at the start", Spec{Rise: 3, Fall: 2}, "gh", "++"},
		{"the first failure counts at once", Spec{Rise: 3, Fall: 2}, "hggg", "---+"},
		{"init_fail needs rise successes", Spec{Rise: 3, Fall: 2, InitFail: true}, "ggg", "--+"},
		{"init_fail with rise 1", Spec{Rise: 1, Fall: 2, InitFail: true}, "g", "+"},
		{"a success between failures starts the count again", Spec{Rise: 2, Fall: 3}, "ghhghhghhh", "+++++++++-"},
		{"a failure between successes starts the count again", Spec{Rise: 3, Fall: 1}, "hgghggg", "------+"},
		{"certain death is not counted", Spec{Rise: 2, Fall: 5}, "gn", "+-"},
		{"rise and fall 1", Spec{Rise: 1, Fall: 1}, "ghgh", "+-+-"},
		{"rise and fall below 1 mean 1", Spec{}, "ghgh", "+-+-"},
	} {
		if _, got := feed(newTracker(c.spec), c.results); got != c.want {
			t.Errorf("%s: rise %d fall %d: %s gives %s, want %s", c.name, c.spec.Rise, c.spec.Fall, c.results, got, c.want)
		}
	}
}

// A naive twin looks back over all results instead of keeping a counter.
func TestTrackerAgreesWithNaiveTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := Spec{Rise: rapid.IntRange(1, 5).Draw(t, "rise"), Fall: rapid.IntRange(1, 5).Draw(t, "fall"), InitFail: rapid.Bool().Draw(t, "init_fail")}
		tr := newTracker(spec)
		var seen []bool
		passing := false
		for range rapid.IntRange(1, 60).Draw(t, "looks") {
			good := rapid.Bool().Draw(t, "good")
			seen = append(seen, good)
			streak := 0
			for i := len(seen) - 1; i >= 0 && seen[i] == good; i-- {
				streak++
			}
			switch {
			case good && !passing:
				passing = streak >= spec.Rise || len(seen) == 1 && !spec.InitFail
			case !good && passing:
				passing = streak < spec.Fall
			}
			r := Result{}
			if good {
				r.State = Good
			}
			if tr = tr.step(r, t0); tr.passing() != passing {
				t.Fatalf("rise %d fall %d: after %v: %v, want %v", spec.Rise, spec.Fall, seen, tr.passing(), passing)
			}
		}
	})
}

func TestWeights(t *testing.T) {
	for _, c := range []struct {
		name    string
		spec    Spec
		unknown Status // before the first result
		good    Status
		hard    Status
	}{
		{"weight 0", Spec{}, Status{Fault: true}, Status{OK: true}, Status{Fault: true}},
		{"weight 0 reverse", Spec{Reverse: true}, Status{Fault: true}, Status{Fault: true}, Status{OK: true}},
		{"weight 30", Spec{Weight: 30}, Status{}, Status{OK: true, Weight: 30}, Status{}},
		{"weight 30 reverse", Spec{Weight: 30, Reverse: true}, Status{}, Status{Weight: -30}, Status{OK: true}},
		{"weight -30", Spec{Weight: -30}, Status{}, Status{OK: true}, Status{Weight: -30}},
		{"weight -30 reverse", Spec{Weight: -30, Reverse: true}, Status{}, Status{}, Status{OK: true, Weight: 30}},
		{"weight -30 init_fail", Spec{Weight: -30, InitFail: true}, Status{Weight: -30}, Status{OK: true}, Status{Weight: -30}},
	} {
		tr := newTracker(c.spec)
		good, hard := c.good, c.hard
		good.Known, hard.Known, good.Since, hard.Since = true, true, t0, t0
		for what, pair := range map[string][2]Status{
			"unknown": {tr.status, c.unknown},
			"good":    {tr.step(Result{State: Good}, t0).status, good},
			"hard":    {tr.step(Result{State: Hard}, t0).status, hard},
		} {
			if !pair[0].Equal(pair[1]) {
				t.Errorf("%s, %s: got %+v, want %+v", c.name, what, pair[0], pair[1])
			}
		}
	}
}

func TestSoftConditionCountsAfterItsDelay(t *testing.T) {
	soft := func(cause string, weight int) Result { return Result{State: Soft, Cause: cause, Weight: weight} }
	type at struct {
		after time.Duration // since t0
		r     Result
		want  string // of OK, Warn, Fault
		add   int
	}
	for name, looks := range map[string][]at{
		"with a weight": {
			{0, Result{State: Good}, "ok", 10},
			{time.Second, soft("a", -20), "ok", 10},
			{6*time.Second - 1, soft("a", -20), "ok", 10},
			{6 * time.Second, soft("a", -20), "warn", -10},
			{7 * time.Second, Result{State: Hard}, "warn", -10}, // first of two: says nothing yet
			{8 * time.Second, Result{State: Good}, "ok", 10},
		},
		"without: a warning only": {
			{0, soft("a", 0), "ok", 10},
			{5 * time.Second, soft("a", 0), "ok warn", 10},
		},
		"another condition starts anew": {
			{0, soft("a", -20), "ok", 10},
			{4 * time.Second, soft("b", -20), "ok", 10},
			{8 * time.Second, soft("b", -20), "ok", 10},
			{9 * time.Second, soft("b", -20), "warn", -10},
		},
		"failing ends it": {
			{0, soft("a", -20), "ok", 10},
			{5 * time.Second, soft("a", -20), "warn", -10},
			{6 * time.Second, Result{State: Hard}, "warn", -10},
			{7 * time.Second, Result{State: Hard}, "", 0},
			{8 * time.Second, soft("a", -20), "", 0},
			{9 * time.Second, soft("a", -20), "ok", 10},
		},
	} {
		tr := newTracker(Spec{Rise: 2, Fall: 2, Weight: 10})
		for _, l := range looks {
			tr = tr.step(l.r, t0.Add(l.after))
			var words []string
			if tr.status.OK {
				words = append(words, "ok")
			}
			if tr.status.Warn {
				words = append(words, "warn")
			}
			got := strings.Join(words, " ")
			if got != l.want || tr.status.Weight != l.add || tr.status.Fault {
				t.Errorf("%s: at %s: %q weight %d fault %v, want %q weight %d", name, l.after, got, tr.status.Weight, tr.status.Fault, l.want, l.add)
			}
		}
	}
}

func TestDetectIsMeasuredFromTheLastAgreeingLookOrTheEvent(t *testing.T) {
	tr, _ := feed(newTracker(Spec{Rise: 2, Fall: 3}), "gghhh")
	if got := tr.status.Detect; got != 3*time.Second {
		t.Errorf("three hard looks a second apart: detect %s, want 3s", got)
	}
	tr, _ = feed(newTracker(Spec{Rise: 1, Fall: 3}), "gg")
	tr = tr.step(Result{Now: true, Begin: t0.Add(5 * time.Second)}, t0.Add(5*time.Second+time.Millisecond))
	if got := tr.status.Detect; got != time.Millisecond {
		t.Errorf("event: detect %s, want 1ms", got)
	}
	if since := tr.status.Since; !since.Equal(t0.Add(5*time.Second + time.Millisecond)) {
		t.Errorf("since %s", since)
	}
	later := tr.step(Result{Output: "still"}, t0.Add(time.Minute))
	if !later.status.Equal(tr.status) || later.status.Output != "still" || later.status.Detect != tr.status.Detect {
		t.Errorf("an unchanged verdict keeps since and detect and takes the new output: %+v", later.status)
	}
}
