package digitalocean

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/buoy-lb/buoy/assigner/cloudhttp"
)

const (
	metadataTimeout = time.Second
	maxMetadata     = 64 << 10 // bytes
	// metadataIdle keeps the connection from one hint to the next, a second later.
	metadataIdle = 10 * time.Second
)

// identity is what a droplet knows of itself.
type identity struct {
	Droplet int    `json:"droplet_id"`
	Region  string `json:"region"`
}

// document is the part of /metadata/v1.json that is read here.
type document struct {
	identity
	Reserved struct {
		IPv4 slot `json:"ipv4"`
		IPv6 slot `json:"ipv6"`
	} `json:"reserved_ip"`
	Floating struct { // the former name, IPv4 only
		IPv4 slot `json:"ipv4"`
	} `json:"floating_ip"`
}

// slot is a place for one reserved address.
type slot struct {
	Active  flag   `json:"active"` // true for any reserved address
	Address string `json:"ip_address"`
}

// flag is true for true and "true": the text form of the metadata has no other.
type flag bool

// UnmarshalJSON never fails: one odd field must not cost the rest of the answer.
func (f *flag) UnmarshalJSON(b []byte) error {
	*f = strings.Trim(string(b), `" `) == "true"
	return nil
}

// metadata is a client of the metadata service
// (https://docs.digitalocean.com/reference/api/metadata/). It is our own because
// github.com/digitalocean/go-metadata takes no context and goes through HTTP_PROXY, which would
// answer for the proxy's droplet.
type metadata struct {
	base   *url.URL
	client *http.Client
}

func newMetadata(base *url.URL, dial cloudhttp.Dial) *metadata {
	return &metadata{base: base, client: &http.Client{
		Transport: &http.Transport{ // Proxy is nil: never
			DialContext: dial, MaxConnsPerHost: 2, MaxIdleConns: 1, MaxIdleConnsPerHost: 1, IdleConnTimeout: metadataIdle,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (m *metadata) close() { m.client.CloseIdleConnections() }

// read makes one request within a second: droplet, region and addresses from one answer that is
// consistent in itself.
func (m *metadata) read(ctx context.Context) (document, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	u := m.base.JoinPath("metadata/v1.json").String()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return document{}, fmt.Errorf("ask the metadata service: %w", err)
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return document{}, fmt.Errorf("the metadata service does not answer: %w", err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(io.LimitReader(resp.Body, maxMetadata))
	if err != nil {
		return document{}, fmt.Errorf("the metadata service breaks off: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return document{}, fmt.Errorf("the metadata service answers %d to %s", resp.StatusCode, u)
	}
	var doc document
	if err := json.Unmarshal(content, &doc); err != nil {
		return document{}, fmt.Errorf("the answer of %s is not metadata: %w", u, err)
	}
	if doc.Droplet < 1 {
		return document{}, fmt.Errorf("the answer of %s has no droplet_id", u)
	}
	return doc, nil
}

// addresses lists the reserved addresses of the droplet, each once.
func (d document) addresses() []netip.Addr {
	var ips []netip.Addr
	for _, s := range []slot{d.Reserved.IPv4, d.Reserved.IPv6, d.Floating.IPv4} {
		ip, err := netip.ParseAddr(s.Address)
		if ip = canonical(ip); bool(s.Active) && err == nil && !slices.Contains(ips, ip) {
			ips = append(ips, ip)
		}
	}
	return ips
}

// Hint lists the reserved addresses that this droplet's metadata shows: one request to the metadata
// service, which costs nothing of the API's limits. How soon the metadata follows a move is not
// documented. It fails if the metadata is that of another droplet than the configured one.
func (p *Provider) Hint(ctx context.Context) ([]netip.Addr, error) {
	doc, err := p.metadata.read(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	configured := p.who.Droplet
	p.mu.Unlock()
	if configured != 0 && configured != doc.Droplet {
		return nil, fmt.Errorf("the metadata is droplet %d's, this node claims for droplet %d", doc.Droplet, configured)
	}
	return doc.addresses(), nil
}
