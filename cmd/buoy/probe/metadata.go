package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"
)

const (
	metadataPeriod  = 100 * time.Millisecond
	metadataTimeout = time.Second
)

// metadata asks the metadata service of the machine that the probe runs on.
type metadata struct {
	url    string
	client *http.Client
	ip     netip.Addr
}

func newMetadata(base string, ip netip.Addr) (*metadata, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return nil, fmt.Errorf("want http://HOST[:PORT]/ as the metadata service's address")
	}
	return &metadata{url: u.JoinPath("metadata/v1.json").String(), ip: ip, client: &http.Client{
		Timeout: metadataTimeout, Transport: &http.Transport{DisableKeepAlives: true}, // no proxy: it has metadata of its own
	}}, nil
}

// self is what the machine knows of itself.
type self struct {
	Droplet  int `json:"droplet_id"`
	Reserved struct {
		IP4 active `json:"ipv4"`
		IP6 active `json:"ipv6"`
	} `json:"reserved_ip"`
}

type active struct {
	Active bool       `json:"active"`
	IP     netip.Addr `json:"ip_address"`
}

// ask returns the machine's droplet ID and whether it believes to hold the address.
func (m *metadata) ask(ctx context.Context) (droplet int, holds bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.url, nil)
	if err != nil {
		return 0, false, err
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return 0, false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, false, fmt.Errorf("%s answers %d", m.url, resp.StatusCode)
	}
	var s self
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&s); err != nil {
		return 0, false, fmt.Errorf("%s: %w", m.url, err)
	}
	r := s.Reserved.IP4
	if m.ip.Is6() {
		r = s.Reserved.IP6
	}
	return s.Droplet, r.Active && r.IP == m.ip, nil
}

// flip watches in the background, until ctx ends, for the machine's belief to become want, and
// gives the time when the first answer that said so was in; zero if none did, or if it was so
// from the beginning: then that is no news of this move.
func (m *metadata) flip(ctx context.Context, want bool) (seen func() time.Time) {
	var (
		mu sync.Mutex
		at time.Time
	)
	go func() {
		for before := false; ; {
			_, holds, err := m.ask(ctx)
			switch {
			case err != nil:
			case holds != want:
				before = true
			case before:
				mu.Lock()
				defer mu.Unlock()
				at = time.Now()
				return
			}
			if sleep(ctx, metadataPeriod) != nil {
				return
			}
		}
	}()
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return at
	}
}
