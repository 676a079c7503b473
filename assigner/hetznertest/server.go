package hetznertest

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	firstIP     = 4001
	firstAction = 900001
	defaultRate = 3600 // requests an hour of a project
)

// Server is the fake cloud: one project with its servers, floating IPs and tokens. Its methods are
// safe for concurrent use.
type Server struct {
	mu         sync.Mutex
	latency    time.Duration
	pendingNew bool
	perHour    int
	left       float64 // requests in the bucket
	filled     time.Time

	tokens  map[string]token // by the secret itself
	servers map[int64]bool
	ips     []*floatingIP // the number is the index + firstIP
	actions []*action     // the number is the index + firstAction
	faults  []*Fault
	writes  []*Write
}

type token struct {
	label    string
	readOnly bool
}

type floatingIP struct {
	id      int64
	prefix  netip.Prefix // of one address, or an IPv6 /64
	holder  int64        // 0 = nobody
	blocked bool
	deleted bool
	pending *action // not nil while an action runs
}

type action struct {
	id     int64
	ip     *floatingIP
	server int64
	begun  time.Time
	ends   time.Time
	fate   Effect // ActionError, ActionGone or anything else
}

// New returns an empty project: no servers, no addresses, and no token, so that every request is
// answered with 401 until AddToken. Actions finish at once, see SetLatency.
func New() *Server {
	return &Server{
		tokens: make(map[string]token), servers: make(map[int64]bool),
		perHour: defaultRate, left: defaultRate, filled: time.Now(),
	}
}

// SetLatency changes how long actions accepted from now on run.
func (s *Server) SetLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

// SetPendingNew makes a look show the coming holder while an action runs, instead of the old one.
// Nobody says which of them Hetzner does.
func (s *Server) SetPendingNew(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pendingNew = on
}

// SetRate changes the project's limit, in requests an hour, and how many of them are left.
func (s *Server) SetRate(perHour, left int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.perHour, s.left, s.filled = perHour, float64(left), time.Now()
}

// AddToken lets clients in that present secret, to read and write. The journal calls it by its
// label.
func (s *Server) AddToken(label, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[secret] = token{label: label}
}

// AddReadOnlyToken lets clients in for GET only.
func (s *Server) AddReadOnlyToken(label, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[secret] = token{label: label, readOnly: true}
}

// DeleteToken makes the API answer 401 to this secret.
func (s *Server) DeleteToken(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, secret)
}

// AddServer adds a server with that number.
func (s *Server) AddServer(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers[id] = true
}

// AddFloatingIP adds an IPv4 address (/32) or an IPv6 network (/64), held by a server (0: by
// nobody), and returns its number.
func (s *Server) AddFloatingIP(prefix netip.Prefix, holder int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &floatingIP{id: firstIP + int64(len(s.ips)), prefix: prefix.Masked(), holder: holder}
	s.ips = append(s.ips, f)
	return f.id
}

// DeleteFloatingIP takes the floating IP with ip out of the project.
func (s *Server) DeleteFloatingIP(ip netip.Addr) {
	s.edit(ip, func(f *floatingIP) { f.deleted = true })
}

// Block does what Hetzner's abuse department does.
func (s *Server) Block(ip netip.Addr, on bool) { s.edit(ip, func(f *floatingIP) { f.blocked = on }) }

func (s *Server) edit(ip netip.Addr, change func(*floatingIP)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.findLocked(ip); f != nil {
		change(f)
	}
}

// Steal moves the address to a server (0: to nobody) at once and behind everyone's back. It fails
// while an action runs.
func (s *Server) Steal(ip netip.Addr, server int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.findLocked(ip)
	if f == nil || f.pending != nil {
		return fmt.Errorf("steal %s: unknown, or an action is running", ip)
	}
	f.holder = server
	return nil
}

// Assign starts an action as another client of the same project would.
func (s *Server) Assign(ip netip.Addr, server int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.findLocked(ip)
	if f == nil {
		return fmt.Errorf("assign %s: unknown", ip)
	}
	if refusal := s.refusalLocked(f, server); refusal != nil {
		return fmt.Errorf("assign %s: %s", ip, refusal.Message)
	}
	s.startLocked(f, server, Pass)
	return nil
}

// Holder returns the server that holds ip now, 0 if nobody does or there is no such address.
func (s *Server) Holder(ip netip.Addr) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.findLocked(ip); f != nil {
		return f.holder
	}
	return 0
}

// findLocked returns the floating IP that holds ip, nil if there is none.
func (s *Server) findLocked(ip netip.Addr) *floatingIP {
	s.settleLocked()
	i := slices.IndexFunc(s.ips, func(f *floatingIP) bool { return !f.deleted && f.prefix.Contains(ip) })
	if i < 0 {
		return nil
	}
	return s.ips[i]
}

// settleLocked finishes the actions whose time has come.
func (s *Server) settleLocked() {
	for _, f := range s.ips {
		if a := f.pending; a != nil && !time.Now().Before(a.ends) {
			f.pending = nil
			if a.fate != ActionError {
				f.holder = a.server
			}
		}
	}
}

func (s *Server) startLocked(f *floatingIP, server int64, fate Effect) *action {
	now := time.Now()
	a := &action{
		id: firstAction + int64(len(s.actions)), ip: f, server: server,
		begun: now, ends: now.Add(s.latency), fate: fate,
	}
	s.actions = append(s.actions, a)
	f.pending = a
	return a
}

// refusalLocked says why f cannot be assigned to server now; nil if it can.
func (s *Server) refusalLocked(f *floatingIP, server int64) *apiError {
	switch {
	case server == 0:
		return refuse("invalid_input", "invalid input in field 'server'")
	case !s.servers[server]:
		return refuse("not_found", "server not found") // a guess
	case f.pending != nil:
		return refuse("locked", "floating IP is locked") // ansible-collections/hetzner.hcloud #694
	case f.holder == server:
		return refuse("floating_ip_assigned", "floating IP already assigned") // that it means this case: a guess
	}
	return nil
}

// spendLocked counts a request against the project's limit, which fills evenly over the hour.
func (s *Server) spendLocked() bool {
	now := time.Now()
	s.left = min(float64(s.perHour), s.left+now.Sub(s.filled).Hours()*float64(s.perHour))
	s.filled = now
	if s.left < 1 {
		return false
	}
	s.left--
	return true
}
