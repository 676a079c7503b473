package lab

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
	"github.com/buoy-lb/buoy/test/lab/checker"
	"github.com/buoy-lb/buoy/test/lab/report"
)

// The judge's bounds, for a busy machine; the benchmark says how fast things are.
const (
	// settle is three of Raft's heartbeats at `lan`, a request that has to time out (4 s)
	// and the retries after it.
	settle = 12 * time.Second
	// detect is the health check's own bound for a hang (0.85 s), and room.
	detect = 3 * time.Second
	// cause covers the longest way in which a condition moves the address: two looks at
	// the cloud that fail, and a self-test that lets a balancer back in.
	cause = 20 * time.Second
	// restBound is how long the world may take to come to rest after a fault.
	restBound = 60 * time.Second
)

// Fault is one thing that can go wrong.
type Fault struct {
	Key   string // for flags, seeds and tables: "haproxy-killed"
	Title string // for people: "HAProxy killed"
	Note  string // what to know when reading its figures
	// Shared: keepalived can suffer it too, so that it is compared.
	Shared bool
	// Own: it has no like with keepalived, and buoy's figures for it are of interest.
	Own bool
	// Moves: the address has to leave its holder. Whether it may is the judge's business.
	Moves bool
	// Stepped: it needs a daemon whose wall clock can be stepped (package variant).
	Stepped bool
	// Upgraded: it needs a second build of the daemon.
	Upgraded bool
	// Hold is how long it lasts at least; 0 is until the address has moved.
	Hold time.Duration
	// Long is how long it may last beyond what others do, for one that goes through many
	// rounds.
	Long time.Duration
	// Touches is what it gets hold of: two faults that touch the same thing do not go
	// together. Alone goes with no other.
	Touches []string
	Begin   func(ctx context.Context, s *Scene) error
	// End undoes what Begin did; nil if nothing is to be undone.
	End func(ctx context.Context, s *Scene) error
}

// Scene is the world as a fault finds it.
type Scene struct {
	*World
	// Victim holds the address when the fault begins; Others do not.
	Victim *Balancer
	Others []*Balancer

	// struck is when the fault really came, if Begin had to prepare it; 0: when it began.
	struck time.Duration
	undo   []func()
}

// later is undone when the fault ends, last first.
func (s *Scene) later(undo func()) { s.undo = append(s.undo, undo) }

func (s *Scene) undoAll() {
	for len(s.undo) > 0 {
		last := len(s.undo) - 1
		s.undo[last]()
		s.undo = s.undo[:last]
	}
}

// NewScene looks at who holds the address now.
func (w *World) NewScene() (*Scene, error) {
	s := &Scene{World: w, Victim: w.Holder()}
	if s.Victim == nil {
		return nil, fmt.Errorf("nobody holds the address")
	}
	for _, b := range w.Balancers {
		if b != s.Victim && b.cond.Voter {
			s.Others = append(s.Others, b)
		}
	}
	return s, nil
}

// Try lets the world, at rest, suffer a fault once and recover from it. within is how
// long a move is waited for; that it did not come is no error but shows in the trial.
// recovery is how long the world may take to come to rest again.
func (w *World) Try(ctx context.Context, f Fault, within, recovery time.Duration) (report.Trial, error) {
	// No fault waits for ever, whatever becomes of what it waits for.
	ctx, cancel := context.WithTimeout(ctx, f.Hold+f.Long+within+2*restBound)
	defer cancel()
	s, err := w.NewScene()
	if err != nil {
		return report.Trial{}, err
	}
	defer s.undoAll()
	began := cluster.Boottime()
	if err := f.Begin(ctx, s); err != nil {
		return report.Trial{}, fmt.Errorf("%s: %w", f.Key, err)
	}
	began = cmp.Or(s.struck, began)
	if err := w.lastUntil(ctx, f, s, began, within); err != nil {
		return report.Trial{}, fmt.Errorf("%s: %w", f.Key, err)
	}
	// A move is measured before the fault ends: its end may move the address back.
	trial := w.trial(began, s.Victim, within)
	if f.End != nil {
		if err := f.End(ctx, s); err != nil {
			return trial, fmt.Errorf("end of %s: %w", f.Key, err)
		}
	}
	s.undoAll()
	rest, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	if err := w.AwaitRest(rest); err != nil {
		return trial, fmt.Errorf("after %s: %w", f.Key, err)
	}
	if !f.Moves {
		trial = w.trial(began, s.Victim, within)
	}
	return trial, nil
}

