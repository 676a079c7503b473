package wire

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
)

// way names a direction: from and to.
type way = [2]string

// Switch is an Ethernet switch that learns nothing: it knows the address of each port
// and drops frames for any other. Between two ports lie two directions that Spoil can
// change at any time.
type Switch struct {
	seed    uint64
	closing chan struct{}
	close   sync.Once
	running sync.WaitGroup // readers, and what serves delayed directions

	mu         sync.RWMutex
	ports      []*Port // as connected: broadcasts go out in this order
	byAddress  map[hardware]*Port
	directions map[way]*direction
}

// NewSwitch makes a switch without ports; equal seeds spoil frames equally.
func NewSwitch(seed uint64) *Switch {
	return &Switch{
		seed:       seed,
		closing:    make(chan struct{}),
		byAddress:  map[hardware]*Port{},
		directions: map[way]*direction{},
	}
}

// Connect makes a TAP named link in h, sets it up and forwards its frames. A host has
// one port per switch. Its hardware address depends on the two names alone.
func (s *Switch) Connect(h *Host, link string) (*Port, error) {
	p := &Port{host: h, link: link, address: hardwareAddress(h.Name, link)}
	if err := p.open(); err != nil {
		return nil, fmt.Errorf("connect %s of %s: %w", link, h.Name, err)
	}
	if err := s.add(p); err != nil {
		p.tap.Close()
		return nil, fmt.Errorf("connect %s of %s: %w", link, h.Name, err)
	}
	return p, nil
}

func (s *Switch) add(p *Port) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closing:
		return os.ErrClosed
	default:
	}
	if s.port(p.host.Name) != nil || s.byAddress[p.address] != nil {
		return errors.New("the host or its hardware address is connected already")
	}
	for _, other := range s.ports {
		s.direction(p.host.Name, other.host.Name)
		s.direction(other.host.Name, p.host.Name)
	}
	s.ports = append(s.ports, p)
	s.byAddress[p.address] = p
	s.running.Go(func() { s.read(p) })
	return nil
}

// Introduce makes hosts, given by name, known to all others for good: ARP would ask a
// cut-off neighbour once a second, give up for as long, and so blur when a cut heals.
// It may be called again, for further addresses or for one that has moved.
func (s *Switch) Introduce(addresses map[string]netip.Addr) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for name, address := range addresses {
		known := s.port(name)
		if known == nil {
			return fmt.Errorf("introduce %s: not connected", name)
		}
		for _, p := range s.ports {
			if p == known {
				continue
			}
			if err := p.introduce(address, known.address); err != nil {
				return fmt.Errorf("introduce %s to %s: %w", name, p.host.Name, err)
			}
		}
	}
	return nil
}

// Spoil changes the way from one host to another, given by name, until the next change.
// Hosts need not be connected yet. When it returns, no frame meets the old line.
func (s *Switch) Spoil(from, to string, l Line) {
	s.mu.Lock()
	d := s.direction(from, to)
	s.mu.Unlock()
	d.change(l)
}

// SpoilBoth is Spoil in both directions, one after the other.
func (s *Switch) SpoilBoth(a, b string, l Line) {
	s.Spoil(a, b, l)
	s.Spoil(b, a, l)
}

// Heal makes every line perfect again. Frames under way are delivered within 2 ms,
// before any later ones. Cables stay as SetCarrier left them.
func (s *Switch) Heal() {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, d := range s.directions {
		d.change(Line{})
	}
}

// Cuts returns the ways, from and to, that are cut at present, sorted.
func (s *Switch) Cuts() [][2]string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var cuts [][2]string
	for w, d := range s.directions {
		if d.cut() {
			cuts = append(cuts, w)
		}
	}
	slices.SortFunc(cuts, func(a, b way) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
	})
	return cuts
}

// Close takes all TAPs away and waits for the switch's goroutines. Frames under way are
// lost.
func (s *Switch) Close() error {
	var errs []error
	s.close.Do(func() {
		s.mu.Lock()
		close(s.closing)
		s.mu.Unlock()
		for _, p := range s.ports { // which nothing changes any more
			errs = append(errs, p.tap.Close())
		}
	})
	s.running.Wait()
	return errors.Join(errs...)
}

// port returns the port of a host, or nil. The caller holds mu.
func (s *Switch) port(host string) *Port {
	i := slices.IndexFunc(s.ports, func(p *Port) bool { return p.host.Name == host })
	if i < 0 {
		return nil
	}
	return s.ports[i]
}

// direction returns the one between two hosts, new or old. The caller holds mu.
func (s *Switch) direction(from, to string) *direction {
	w := way{from, to}
	if s.directions[w] == nil {
		s.directions[w] = s.newDirection(from, to)
	}
	return s.directions[w]
}

// read forwards what a host sends until its TAP is gone.
func (s *Switch) read(p *Port) {
	buf := make([]byte, maxFrame)
	for {
		n, err := p.tap.Read(buf)
		if err != nil {
			return
		}
		if n >= len(hardware{}) && !p.unplugged.Load() {
			s.forward(p, buf[:n])
		}
	}
}

func (s *Switch) forward(from *Port, frame []byte) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if frame[0]&1 == 0 { // a unicast address
		if to := s.byAddress[hardware(frame[:6])]; to != nil && to != from {
			s.directions[way{from.host.Name, to.host.Name}].send(frame, to)
		}
		return
	}
	for _, to := range s.ports {
		if to != from {
			s.directions[way{from.host.Name, to.host.Name}].send(frame, to)
		}
	}
}
