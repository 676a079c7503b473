package digitalocean

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/digitalocean/godo"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/cloudhttp"
)

// Holder looks the address up: GET /v2/reserved_ips/{ip} or /v2/reserved_ipv6/{ip}. That nobody
// holds it is believed only of a token that has shown that it sees droplets; one without the scope
// droplet:read gives an own fault.
func (p *Provider) Holder(ctx context.Context, ip netip.Addr) (assigner.Holding, error) {
	r, err := p.reservation(ctx, ip)
	if err != nil {
		return assigner.Holding{}, err
	}
	locked, err := p.locked(ctx, canonical(ip), r)
	if err != nil {
		return assigner.Holding{}, err
	}
	if r.droplet == nil {
		return assigner.Holding{Locked: locked}, p.sight(ctx)
	}
	return assigner.Holding{Instance: strconv.Itoa(r.droplet.ID), Locked: locked}, nil
}

// locked reports whether an action pends on the address. For IPv6 that takes a second request,
// which a routine look that finds the address at home does without.
func (p *Provider) locked(ctx context.Context, ip netip.Addr, r *reservation) (bool, error) {
	p.mu.Lock()
	self := p.who.Droplet
	p.mu.Unlock()
	if ip.Is4() || (assigner.IsRoutine(ctx) && r.droplet != nil && r.droplet.ID == self) {
		return r.locked, nil
	}
	ctx, cancel, err := p.read(ctx)
	if err != nil {
		return false, err
	}
	defer cancel()
	gen := p.token.Generation()
	locked, err := reservedIPv6{p.api}.locked(ctx)
	if err != nil {
		return false, fault("list of actions", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.follows = gen
	return locked, nil
}

// reservation gets the reserved address and makes sure that the answer is about it.
func (p *Provider) reservation(ctx context.Context, ip netip.Addr) (*reservation, error) {
	ip = canonical(ip)
	if assigner.IsRoutine(ctx) {
		if err := p.budget.spare(ip); err != nil {
			return nil, err
		}
	}
	ctx, cancel, err := p.read(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	gen := p.token.Generation()
	r, err := p.family(ip).get(ctx, ip.String())
	switch {
	case err != nil:
		return nil, fault("reserved IP "+ip.String(), err)
	case r == nil:
		return nil, nonsense("the answer about reserved IP %s is empty", ip)
	}
	if got, err := netip.ParseAddr(r.ip); err != nil || canonical(got) != ip {
		return nil, nonsense("reserved IP %s was asked for, the answer is about %q", ip, cloudhttp.Truncate(r.ip))
	}
	if r.droplet != nil {
		if r.droplet.ID < 1 {
			return nil, nonsense("reserved IP %s is held by a droplet without an ID", ip)
		}
		p.sees(gen)
	}
	return r, nil
}

// Prepare waits until a claim of ip keeps the distance to our own last one: DigitalOcean has been
// seen to confuse a droplet's addresses that change in quick succession (flipop, pull request 11).
func (p *Provider) Prepare(ctx context.Context, ip netip.Addr) error {
	p.mu.Lock()
	wait := time.Until(p.posted[canonical(ip)].Add(p.gap))
	p.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Claim asks for the address: POST .../{ip}/actions. The returned action is DigitalOcean's action
// ID.
func (p *Provider) Claim(ctx context.Context, ip netip.Addr, check func() error) (string, error) {
	ip = canonical(ip)
	who, err := p.identity(ctx)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	ctx, right := cloudhttp.WithPermit(ctx, check)
	defer right.Done()
	action, err := p.family(ip).assign(ctx, ip.String(), who.Droplet)
	if right.Begun() {
		p.mu.Lock()
		p.posted[ip] = time.Now()
		p.mu.Unlock()
	}
	switch refusal := right.Refusal(); {
	case refusal != nil:
		return "", &assigner.Error{Class: assigner.NoRight, Op: "write the request", Err: refusal}
	case err != nil:
		return "", fault(fmt.Sprintf("reserved IP %s or droplet %d", ip, who.Droplet), err)
	case action == nil || action.ID < 1:
		return "", nonsense("the answer to the assign of %s names no action", ip)
	}
	return strconv.Itoa(action.ID), nil
}

// Pending looks the action up. Whatever is not "in-progress" is over: "completed", "errored", and
// the undocumented "done" alike, since the Claimer looks at the address next. An ID that is not
// known (yet, or for ever) says nothing: then the address itself is watched.
func (p *Provider) Pending(ctx context.Context, ip netip.Addr, action string) (bool, error) {
	id, err := strconv.Atoi(action)
	if err != nil {
		return false, fmt.Errorf("action %q is not one of ours: %w", action, err)
	}
	a, err := p.action(ctx, canonical(ip), id)
	var api *apiError
	if errors.As(err, &api) && api.status == http.StatusNotFound {
		return p.away(ctx, ip)
	}
	if err != nil {
		return false, err
	}
	return a.Status == godo.ActionInProgress, nil
}

func (p *Provider) action(ctx context.Context, ip netip.Addr, id int) (*godo.Action, error) {
	ctx, cancel, err := p.read(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	a, err := p.family(ip).action(ctx, ip.String(), id)
	if err != nil {
		return nil, fault(fmt.Sprintf("action %d", id), err)
	}
	if a == nil || a.ID != id {
		return nil, nonsense("action %d was asked for, the answer is about another or none", id)
	}
	return a, nil
}

// away reports whether the address has not arrived here yet.
func (p *Provider) away(ctx context.Context, ip netip.Addr) (bool, error) {
	self, err := p.Self(ctx)
	if err != nil {
		return false, err
	}
	h, err := p.Holder(ctx, ip)
	if err != nil {
		return false, err
	}
	return h.Locked || h.Instance != self, nil
}
