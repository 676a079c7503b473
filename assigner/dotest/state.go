package dotest

import (
	"fmt"
	"net/netip"
	"time"
)

// Droplet is a virtual machine of the account. Addresses that are not given
// are derived from the ID.
type Droplet struct {
	ID          int
	Name        string
	Region      string // a slug, "nyc3"
	PublicIPv4  netip.Addr
	PrivateIPv4 netip.Addr
	AnchorIPv4  netip.Addr
}

type droplet struct {
	Droplet
	created time.Time
	pending *action // a snapshot, a power action…; nil if none
}

// address is a reserved IP.
type address struct {
	ip       netip.Addr
	region   string
	reserved time.Time
	holder   int       // droplet ID, 0 = nobody
	since    time.Time // of the present holder
	pending  *action   // not nil while locked
	seen     []sighting
}

// sighting is a change of holder as the metadata service will see it.
type sighting struct {
	from   time.Time
	holder int
}

// AddDroplet adds a droplet, or replaces the one with the same ID.
func (s *Server) AddDroplet(d Droplet) {
	orElse := func(ip netip.Addr, a, b byte) netip.Addr {
		if ip.IsValid() {
			return ip
		}
		return netip.AddrFrom4([4]byte{a, b, byte(d.ID >> 8), byte(d.ID)})
	}
	d.PublicIPv4 = orElse(d.PublicIPv4, 198, 18)
	d.PrivateIPv4 = orElse(d.PrivateIPv4, 10, 114)
	d.AnchorIPv4 = orElse(d.AnchorIPv4, 10, 17)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.droplets[d.ID] = &droplet{Droplet: d, created: time.Now()}
}

// AddReservedIP adds an IPv4 or IPv6 address to the account, held by a droplet
// of the same region (0: by nobody).
func (s *Server) AddReservedIP(ip netip.Addr, region string, holder int) error {
	var err error
	s.withMoves(func() {
		if _, ok := s.addresses[ip]; ok || !ip.IsValid() {
			err = fmt.Errorf("add reserved IP: %v is invalid or already there", ip)
			return
		}
		if holder == 0 {
			s.reserveLocked(ip, region)
			return
		}
		if why := s.refusalLocked(&address{ip: ip, region: region}, holder); why != "" {
			err = fmt.Errorf("add reserved IP %s: %s", ip, why)
			return
		}
		a := s.reserveLocked(ip, region)
		s.setHolderLocked(a, holder, s.newActionLocked(moveKind(holder), a, holder))
	})
	return err
}

// Steal moves ip to a droplet (0: to nobody) at once and behind everyone's
// back, as another writer with the same account would: the action list shows
// an action that is not ours. It fails where that writer would be refused.
func (s *Server) Steal(ip netip.Addr, dropletID int) error {
	var err error
	s.withMoves(func() {
		a, ok := s.addresses[ip]
		if !ok {
			err = fmt.Errorf("steal: no address %s in this account", ip)
			return
		}
		if why := s.refusalLocked(a, dropletID); why != "" {
			err = fmt.Errorf("steal %s: %s", ip, why)
			return
		}
		s.setHolderLocked(a, dropletID, s.newActionLocked(moveKind(dropletID), a, dropletID))
	})
	return err
}

// PendDroplet keeps a droplet busy with an event of its own (a snapshot) until
// the given time: assigns to it answer 422, as terraform-provider-digitalocean
// #1034 reports. A time in the past ends the event.
func (s *Server) PendDroplet(id int, until time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.droplets[id]
	if !ok {
		return fmt.Errorf("pend droplet: no droplet %d in this account", id)
	}
	s.finishDropletLocked(d, d.pending)
	left := time.Until(until)
	if left <= 0 {
		return nil
	}
	a := s.addActionLocked(&action{kind: "snapshot", droplet: id, region: d.Region})
	d.pending = a
	s.spawnLocked(func() {
		if s.sleep(left) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.finishDropletLocked(d, a)
		}
	})
	return nil
}

// finishDropletLocked completes a droplet's event if it is still going on.
func (s *Server) finishDropletLocked(d *droplet, a *action) {
	if a == nil || d.pending != a {
		return
	}
	d.pending = nil
	a.finish(completed)
}

// DestroyDroplet deletes a droplet. Its address stays in the account, held by
// nobody; an assign to it that is under way ends as errored.
func (s *Server) DestroyDroplet(id int) error {
	var err error
	s.withMoves(func() {
		if _, ok := s.droplets[id]; !ok {
			err = fmt.Errorf("destroy droplet: no droplet %d in this account", id)
			return
		}
		delete(s.droplets, id)
		for _, a := range s.addresses {
			if a.holder == id {
				s.setHolderLocked(a, 0, nil)
			}
		}
	})
	return err
}

func (s *Server) reserveLocked(ip netip.Addr, region string) *address {
	now := time.Now()
	a := &address{ip: ip, region: region, reserved: now, since: now}
	s.addresses[ip] = a
	s.newActionLocked("reserve_ip", a, 0).finish(completed)
	return a
}
