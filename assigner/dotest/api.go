package dotest

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// family is one of the three sets of endpoints over the same addresses:
// reserved IPs, their former name, and the IPv6 ones.
type family struct {
	path     string
	one      string // key of a single address
	many     string // key of a list
	resource string // resource_type of its actions
	v6       bool
}

var (
	reservedIPs  = &family{path: "/v2/reserved_ips", one: "reserved_ip", many: "reserved_ips", resource: "reserved_ip"}
	floatingIPs  = &family{path: "/v2/floating_ips", one: "floating_ip", many: "floating_ips", resource: "floating_ip"}
	reservedIPv6 = &family{path: "/v2/reserved_ipv6", one: "reserved_ipv6", many: "reserved_ipv6s", resource: "reserved_ipv6", v6: true}
)

// API is the handler for api.digitalocean.com. Like the real one it tolerates
// a trailing slash.
//
// A fault that drops a connection panics with http.ErrAbortHandler, which
// net/http's server understands.
func (s *Server) API() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern, scope string, h handler) { mux.Handle(pattern, s.endpoint(scope, h)) }
	for _, f := range []*family{reservedIPs, floatingIPs, reservedIPv6} {
		item := f.path + "/{ip}"
		handle("GET "+f.path, "reserved_ip:read", s.listAddresses(f))
		handle("POST "+f.path, "reserved_ip:create", s.createAddress(f))
		handle("GET "+item, "reserved_ip:read", s.getAddress(f))
		handle("DELETE "+item, "reserved_ip:delete", s.deleteAddress(f))
		handle("POST "+item+"/actions", "reserved_ip:update", s.startAction(f))
		if !f.v6 { // IPv6 actions can only be read at /v2/actions
			handle("GET "+item+"/actions", "reserved_ip:read", s.listAddressActions(f))
			handle("GET "+item+"/actions/{id}", "reserved_ip:read", s.getAddressAction(f))
		}
	}
	handle("GET /v2/actions", "actions:read", s.listActions)
	handle("GET /v2/actions/{id}", "actions:read", s.getAction)
	handle("GET /v2/droplets", "droplet:read", s.listDroplets)
	handle("GET /v2/droplets/{id}", "droplet:read", s.getDroplet)
	handle("GET /v2/droplets/{id}/actions", "droplet:read", s.listDropletActions)
	handle("GET /v2/account", "account:read", s.getAccount)
	handle("GET /v2/regions", "regions:read", s.listRegions)
	handle("/", "", func(*call) reply { return notFound() })

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := r.URL.Path; len(p) > 1 && strings.HasSuffix(p, "/") {
			r = r.Clone(r.Context())
			r.URL.Path = strings.TrimRight(p, "/")
			r.URL.RawPath = ""
		}
		mux.ServeHTTP(w, r)
	})
}

func ok(key string, value any) reply {
	return reply{status: http.StatusOK, body: map[string]any{key: value}}
}

// page is one page of a list, with links to the others if there are any.
func page[T any](c *call, key string, all []T, show func(T) any) reply {
	query := c.r.URL.Query()
	number := func(name string, fallback, most int) int {
		n, err := strconv.Atoi(query.Get(name))
		if err != nil || n < 1 {
			return fallback
		}
		return min(n, most)
	}
	size := number("per_page", 20, 200)
	last := max(1, (len(all)+size-1)/size)
	n := number("page", 1, len(all)+1)

	items := []any{}
	for _, v := range all[min((n-1)*size, len(all)):min(n*size, len(all))] {
		items = append(items, show(v))
	}
	pages := map[string]string{}
	link := func(rel string, n int) {
		q := url.Values{"page": {strconv.Itoa(n)}, "per_page": {strconv.Itoa(size)}}
		pages[rel] = c.link("%s?%s", c.r.URL.Path, q.Encode())
	}
	if n > 1 {
		link("first", 1)
		link("prev", n-1)
	}
	if n < last {
		link("next", n+1)
		link("last", last)
	}
	links := map[string]any{}
	if len(pages) > 0 {
		links["pages"] = pages
	}
	return reply{status: http.StatusOK, body: map[string]any{
		key: items, "links": links, "meta": map[string]int{"total": len(all)},
	}}
}

// link is an absolute URL to this server, as its client addressed it.
func (c *call) link(format string, args ...any) string {
	return "http://" + c.r.Host + fmt.Sprintf(format, args...)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
