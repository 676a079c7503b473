package hetzner

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/cloudhttp"
)

const (
	pageSize = 50 // the API's maximum
	maxPages = 20
)

// Holder asks whether an action is running on the address, then who holds it: GET
// /floating_ips/{id}/actions and /floating_ips/{id}. In this order an action that ends in between is
// seen with what it has done. A routine look forgoes the first: if the address is here it most
// probably stays, and if it is not the claim will meet what is running.
func (p *Provider) Holder(ctx context.Context, ip netip.Addr) (assigner.Holding, error) {
	var busy bool
	var err error
	if !assigner.IsRoutine(ctx) {
		if busy, err = p.busy(ctx, ip); err != nil {
			return assigner.Holding{}, err
		}
	}
	f, err := p.address(ctx, ip)
	if err != nil {
		return assigner.Holding{}, err
	}
	h := assigner.Holding{Locked: busy}
	if f.Server != nil {
		h.Instance = instance(f.Server.ID)
	}
	return h, nil
}

// busy tells whether an action is running on the address.
func (p *Provider) busy(ctx context.Context, ip netip.Addr) (bool, error) {
	id, err := p.number(ctx, ip)
	if err != nil {
		return false, err
	}
	ctx, cancel, err := p.read(ctx)
	if err != nil {
		return false, err
	}
	defer cancel()
	running, resp, err := p.api.FloatingIP.Action.ListFor(ctx, &hcloud.FloatingIP{ID: id},
		hcloud.ActionListOpts{Status: []hcloud.ActionStatus{hcloud.ActionStatusRunning}})
	switch {
	case isNotFound(resp):
		p.remember(ip, 0)
		return false, nil // nothing runs on what is gone; the look at the address will tell
	case failed(resp, err):
		return false, fault("floating IP "+ip.String(), resp, err)
	case resp.Meta.Pagination == nil:
		return false, nonsense("the answer about the actions of %s is not a list", ip)
	}
	return len(running) > 0, nil
}

// address gets the floating IP that is ip, or whose network holds it, and insists that it is usable.
func (p *Provider) address(ctx context.Context, ip netip.Addr) (*hcloud.FloatingIP, error) {
	f, err := p.lookUp(ctx, ip)
	switch {
	case err != nil:
		return nil, err
	case f.Server != nil && f.Server.ID < 1:
		return nil, nonsense("floating IP %s is held by a server without a number", ip)
	case f.Blocked:
		return nil, assigner.Errorf(assigner.Shared,
			"floating IP %s is blocked by Hetzner, on whichever server it is: see the project's messages in the Cloud Console", ip)
	}
	return f, nil
}

func (p *Provider) lookUp(ctx context.Context, ip netip.Addr) (*hcloud.FloatingIP, error) {
	if id := p.recall(ip); id != 0 {
		f, err := p.byNumber(ctx, ip, id)
		if f != nil || err != nil {
			return f, err
		}
	}
	return p.find(ctx, ip)
}

// number returns the number of the floating IP, which costs a request only if it is not known.
func (p *Provider) number(ctx context.Context, ip netip.Addr) (int64, error) {
	if id := p.recall(ip); id != 0 {
		return id, nil
	}
	f, err := p.find(ctx, ip)
	if err != nil {
		return 0, err
	}
	return f.ID, nil
}

