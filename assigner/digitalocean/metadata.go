package digitalocean

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

const (
	metadataTimeout = time.Second
	maxMetadata     = 64 << 10 // bytes
)

// identity is what a droplet knows of itself.
type identity struct {
	Droplet int    `json:"droplet_id"`
	Region  string `json:"region"`
}

// metadata is a client of the metadata service
// (https://docs.digitalocean.com/reference/api/metadata/). It is our own because
// github.com/digitalocean/go-metadata takes no context and goes through HTTP_PROXY, which would
// answer for the proxy's droplet.
type metadata struct {
	base   *url.URL
	client *http.Client
}

func newMetadata(base *url.URL) *metadata {
	return &metadata{base: base, client: &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // Proxy is nil: never
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// identity reads droplet ID and region, in one answer that is consistent in itself, within a
// second.
func (m *metadata) identity(ctx context.Context) (identity, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	u := m.base.JoinPath("metadata/v1.json").String()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return identity{}, fmt.Errorf("ask the metadata service: %w", err)
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return identity{}, fmt.Errorf("the metadata service does not answer: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return identity{}, fmt.Errorf("the metadata service answers %d to %s", resp.StatusCode, u)
	}
	var who identity
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxMetadata)).Decode(&who); err != nil {
		return identity{}, fmt.Errorf("the answer of %s is not metadata: %w", u, err)
	}
	if who.Droplet < 1 {
		return identity{}, fmt.Errorf("the answer of %s has no droplet_id", u)
	}
	return who, nil
}
