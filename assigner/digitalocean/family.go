package digitalocean

import (
	"context"
	"net/netip"
	"slices"

	"github.com/digitalocean/godo"
)

// perPage is the most that a list returns at once; an account has three reserved addresses by
// default.
const perPage = 200

// reservation is a reserved address of either family, as the API tells of it.
type reservation struct {
	ip      string
	region  string        // slug; "" if the answer has none
	droplet *godo.Droplet // nil: nobody, or nobody that this token may see
	locked  bool          // an action pends, as IPv4 answers say
}

// family is the endpoints of one address family. All methods return godo's errors as they are, and
// nil beside a nil error where the answer is empty.
type family interface {
	get(ctx context.Context, ip string) (*reservation, error)
	list(ctx context.Context) ([]reservation, error)
	assign(ctx context.Context, ip string, droplet int) (*godo.Action, error)
	action(ctx context.Context, ip string, id int) (*godo.Action, error)
	actions(ctx context.Context, ip string) ([]godo.Action, error) // newest first
}

// family returns the endpoints that know ip.
func (p *Provider) family(ip netip.Addr) family {
	if ip.Is4() {
		return reservedIP{p.api}
	}
	return reservedIPv6{p.api}
}

// canonical is the form in which addresses are compared and put into a path: godo does not escape
// them, and a mapped or zoned form is not found.
func canonical(ip netip.Addr) netip.Addr { return ip.Unmap().WithZone("") }

// reservedIP is /v2/reserved_ips.
type reservedIP struct{ api *godo.Client }

func (f reservedIP) get(ctx context.Context, ip string) (*reservation, error) {
	a, _, err := f.api.ReservedIPs.Get(ctx, ip)
	if err != nil || a == nil {
		return nil, err
	}
	r := f.reservation(*a)
	return &r, nil
}

func (f reservedIP) list(ctx context.Context) ([]reservation, error) {
	all, _, err := f.api.ReservedIPs.List(ctx, &godo.ListOptions{PerPage: perPage})
	return apply(all, f.reservation), err
}

func (reservedIP) reservation(a godo.ReservedIP) reservation {
	r := reservation{ip: a.IP, droplet: a.Droplet, locked: a.Locked}
	if a.Region != nil {
		r.region = a.Region.Slug
	}
	return r
}

func (f reservedIP) assign(ctx context.Context, ip string, droplet int) (*godo.Action, error) {
	a, _, err := f.api.ReservedIPActions.Assign(ctx, ip, droplet)
	return a, err
}

func (f reservedIP) action(ctx context.Context, ip string, id int) (*godo.Action, error) {
	a, _, err := f.api.ReservedIPActions.Get(ctx, ip, id)
	return a, err
}

func (f reservedIP) actions(ctx context.Context, ip string) ([]godo.Action, error) {
	all, _, err := f.api.ReservedIPActions.List(ctx, ip, &godo.ListOptions{PerPage: perPage})
	return all, err
}

// reservedIPv6 is /v2/reserved_ipv6. It has no actions to be read: they are in /v2/actions.
type reservedIPv6 struct{ api *godo.Client }

func (f reservedIPv6) get(ctx context.Context, ip string) (*reservation, error) {
	a, _, err := f.api.ReservedIPV6s.Get(ctx, ip)
	if err != nil || a == nil {
		return nil, err
	}
	r := f.reservation(*a)
	return &r, nil
}

// locked looks for an action of an IPv6 address that is in progress, for the address itself does
// not show it. Another address's counts as well.
func (f reservedIPv6) locked(ctx context.Context) (bool, error) {
	all, err := f.actions(ctx, "")
	return slices.ContainsFunc(all, func(a godo.Action) bool { return a.Status == godo.ActionInProgress }), err
}

// actions are those of all IPv6 addresses among the account's newest ones: they do not name theirs.
func (f reservedIPv6) actions(ctx context.Context, _ string) ([]godo.Action, error) {
	all, _, err := f.api.Actions.List(ctx, &godo.ListOptions{PerPage: perPage})
	return slices.DeleteFunc(all, func(a godo.Action) bool { return a.ResourceType != "reserved_ipv6" }), err
}

func (f reservedIPv6) list(ctx context.Context) ([]reservation, error) {
	all, _, err := f.api.ReservedIPV6s.List(ctx, &godo.ListOptions{PerPage: perPage})
	return apply(all, f.reservation), err
}

func (reservedIPv6) reservation(a godo.ReservedIPV6) reservation {
	return reservation{ip: a.IP, region: a.RegionSlug, droplet: a.Droplet}
}

func (f reservedIPv6) assign(ctx context.Context, ip string, droplet int) (*godo.Action, error) {
	a, _, err := f.api.ReservedIPV6Actions.Assign(ctx, ip, droplet)
	return a, err
}

func (f reservedIPv6) action(ctx context.Context, _ string, id int) (*godo.Action, error) {
	a, _, err := f.api.Actions.Get(ctx, id)
	return a, err
}

func apply[A, B any](all []A, f func(A) B) []B {
	out := make([]B, 0, len(all))
	for _, a := range all {
		out = append(out, f(a))
	}
	return out
}
