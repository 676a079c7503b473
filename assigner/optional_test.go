package assigner_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buoy-lb/buoy/assigner"
)

// doctor is a stub that prepares and diagnoses, and writes down what it is asked in which order.
type doctor struct {
	stub
	diagnosis error
	calls     *[]string
}

func (d doctor) Holder(ctx context.Context, _ netip.Addr) (assigner.Holding, error) {
	what := "look"
	if assigner.IsRoutine(ctx) {
		what = "routine look"
	}
	*d.calls = append(*d.calls, what)
	return d.holder()
}

func (d doctor) Prepare(context.Context, netip.Addr) error {
	*d.calls = append(*d.calls, "prepare")
	return nil
}

func (d doctor) Diagnose(context.Context, netip.Addr) error {
	*d.calls = append(*d.calls, "diagnose")
	return d.diagnosis
}

func (d doctor) fence(context.Context) (func() error, func(), error) {
	*d.calls = append(*d.calls, "fence")
	return func() error { return nil }, func() { *d.calls = append(*d.calls, "done") }, nil
}

// TestRefusalIsDiagnosed: what passes by itself is waited for, 10 s at most, what does not is an own
// fault at once; the right to write is not held meanwhile.
func TestRefusalIsDiagnosed(t *testing.T) {
	refusal := assigner.Errorf(assigner.Pending, "422")
	for name, c := range map[string]struct {
		diagnosis  error
		now, later assigner.Class
		text       string
	}{
		"nothing found":       {nil, assigner.Pending, assigner.Own, "422"},
		"passes by itself":    {assigner.Errorf(assigner.Pending, "a snapshot"), assigner.Pending, assigner.Own, "a snapshot"},
		"does not":            {assigner.Errorf(assigner.Own, "another address"), assigner.Own, assigner.Own, "another address"},
		"nobody can be asked": {errors.New("503"), assigner.Shared, assigner.Shared, "503"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls []string
				d := doctor{stub: stub{holder: elsewhere, claim: func(context.Context) (string, error) { return "", refusal }}, diagnosis: c.diagnosis, calls: &calls}
				claimer := assigner.New(d, nil)
				for _, want := range []assigner.Class{c.now, c.later} {
					calls = nil
					_, err := claimer.Ensure(t.Context(), assigner.Request{IP: ip, Fence: d.fence, Epoch: 1})
					if got := classOf(t, err); got != want || !strings.Contains(err.Error(), c.text) || !errors.Is(err, refusal) {
						t.Errorf("%v: %v; want %v, %q and the refusal", err, got, want, c.text)
					}
					if want := []string{"look", "prepare", "fence", "done", "look", "diagnose"}; !slices.Equal(calls, want) {
						t.Errorf("calls %q; want %q", calls, want)
					}
					time.Sleep(11 * time.Second)
				}
			})
		})
	}
}

// TestRoutineLooksAreMarked: a provider may forgo them, and no others.
func TestRoutineLooksAreMarked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls []string
		holder, broken := "lb1", error(nil)
		d := doctor{calls: &calls, stub: stub{
			holder: func() (assigner.Holding, error) { return assigner.Holding{Instance: holder}, broken },
			claim:  func(context.Context) (string, error) { holder = "lb1"; return "", nil },
		}}
		claimer := assigner.New(d, nil)
		for i, step := range []struct {
			after   time.Duration
			epoch   uint64
			suspect bool
			want    string // the first look
			do      func()
		}{
			{0, 1, false, "look", nil},
			{30 * time.Second, 1, false, "look", nil}, // a late write may still come
			{20 * time.Second, 1, false, "routine look", nil},
			{30 * time.Second, 1, true, "look", nil}, // there is a hint
			{30 * time.Second, 1, false, "routine look", func() { broken = errors.New("forgone") }},
			{30 * time.Second, 1, false, "routine look", func() { broken = nil }},
			{30 * time.Second, 1, false, "routine look", func() { holder = "lb2" }}, // and claims
			{30 * time.Second, 1, false, "look", nil},
			{30 * time.Second, 1, false, "routine look", nil},
			{30 * time.Second, 2, false, "look", nil}, // a new term
		} {
			time.Sleep(step.after)
			calls = nil
			if step.do != nil {
				step.do()
			}
			_, _ = claimer.Ensure(t.Context(), assigner.Request{IP: ip, Fence: d.fence, Epoch: step.epoch, Suspect: step.suspect})
			if len(calls) == 0 || calls[0] != step.want {
				t.Errorf("step %d: calls %q; want first %q", i, calls, step.want)
			}
		}
	})
}
