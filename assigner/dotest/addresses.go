package dotest

import (
	"net/http"
	"net/netip"
	"slices"
)

// findLocked returns the address of the path; nil if the family has none such.
func (s *Server) findLocked(f *family, c *call) *address {
	ip, err := netip.ParseAddr(c.r.PathValue("ip"))
	if err != nil || ip.Is4() == f.v6 {
		return nil
	}
	return s.addresses[ip]
}

func (s *Server) listAddresses(f *family) handler {
	return func(c *call) reply {
		s.mu.Lock()
		defer s.mu.Unlock()
		var found []*address
		for _, a := range s.addresses {
			if a.ip.Is4() != f.v6 {
				found = append(found, a)
			}
		}
		slices.SortFunc(found, func(a, b *address) int { return a.ip.Compare(b.ip) })
		return page(c, f.many, found, func(a *address) any { return s.showAddressLocked(f, c, a) })
	}
}

func (s *Server) getAddress(f *family) handler {
	return func(c *call) reply {
		s.mu.Lock()
		defer s.mu.Unlock()
		a := s.findLocked(f, c)
		if a == nil {
			return notFound()
		}
		return ok(f.one, s.showAddressLocked(f, c, a))
	}
}

// createAddress reserves a free address, for a region or for a droplet.
func (s *Server) createAddress(f *family) handler {
	return func(c *call) reply {
		region, target := c.body.Region, int(c.body.DropletID)
		status := http.StatusAccepted
		if f.v6 {
			region, target, status = c.body.RegionSlug, 0, http.StatusCreated
		}
		if (region == "") == (target == 0) {
			return unprocessable("Exactly one of a region and a Droplet is needed.")
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if d, ok := s.droplets[target]; ok {
			region = d.Region
		}
		ip := s.freeAddressLocked(f)
		if target != 0 {
			if why := s.refusalLocked(&address{ip: ip, region: region}, target); why != "" {
				return unprocessable(why)
			}
		}
		a := s.reserveLocked(ip, region)
		var act *action
		links := map[string]any{}
		if target != 0 {
			act = s.startLocked(a, target, c.effect)
			links["droplets"] = []linkJSON{{ID: target, Rel: "create", Href: c.link("/v2/droplets/%d", target)}}
			links["actions"] = []linkJSON{{ID: act.id, Rel: "assign_ip", Href: c.link("/v2/actions/%d", act.id)}}
		}
		c.acceptLocked(act)
		rep := reply{status: status, body: map[string]any{f.one: s.showAddressLocked(f, c, a), "links": links}}
		if f.v6 {
			delete(rep.body.(map[string]any), "links")
		}
		return rep
	}
}

// freeAddressLocked finds an unused address in the documentation ranges.
func (s *Server) freeAddressLocked(f *family) netip.Addr {
	ip := netip.AddrFrom4([4]byte{198, 51, 100, 1})
	if f.v6 {
		ip = netip.MustParseAddr("2001:db8:d0::1")
	}
	for s.addresses[ip] != nil {
		ip = ip.Next()
	}
	return ip
}

func (s *Server) deleteAddress(f *family) handler {
	return func(c *call) reply {
		rep := reply{status: http.StatusNoContent}
		s.withMoves(func() {
			a := s.findLocked(f, c)
			switch {
			case a == nil:
				rep = notFound()
			case a.pending != nil:
				rep = unprocessable("The floating IP already has a pending event.")
			default:
				c.acceptLocked(nil)
				s.setHolderLocked(a, 0, nil)
				delete(s.addresses, a.ip)
			}
		})
		return rep
	}
}

// showAddressLocked is the address as this caller may see it: without the
// scope droplet:read it seems to be held by nobody.
func (s *Server) showAddressLocked(f *family, c *call, a *address) any {
	holder := a.holder
	if a.pending != nil {
		switch s.opts.PendingView {
		case PendingOld:
		case PendingNull:
			holder = 0
		case PendingNew:
			holder = a.pending.target
		}
	}
	var d *dropletJSON
	if known, ok := s.droplets[holder]; ok && c.token.may("droplet:read") {
		d = s.showDropletLocked(known)
	}
	if f.v6 {
		return addressV6JSON{IP: a.ip.String(), RegionSlug: a.region, ReservedAt: stamp(a.reserved), Droplet: d}
	}
	return addressJSON{IP: a.ip.String(), Region: showRegion(a.region), Droplet: d, Locked: a.pending != nil, ProjectID: projectID}
}