// byNumber returns nil without an error, and forgets the number, if nothing has it: the address was
// deleted, and perhaps made anew.
func (p *Provider) byNumber(ctx context.Context, ip netip.Addr, id int64) (*hcloud.FloatingIP, error) {
	ctx, cancel, err := p.read(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	f, resp, err := p.api.FloatingIP.GetByID(ctx, id)
	switch {
	case isNotFound(resp):
		p.remember(ip, 0)
		return nil, nil
	case failed(resp, err):
		return nil, fault("floating IP "+ip.String(), resp, err)
	case f == nil || f.ID != id || !carries(f, ip):
		return nil, nonsense("floating IP %s (number %d) was asked for, the answer is about another or none", ip, id)
	}
	return f, nil
}

// find looks the address up in the project's list and remembers its number.
func (p *Provider) find(ctx context.Context, ip netip.Addr) (*hcloud.FloatingIP, error) {
	for page := 1; page <= maxPages; {
		list, next, err := p.page(ctx, page)
		if err != nil {
			return nil, err
		}
		for _, f := range list {
			if !carries(f, ip) {
				continue
			}
			if f.ID < 1 {
				return nil, nonsense("floating IP %s has no number", ip)
			}
			p.remember(ip, f.ID)
			return f, nil
		}
		if next == 0 {
			return nil, assigner.Errorf(assigner.Own, "the token's project has no floating IP %s", ip)
		}
		if next <= page {
			return nil, nonsense("page %d of the floating IPs is followed by page %d", page, next)
		}
		page = next
	}
	return nil, nonsense("the list of floating IPs has more than %d pages", maxPages)
}

// page reads one page of the list; next is 0 at its end.
func (p *Provider) page(ctx context.Context, n int) (list []*hcloud.FloatingIP, next int, err error) {
	ctx, cancel, err := p.read(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer cancel()
	list, resp, err := p.api.FloatingIP.List(ctx, hcloud.FloatingIPListOpts{ListOpts: hcloud.ListOpts{Page: n, PerPage: pageSize}})
	switch {
	case failed(resp, err):
		return nil, 0, fault("floating IPs", resp, err)
	case resp.Meta.Pagination == nil:
		return nil, 0, nonsense("the list of floating IPs does not say whether it goes on")
	}
	return list, resp.Meta.Pagination.NextPage, nil
}

// carries tells whether ip is the floating IP, or in its /64.
func carries(f *hcloud.FloatingIP, ip netip.Addr) bool {
	if ip.Is6() {
		return f.Type == hcloud.FloatingIPTypeIPv6 && f.Network != nil && f.Network.Contains(ip.AsSlice())
	}
	own, ok := netip.AddrFromSlice(f.IP)
	return ok && f.Type == hcloud.FloatingIPTypeIPv4 && own.Unmap() == ip
}

// Prepare finds out the numbers that Claim needs, so that no right to write is held meanwhile. What
// goes wrong is Claim's to report.
func (p *Provider) Prepare(ctx context.Context, ip netip.Addr) error {
	if _, err := p.serverID(ctx); err == nil {
		_, _ = p.number(ctx, ip)
	}
	return context.Cause(ctx)
}

// Claim asks for the address: POST /floating_ips/{id}/actions/assign. The returned action is
// Hetzner's action number.
func (p *Provider) Claim(ctx context.Context, ip netip.Addr, check func() error) (string, error) {
	server, err := p.serverID(ctx)
	if err != nil {
		return "", err
	}
	id, err := p.number(ctx, ip)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	ctx, right := cloudhttp.WithPermit(ctx, check)
	defer right.Done()
	action, resp, err := p.api.FloatingIP.Assign(ctx, &hcloud.FloatingIP{ID: id}, &hcloud.Server{ID: server})
	switch refusal := right.Refusal(); {
	case refusal != nil:
		return "", &assigner.Error{Class: assigner.NoRight, Op: "write the request", Err: refusal}
	case failed(resp, err):
		if isNotFound(resp) {
			p.remember(ip, 0)
		}
		return "", fault(fmt.Sprintf("floating IP %s or server %d", ip, server), resp, err)
	case action == nil || action.ID < 1:
		return "", nonsense("the answer to the assign of %s names no action", ip)
	}
	return strconv.FormatInt(action.ID, 10), nil
}

// Pending looks the action up: GET /actions/{id}. Whatever is not "running" is over, since the
// Claimer looks at the address next. A number that is not known (yet, or any more) says nothing:
// then the address itself is watched.
func (p *Provider) Pending(ctx context.Context, ip netip.Addr, action string) (bool, error) {
	id, err := strconv.ParseInt(action, 10, 64)
	if err != nil {
		return false, fmt.Errorf("action %q is not one of ours: %w", action, err)
	}
	a, err := p.action(ctx, id)
	if err != nil {
		return false, err
	}
	if a == nil {
		return p.away(ctx, ip)
	}
	if a.ErrorCode != "" || a.ErrorMessage != "" {
		p.log.Warn("the cloud reports that the move has failed", "ip", ip, "action", action,
			"code", cloudhttp.Truncate(a.ErrorCode), "message", cloudhttp.Truncate(a.ErrorMessage))
	}
	return a.Status == hcloud.ActionStatusRunning, nil
}

// action returns nil without an error for a number that nothing has.
func (p *Provider) action(ctx context.Context, id int64) (*hcloud.Action, error) {
	ctx, cancel, err := p.read(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	a, resp, err := p.api.Action.GetByID(ctx, id)
	switch {
	case isNotFound(resp):
		return nil, nil
	case failed(resp, err):
		return nil, fault(fmt.Sprintf("action %d", id), resp, err)
	case a == nil || a.ID != id:
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
	return h.Locked || h.Instance != self, err
}

func (p *Provider) recall(ip netip.Addr) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[ip]
}

// remember notes the number of a floating IP; 0 forgets it.
func (p *Provider) remember(ip netip.Addr, id int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[ip] = id
}

func isNotFound(resp *hcloud.Response) bool {
	return resp != nil && resp.Response != nil && resp.StatusCode == http.StatusNotFound
}
