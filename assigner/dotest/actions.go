package dotest

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"strconv"
)

// startAction is the POST that buoy lives by.
func (s *Server) startAction(f *family) handler {
	return func(c *call) reply {
		s.mu.Lock()
		defer s.mu.Unlock()
		a := s.findLocked(f, c)
		if a == nil {
			return notFound()
		}
		target := int(c.body.DropletID)
		switch c.body.Type {
		case "assign":
			if _, ok := s.droplets[target]; !ok {
				return notFound()
			}
		case "unassign":
			target = 0
		default:
			return unprocessable(fmt.Sprintf("%q is not a type of action; use assign or unassign.", c.body.Type))
		}
		if why := s.refusalLocked(a, target); why != "" {
			return unprocessable(why)
		}
		act := s.startLocked(a, target, c.effect)
		c.acceptLocked(act)
		return reply{status: http.StatusCreated, body: map[string]any{"action": showAction(act, f.resource)}}
	}
}

func (s *Server) listAddressActions(f *family) handler {
	return func(c *call) reply {
		s.mu.Lock()
		defer s.mu.Unlock()
		a := s.findLocked(f, c)
		if a == nil {
			return notFound()
		}
		found := s.actionsLocked(func(act *action) bool { return act.ip == a.ip })
		return page(c, "actions", found, func(act *action) any { return showAction(act, f.resource) })
	}
}

func (s *Server) getAddressAction(f *family) handler {
	return func(c *call) reply {
		s.mu.Lock()
		defer s.mu.Unlock()
		a, act := s.findLocked(f, c), s.findActionLocked(c)
		if a == nil || act == nil || act.ip != a.ip {
			return notFound()
		}
		return ok("action", showAction(act, f.resource))
	}
}

// actionsLocked returns the actions that match, newest first.
func (s *Server) actionsLocked(match func(*action) bool) []*action {
	var found []*action
	for _, act := range slices.Backward(s.actions) {
		if match(act) {
			found = append(found, act)
		}
	}
	return found
}

// findActionLocked returns the action of the path; nil if it cannot be seen.
func (s *Server) findActionLocked(c *call) *action {
	id, err := strconv.Atoi(c.r.PathValue("id"))
	i := id - firstActionID
	if err != nil || i < 0 || i >= len(s.actions) || s.actions[i].fate == ActionGone {
		return nil
	}
	return s.actions[i]
}

func (s *Server) listActions(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.actionsLocked(func(*action) bool { return true })
	return page(c, "actions", found, func(act *action) any { return showAction(act, resourceOf(act)) })
}

func (s *Server) getAction(c *call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	act := s.findActionLocked(c)
	if act == nil {
		return notFound()
	}
	return ok("action", showAction(act, resourceOf(act)))
}

func resourceOf(act *action) string {
	switch {
	case !act.ip.IsValid():
		return "droplet"
	case act.ip.Is4():
		return reservedIPs.resource
	default:
		return reservedIPv6.resource
	}
}

func showAction(act *action, resource string) actionJSON {
	out := actionJSON{
		ID: act.id, Status: act.status, Type: act.kind, StartedAt: stamp(act.started),
		ResourceType: resource, Region: showRegion(act.region), RegionSlug: act.region, ProjectID: projectID,
	}
	if !act.completed.IsZero() {
		at := stamp(act.completed)
		out.CompletedAt = &at
	}
	switch id := uint32(0); {
	case !act.ip.IsValid():
		id = uint32(act.droplet)
		out.ResourceID = &id
	case act.ip.Is4(): // the address as a number: doctl #493
		ip4 := act.ip.As4()
		id = binary.BigEndian.Uint32(ip4[:])
		out.ResourceID = &id
	}
	return out
}
