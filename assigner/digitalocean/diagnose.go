package digitalocean

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/digitalocean/godo"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/cloudhttp"
)

// Diagnose finds out why the assign of an address that is at rest elsewhere was refused with 422,
// which means four things and is told apart by looking, never by its text:
//
//	the address has an action pending     the Claimer has looked: it is at rest now; nil
//	the droplet has one                   class Pending: it passes, or a peer's droplet has none
//	the droplet has another address       class Own
//	address and droplet in two regions    class Own
//
// It makes at most four reads. What it cannot find out is no fault: nil.
func (p *Provider) Diagnose(ctx context.Context, ip netip.Addr) error {
	ip = canonical(ip)
	who, err := p.identity(ctx)
	if err != nil {
		return err
	}
	for _, look := range []func(context.Context, netip.Addr, int) error{p.region, p.otherAddress, p.busy} {
		if err := look(ctx, ip, who.Droplet); err != nil {
			return err
		}
	}
	return nil
}

// region tells an address of another region.
func (p *Provider) region(ctx context.Context, ip netip.Addr, _ int) error {
	r, err := p.reservation(ctx, ip)
	if err != nil {
		return nil //nolint:nilerror // nothing was found out; the refusal itself is reported
	}
	return p.sameRegion(ctx, r)
}

// otherAddress tells that the droplet holds another reserved address of the family: it can have
// one.
func (p *Provider) otherAddress(ctx context.Context, ip netip.Addr, droplet int) error {
	ctx, cancel, err := p.read(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	all, err := p.family(ip).list(ctx)
	if err != nil {
		return nil //nolint:nilerror // as above
	}
	for _, r := range all {
		if got, err := netip.ParseAddr(r.ip); r.droplet != nil && r.droplet.ID == droplet && err == nil && canonical(got) != ip {
			return assigner.Errorf(assigner.Own,
				"droplet %d holds the reserved IP %s already and can have one only: unassign that one, it is not this cluster's", droplet, got)
		}
	}
	return nil
}

// busy tells that an action runs on the droplet: a snapshot, a resize, a volume
// (terraform-provider-digitalocean #1034).
func (p *Provider) busy(ctx context.Context, _ netip.Addr, droplet int) error {
	ctx, cancel, err := p.read(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	actions, _, err := p.api.Droplets.Actions(ctx, droplet, &godo.ListOptions{PerPage: perPage})
	if err != nil {
		return nil //nolint:nilerror // as above
	}
	for _, a := range actions {
		if a.Status == godo.ActionInProgress {
			return assigner.Errorf(assigner.Pending, "droplet %d is busy: its action %d (%s) is in progress", droplet, a.ID, cloudhttp.Truncate(a.Type))
		}
	}
	return nil
}

// Actions lists the latest actions of the address, newest first; of an IPv6 address those of all
// IPv6 addresses of the account, for they do not name theirs.
func (p *Provider) Actions(ctx context.Context, ip netip.Addr) ([]assigner.Action, error) {
	ip = canonical(ip)
	ctx, cancel, err := p.read(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	all, err := p.family(ip).actions(ctx, ip.String())
	if err != nil {
		return nil, fault("actions of "+ip.String(), err)
	}
	return apply(all, func(a godo.Action) assigner.Action {
		out := assigner.Action{ID: strconv.Itoa(a.ID), Kind: cloudhttp.Truncate(a.Type)}
		if a.StartedAt != nil {
			out.At = a.StartedAt.Time
		}
		return out
	}), nil
}

// sight proves, once for each token, that it sees droplets. Without the scope droplet:read every
// address looks like one that nobody holds: it would be claimed for ever and never be confirmed.
func (p *Provider) sight(ctx context.Context) error {
	p.mu.Lock()
	seen := p.sighted
	p.mu.Unlock()
	if seen == p.token.Generation() {
		return nil
	}
	who, err := p.identity(ctx)
	if err != nil {
		return err
	}
	if _, err := p.seeDroplet(ctx, who.Droplet); err != nil {
		return fmt.Errorf("the address seems to be held by nobody, but can this token see a holder? %w", err)
	}
	return nil
}

// sees notes that the token of this generation has shown us a droplet.
func (p *Provider) sees(generation uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sighted = generation
}

// sameRegion compares the address's region with the droplet's, where both are known.
func (p *Provider) sameRegion(ctx context.Context, r *reservation) error {
	who, err := p.identity(ctx)
	if err != nil {
		return err
	}
	if who.Region == "" && r.region != "" {
		if who.Region, err = p.seeDroplet(ctx, who.Droplet); err != nil {
			return nil //nolint:nilerror // nothing was found out
		}
	}
	if r.region != "" && who.Region != "" && r.region != who.Region {
		return assigner.Errorf(assigner.Own,
			"the reserved IP %s is in region %s, droplet %d in %s: a reserved IP cannot leave its region",
			cloudhttp.Truncate(r.ip), cloudhttp.Truncate(r.region), who.Droplet, cloudhttp.Truncate(who.Region))
	}
	return nil
}
