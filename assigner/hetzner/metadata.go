package hetzner

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/buoy-lb/buoy/assigner/cloudhttp"
)

const (
	metadataTimeout = time.Second
	maxMetadata     = 4096 // bytes
)

// metadata is a client of the metadata service
// (https://docs.hetzner.cloud/reference/cloud#description/server-metadata). hcloud-go's reads an
// answer of any size and goes through HTTP_PROXY, which would answer for the proxy's server.
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

// instanceID reads this server's number, within a second.
func (m *metadata) instanceID(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	u := m.base.JoinPath("hetzner/v1/metadata/instance-id").String()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return 0, fmt.Errorf("ask the metadata service: %w", err)
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("the metadata service does not answer: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("the metadata service answers %d to %s", resp.StatusCode, u)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxMetadata))
	if err != nil {
		return 0, fmt.Errorf("the metadata service breaks off: %w", err)
	}
	id, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || id < 1 {
		return 0, fmt.Errorf("the answer of %s is not a server's number: %q", u, cloudhttp.Truncate(string(text)))
	}
	return id, nil
}
