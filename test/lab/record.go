package lab

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/test/lab/checker"
)

const outside = checker.Outside

// condition is the truth about one balancer.
type condition checker.Condition

// fit says whether the balancer could hold the address.
func (c condition) fit() bool { return c.Serving && c.Daemon && c.API }

// Cause says what may follow from what the lab has just done.
type Cause struct {
	MayMove bool // the address may move
	Drift   bool // it has been moved away from outside
	Rough   bool // no bound of time holds while this lasts
	Rest    bool // nothing from before is left to be done
	Planned bool // no request has to fail for it
}

// Recorder collects the history of a world. It is safe for concurrent use.
type Recorder struct {
	mu       sync.Mutex
	truth    []checker.Truth
	requests []checker.Request
	samples  []checker.Sample
	acks     []checker.Ack
	// When the newest requests that were served, and that failed, had begun.
	lastOK, lastFailed time.Duration
}

func newRecorder() *Recorder { return &Recorder{} }

func (r *Recorder) request(q checker.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, q)
	if q.OK {
		r.lastOK = max(r.lastOK, q.Begun)
	} else {
		r.lastFailed = max(r.lastFailed, q.Begun)
	}
}

func (r *Recorder) sample(s checker.Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples = append(r.samples, s)
}

// newest says when the newest requests that were served, and that failed, had begun.
func (r *Recorder) newest() (served, failed time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lastOK, r.lastFailed
}

// requestsSince returns the requests that began at from or later, in order.
func (r *Recorder) requestsSince(from time.Duration) []checker.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []checker.Request
	for i := len(r.requests) - 1; i >= 0; i-- {
		// They are in order of their end, but for what the client's workers need to say so.
		if r.requests[i].Ended < from-requestTimeout {
			break
		}
		if r.requests[i].Begun >= from {
			out = append(out, r.requests[i])
		}
	}
	slices.SortFunc(out, func(a, b checker.Request) int { return cmp.Compare(a.Begun, b.Begun) })
	return out
}

// Note records how things are from now on. What makes them worse is noted before it is
// done, what makes them better afterwards: so the judge never asks for too much.
func (w *World) Note(fault string, c Cause) {
	w.rough += boolToInt(c.Rough)
	t := checker.Truth{
		At: cluster.Boottime(), Fault: fault, MayMove: c.MayMove, Drift: c.Drift, Rest: c.Rest, Rough: w.rough > 0, Planned: c.Planned,
		Nodes: map[string]checker.Condition{}, Cut: w.cuts(),
	}
	for _, b := range w.Balancers {
		t.Nodes[b.Name] = checker.Condition(b.cond)
	}
	w.Record.mu.Lock()
	defer w.Record.mu.Unlock()
	w.Record.truth = append(w.Record.truth, t)
}

// Smooth ends what a Note with Rough began.
func (w *World) Smooth(fault string, c Cause) {
	w.rough--
	w.Note(fault, c)
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// cuts lists every pair of hosts between which no frame passes. A balancer whose cable
// is out reaches nobody.
func (w *World) cuts() [][2]string {
	pairs := map[[2]string]bool{}
	for _, p := range w.Switch.Cuts() {
		pairs[p] = true
	}
	for _, b := range w.Balancers {
		if !b.unplugged {
			continue
		}
		for _, other := range w.hosts() {
			if other != b.Name {
				pairs[[2]string{b.Name, other}], pairs[[2]string{other, b.Name}] = true, true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(pairs), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
}

// hosts are the names of all hosts in the VPC, the cloud's last.
func (w *World) hosts() []string {
	var out []string
	for _, b := range w.Balancers {
		out = append(out, b.Name)
	}
	return append(out, w.cloudHost.Name)
}

// History is what has happened in the world so far.
func (w *World) History() (checker.History, []string) {
	now, boot := time.Now(), cluster.Boottime()
	at := func(t time.Time) time.Duration {
		if t.IsZero() {
			return 0
		}
		return boot - now.Sub(t)
	}
	h := checker.History{Setup: w.setup(), End: boot}
	journal := w.Cloud.Journal()
	for _, x := range journal.Writes {
		h.Writes = append(h.Writes, checker.Write{
			Arrived: at(x.Arrived), Accepted: at(x.Accepted), Node: x.Node, Epoch: x.Epoch,
			Token: x.Token, Target: w.nameOf(x.Droplet), Outcome: x.Outcome,
		})
	}
	routed := w.routed.times()
	for i, c := range journal.Changes {
		holder := checker.Holder{At: at(c.At), To: w.nameOf(c.To), Foreign: c.To == stranger, Routed: boot}
		if i < len(routed) { // else the network has not followed yet
			holder.Routed = routed[i]
		}
		h.Holders = append(h.Holders, holder)
	}
	complaints := w.system.Logs(w, &h)
	w.Record.mu.Lock()
	defer w.Record.mu.Unlock()
	h.Truth, h.Acks = slices.Clone(w.Record.truth), slices.Clone(w.Record.acks)
	h.Samples, h.Requests = slices.Clone(w.Record.samples), slices.Clone(w.Record.requests)
	return h, complaints
}

// setup is the checker's: bounds as the configuration of the daemons makes them, with
// room for a busy machine.
func (w *World) setup() checker.Setup {
	s := checker.Setup{
		System: w.system.Key(), Seed: w.opts.Seed, Assign: w.opts.Assign,
		Settle: cmp.Or(w.opts.Settle, settle), Detect: detect, Repair: w.opts.repair(),
		Cause: cause, Minority: cluster.TicketLife + 2*time.Second,
	}
	for _, b := range w.Balancers {
		s.Nodes = append(s.Nodes, b.Name)
	}
	return s
}
