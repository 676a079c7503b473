package digitalocean

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/digitalocean/godo"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/cloudhttp"
)

// Holder looks the address up: GET /v2/reserved_ips/{ip}.
func (p *Provider) Holder(ctx context.Context, ip netip.Addr) (assigner.Holding, error) {
	address, err := p.address(ctx, ip)
	if err != nil {
		return assigner.Holding{}, err
	}
	h := assigner.Holding{Locked: address.Locked}
	if address.Droplet != nil {
		h.Instance = strconv.Itoa(address.Droplet.ID)
	}
	return h, nil
}

// address gets the reserved IP and makes sure that the answer is about it.
func (p *Provider) address(ctx context.Context, ip netip.Addr) (*godo.ReservedIP, error) {
	if err := supported(ip); err != nil {
		return nil, err
	}
	ctx, cancel, err := p.read(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	address, _, err := p.api.ReservedIPs.Get(ctx, ip.String())
	switch {
	case err != nil:
		return nil, fault("reserved IP "+ip.String(), err)
	case address == nil:
		return nil, nonsense("the answer about reserved IP %s is empty", ip)
	}
	if got, err := netip.ParseAddr(address.IP); err != nil || got != ip {
		return nil, nonsense("reserved IP %s was asked for, the answer is about %q", ip, cloudhttp.Truncate(address.IP))
	}
	if address.Droplet != nil && address.Droplet.ID < 1 {
		return nil, nonsense("reserved IP %s is held by a droplet without an ID", ip)
	}
	return address, nil
}

// Claim asks for the address: POST /v2/reserved_ips/{ip}/actions. The returned action is
// DigitalOcean's action ID.
func (p *Provider) Claim(ctx context.Context, ip netip.Addr, check func() error) (string, error) {
	if err := supported(ip); err != nil {
		return "", err
	}
	who, err := p.identity(ctx)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	ctx, right := cloudhttp.WithPermit(ctx, check)
	defer right.Done()
	action, _, err := p.api.ReservedIPActions.Assign(ctx, ip.String(), who.Droplet)
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

// Pending looks the action up: GET /v2/reserved_ips/{ip}/actions/{id}. Whatever is not
// "in-progress" is over: "completed", "errored", and the undocumented "done" alike, since the
// Claimer looks at the address next. An ID that is not known (yet, or for ever) says nothing: then
// the address itself is watched.
func (p *Provider) Pending(ctx context.Context, ip netip.Addr, action string) (bool, error) {
	if err := supported(ip); err != nil {
		return false, err
	}
	id, err := strconv.Atoi(action)
	if err != nil {
		return false, fmt.Errorf("action %q is not one of ours: %w", action, err)
	}
	a, err := p.action(ctx, ip, id)
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
	a, _, err := p.api.ReservedIPActions.Get(ctx, ip.String(), id)
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

// supported refuses what /v2/reserved_ips does not know. godo puts the address into the path as it
// is, so its form matters.
func supported(ip netip.Addr) error {
	if ip.Is4() {
		return nil
	}
	return assigner.Errorf(assigner.Own, "address %s: only IPv4 reserved IPs are supported", ip)
}
