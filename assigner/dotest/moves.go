package dotest

import (
	"net/netip"
	"slices"
	"time"
)

// firstActionID is the ID of the first action of an account.
const firstActionID = 900001

// The statuses of an action.
const (
	inProgress = "in-progress"
	completed  = "completed"
	errored    = "errored"
)

// action is an event of an address (ip is valid) or of a droplet.
type action struct {
	id        int
	kind      string // "assign_ip"
	status    string
	started   time.Time
	completed time.Time // zero while in progress
	ip        netip.Addr
	droplet   int // of the droplet's own events
	target    int // the coming holder, 0 = nobody
	region    string
	fate      Effect // ActionErrored, ActionGone, ActionDone or anything else
}

// withMoves runs f, which may change holders, and reports those changes in
// their order once the state can be read again.
func (s *Server) withMoves(f func()) {
	s.moving.Lock()
	defer s.moving.Unlock()
	s.mu.Lock()
	before := len(s.changes)
	f()
	made := slices.Clone(s.changes[before:])
	s.mu.Unlock()
	if s.onAssigned == nil {
		return
	}
	for _, c := range made {
		s.onAssigned(c.IP, c.From, c.To)
	}
}

func moveKind(target int) string {
	if target == 0 {
		return "unassign_ip"
	}
	return "assign_ip"
}

func (s *Server) newActionLocked(kind string, a *address, target int) *action {
	return s.addActionLocked(&action{kind: kind, ip: a.ip, target: target, region: a.region})
}

func (s *Server) addActionLocked(a *action) *action {
	a.id = firstActionID + len(s.actions)
	a.status = inProgress
	a.started = time.Now()
	s.actions = append(s.actions, a)
	return a
}

func (a *action) finish(status string) {
	a.status = status
	a.completed = time.Now()
}

// refusalLocked says why a cannot be moved to target (0 = nobody) now; "" if it
// can. The texts of the API are documented nowhere; the first is quoted in
// doctl #493.
func (s *Server) refusalLocked(a *address, target int) string {
	if a.pending != nil {
		return "The floating IP already has a pending event."
	}
	if target == 0 {
		if a.holder == 0 {
			return "The floating IP is not assigned."
		}
		return ""
	}
	d, ok := s.droplets[target]
	if !ok {
		return "Droplet not found."
	}
	if d.Region != a.region {
		return "The floating IP and the Droplet must be in the same region."
	}
	if d.pending != nil {
		return "Droplet already has a pending event."
	}
	for _, other := range s.addresses {
		if other.ip.Is4() != a.ip.Is4() { // one of each family: not documented
			continue
		}
		if other.holder == target {
			return "Droplet already has a floating IP assigned."
		}
		if other.pending != nil && other.pending.target == target {
			return "Droplet already has a pending event."
		}
	}
	return ""
}

// startLocked locks the address and begins the move that refusalLocked allowed.
func (s *Server) startLocked(a *address, target int, fate Effect) *action {
	act := s.newActionLocked(moveKind(target), a, target)
	act.fate = fate
	a.pending = act
	latency := s.opts.Latency()
	s.spawnLocked(func() {
		if s.sleep(latency) {
			s.withMoves(func() { s.finishLocked(a, act) })
		}
	})
	return act
}

// finishLocked ends a move: the holder changes, the address is unlocked.
func (s *Server) finishLocked(a *address, act *action) {
	a.pending = nil
	_, exists := s.droplets[act.target]
	if act.fate == ActionErrored || act.target != 0 && !exists {
		act.finish(errored)
		return
	}
	s.setHolderLocked(a, act.target, act)
}

// setHolderLocked moves the address and completes the action that did it (nil
// if none did).
func (s *Server) setHolderLocked(a *address, to int, act *action) {
	now := time.Now()
	change := Change{At: now, IP: a.ip, From: a.holder, To: to}
	if act != nil {
		act.finish(completed)
		if act.fate == ActionDone {
			act.status = "done"
		}
		change.Action = act.id
	}
	if a.holder == to {
		return
	}
	a.holder, a.since = to, now
	a.seen = append(a.seen, sighting{from: now.Add(s.opts.MetadataLag()), holder: to})
	s.changes = append(s.changes, change)
	close(s.changed)
	s.changed = make(chan struct{})
}