// lastUntil waits out the fault: its time, and the move that it must cause.
func (w *World) lastUntil(ctx context.Context, f Fault, s *Scene, began, within time.Duration) error {
	if f.Moves {
		wait, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		_ = sandbox.Poll(wait, "the address to move", func(context.Context) error {
			if w.movedSince(began, s.Victim) == nil {
				return fmt.Errorf("it is on %s", s.Victim.Name)
			}
			return nil
		}) // that it never came shows in the trial
		if ctx.Err() != nil {
			return ctx.Err()
		}
		_ = w.client.awaitServed(wait, w) // likewise
	}
	// What the client still waits for is on record only then.
	if err := pause(ctx, requestTimeout+50*time.Millisecond); err != nil {
		return err
	}
	left := f.Hold - (cluster.Boottime() - began)
	return pause(ctx, left)
}

// pause lets time pass: for a fault to last, never for something to be true afterwards.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// movedSince is the first change of holder after began to a balancer other than victim.
func (w *World) movedSince(began time.Duration, victim *Balancer) *checker.Holder {
	for _, c := range w.changesSince(began) {
		if c.To != victim.Name && c.To != outside && c.To != checker.Nobody {
			return &c
		}
	}
	return nil
}

// changesSince are the changes of holder in the cloud's journal, on the boot clock.
func (w *World) changesSince(began time.Duration) (out []checker.Holder) {
	now, boot := time.Now(), cluster.Boottime()
	for _, c := range w.Cloud.Journal().Changes {
		if at := boot - now.Sub(c.At); at >= began {
			out = append(out, checker.Holder{At: at, To: w.nameOf(c.To)})
		}
	}
	return out
}

// trial reads the stages of what began at began off the record.
func (w *World) trial(began time.Duration, victim *Balancer, within time.Duration) report.Trial {
	t := report.Trial{BoundMS: ms(within)}
	changes := w.changesSince(began)
	t.Moves = len(changes)
	moved := w.movedSince(began, victim)
	since := func(at time.Duration) *float64 {
		if at == 0 {
			return nil
		}
		v := ms(at - began)
		return &v
	}
	if last := len(changes) - 1; moved == nil && last >= 0 && changes[last].To == victim.Name {
		t.Back = since(changes[last].At)
	}
	if moved != nil {
		to := w.Balancer(moved.To)
		t.Moved = since(moved.At)
		t.Asked = since(w.askedSince(began, to))
		detected, elected := w.system.Marks(w, began, to)
		t.Detected, t.Elected = since(detected), since(elected)
		if len(changes) > 1 {
			t.Wrong = fmt.Sprintf("moved %d times", len(changes))
		}
	}
	t.Outage, t.Served, t.Failed = outage(w.Record.requestsSince(began-requestTimeout), began)
	return t
}

// askedSince is when the first request to move the address to to arrived that the cloud
// took.
func (w *World) askedSince(began time.Duration, to *Balancer) time.Duration {
	now, boot := time.Now(), cluster.Boottime()
	for _, x := range w.Cloud.Journal().Writes {
		if at := boot - now.Sub(x.Arrived); at >= began && x.Droplet == to.Droplet && !x.Accepted.IsZero() {
			return at
		}
	}
	return 0
}

// outage finds the longest time in which nobody was served: from the last request that
// succeeded to the first that did again. Requests are in order of their beginning. It is
// 0 when none failed, nil when nobody has been served again.
func outage(requests []checker.Request, began time.Duration) (gap, served *float64, failed int) {
	var last, longest, again time.Duration
	broken := false
	for _, q := range requests {
		if !q.OK {
			broken = true
			failed++
			continue
		}
		if broken && last != 0 && q.Begun-last > longest {
			longest, again = q.Begun-last, q.Begun
		}
		broken = false
		last = q.Begun
	}
	if broken || last == 0 {
		return nil, nil, failed
	}
	if longest > 0 {
		at := ms(again - began)
		served = &at
	}
	length := ms(longest)
	return &length, served, failed
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
