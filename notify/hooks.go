package notify

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/buoy-lb/buoy/fsm"
	"github.com/buoy-lb/buoy/program"
)

const (
	// maxPending is how many states may wait for their hooks. With both hooks of a state running
	// into a timeout of 30 s the newest is told of within (1 + 4) x 2 x 30 s = 5 min.
	maxPending = 4
	// stopBound bounds the hooks of the end together: the service manager is waiting.
	stopBound = 5 * time.Second
)

// Programs are the hooks: each an absolute path and arguments, nil for none.
type Programs struct {
	OnMaster, OnBackup, OnFault, OnStop []string
	// Notify runs after each of these, with four more arguments.
	Notify []string
	// Timeout bounds one run; at its end the program's process group is killed.
	Timeout time.Duration
}

// specific is the hook of one state alone.
func (p Programs) specific(s fsm.VRRP) (key string, argv []string) {
	switch s {
	case fsm.VRRPMaster:
		return "on_master", p.OnMaster
	case fsm.VRRPBackup:
		return "on_backup", p.OnBackup
	case fsm.VRRPFault:
		return "on_fault", p.OnFault
	case fsm.VRRPStop:
		return "on_stop", p.OnStop
	}
	return "", nil
}

func (p Programs) none() bool {
	return len(p.OnMaster)+len(p.OnBackup)+len(p.OnFault)+len(p.OnStop)+len(p.Notify) == 0
}

// Hooks runs programs when this node's state changes: every state in order, one program at a
// time.
type Hooks struct {
	programs Programs
	log      hclog.Logger

	// wake has room for one: pending has grown.
	wake chan struct{}
	mu   sync.Mutex
	// pending are the events whose hooks have not been started.
	pending []fsm.Event

	// These belong to Run: who this is, and the state whose hooks were started last.
	id  Identity
	ran fsm.VRRP
}

// NewHooks checks that every program can be run, and may be: see [program.Check]. The error is an
// *Error.
func NewHooks(p Programs, log hclog.Logger) (*Hooks, error) {
	for _, hook := range []struct {
		key  string
		argv []string
	}{{"on_master", p.OnMaster}, {"on_backup", p.OnBackup}, {"on_fault", p.OnFault}, {"on_stop", p.OnStop}, {"notify", p.Notify}} {
		if len(hook.argv) == 0 {
			continue
		}
		if err := program.Check(hook.argv[0]); err != nil {
			return nil, &Error{"hooks." + hook.key, err}
		}
	}
	return &Hooks{programs: p, log: log, wake: make(chan struct{}, 1)}, nil
}

// Tell has the hooks of e run if it is a change of this node's state. It never blocks. When more
// than four states wait, only the newest of them is kept, and the log names the others.
func (h *Hooks) Tell(e fsm.Event) {
	if e.Kind != fsm.EventRole || h.programs.none() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.pending) == maxPending {
		h.log.Warn("the hooks cannot keep up: states are left out", "states", states(h.pending), "newest", e.State)
		h.pending = nil
	}
	h.pending = append(h.pending, e)
	poke(h.wake)
}

func states(events []fsm.Event) string {
	var names []string
	for _, e := range events {
		names = append(names, string(e.State))
	}
	return strings.Join(names, ", ")
}

// Run runs hooks, as id, until ctx ends; it may be called once. Then it kills what is running, leaves out what is waiting, and
// runs the hooks of last, 5 s at most.
func (h *Hooks) Run(ctx context.Context, id Identity, last func() fsm.Event) {
	h.id = id
	if h.programs.none() {
		<-ctx.Done()
		return
	}
	for ctx.Err() == nil {
		if e, ok := h.next(); ok {
			h.state(ctx, e)
			continue
		}
		select {
		case <-ctx.Done():
		case <-h.wake:
		}
	}
	h.mu.Lock()
	if len(h.pending) > 0 {
		h.log.Warn("the daemon stops: the hooks of states are left out", "states", states(h.pending))
	}
	h.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), stopBound, fmt.Errorf("the hooks of the end took longer than %v", stopBound))
	defer cancel()
	h.state(ctx, last())
}

// next takes the oldest of the events that wait.
func (h *Hooks) next() (fsm.Event, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.pending) == 0 {
		return fsm.Event{}, false
	}
	e := h.pending[0]
	h.pending = h.pending[1:]
	return e, true
}

// state runs the hooks of e: the one of its state, then the generic one, whose arguments are
// those of keepalived's notify (keepalived.conf(5), vrrp_instance).
func (h *Hooks) state(ctx context.Context, e fsm.Event) {
	env := h.environment(e)
	h.ran = e.State
	key, argv := h.programs.specific(e.State)
	h.run(ctx, key, argv, env, e)
	if argv := h.programs.Notify; len(argv) > 0 {
		all := append(argv[:len(argv):len(argv)], "INSTANCE", h.id.Cluster, string(e.State), strconv.Itoa(e.Priority))
		h.run(ctx, "notify", all, env, e)
	}
}

// environment is what a hook finds beside the daemon's own variables.
func (h *Hooks) environment(e fsm.Event) []string {
	return []string{
		"BUOY_CLUSTER=" + h.id.Cluster,
		"BUOY_NODE=" + h.id.Node,
		"BUOY_STATE=" + string(e.State),
		"BUOY_PREVIOUS=" + string(h.ran),
		"BUOY_TERM=" + strconv.FormatUint(e.Term, 10),
		"BUOY_REASON=" + program.Summary(e.Reason),
		"BUOY_IP=" + h.id.ips(),
		"BUOY_INSTANCE=" + h.id.Instance,
		"BUOY_LEADER=" + e.Leader,
	}
}

// run runs one hook to its end and logs how it went.
func (h *Hooks) run(ctx context.Context, key string, argv, env []string, e fsm.Event) {
	if len(argv) == 0 {
		return
	}
	log := h.log.With("hook", key, "state", e.State, "term", e.Term, "program", argv[0])
	if ctx.Err() != nil {
		log.Warn("a hook is not run", "error", context.Cause(ctx))
		return
	}
	if err := program.Check(argv[0]); err != nil {
		log.Error("a hook is not run", "error", err)
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, h.programs.Timeout, fmt.Errorf("not done within %v", h.programs.Timeout))
	defer cancel()
	start := time.Now()
	out, err := program.Run(ctx, argv, env)
	log = log.With("took", time.Since(start).Round(time.Millisecond), "output", program.Summary(out.Stdout+"\n"+out.Stderr))
	switch cause := context.Cause(ctx); {
	case err == nil:
		log.Info("hook done")
	case errors.Is(cause, context.Canceled):
		log.Warn("hook killed", "error", "the daemon stops")
	case cause != nil:
		log.Warn("hook killed", "error", cause)
	default:
		log.Warn("hook failed", "error", err)
	}
}
