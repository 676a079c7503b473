package hetzner

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	"golang.org/x/time/rate"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/cloudhttp"
)

const (
	readTimeout  = 2 * time.Second
	claimTimeout = 4 * time.Second
	readsPerSec  = 4
	readBurst    = 40
)

// Default addresses of the API and of the metadata service.
const (
	DefaultAPIURL      = hcloud.Endpoint + "/"
	DefaultMetadataURL = "http://169.254.169.254/"
)

// Options configure a Provider. TokenFile, Node and Version are required.
type Options struct {
	TokenFile   string // read again whenever it changes
	ServerID    int64  // 0: ask the metadata service
	APIURL      string // "" means DefaultAPIURL
	MetadataURL string // "" means DefaultMetadataURL
	Node        string // for the User-Agent: "buoy/VERSION (node=lb1; epoch=12)"
	Version     string
	Logger      hclog.Logger // nil: silent
}

// Provider moves floating IPs to this server. Safe for concurrent use.
type Provider struct {
	api      *hcloud.Client
	base     *cloudhttp.Transport
	metadata *metadata
	reads    *rate.Limiter
	log      hclog.Logger

	mu     sync.Mutex
	server int64                // 0: not known yet
	proved bool                 // the API has shown us our server
	known  map[netip.Addr]int64 // numbers of floating IPs
}

var (
	_ assigner.Provider   = (*Provider)(nil)
	_ assigner.SelfTester = (*Provider)(nil)
	_ assigner.Preparer   = (*Provider)(nil)
)

// New returns a Provider after reading the token once; it does not touch the network. A token that
// is missing, empty or readable by others gives a [*cloudhttp.TokenError].
func New(o Options) (*Provider, error) {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	api, err := cloudhttp.BaseURL("api_url", o.APIURL, DefaultAPIURL)
	if err != nil {
		return nil, err
	}
	meta, err := cloudhttp.BaseURL("metadata_url", o.MetadataURL, DefaultMetadataURL)
	if err != nil {
		return nil, err
	}
	token, err := cloudhttp.OpenToken(o.TokenFile, o.Logger)
	if err != nil {
		return nil, err
	}
	base := cloudhttp.NewTransport(o.Version, o.Node)
	return &Provider{
		// No WithToken: the transport sets the token as it is at the moment of each request.
		api: hcloud.NewClient(
			hcloud.WithEndpoint(api.String()),
			hcloud.WithHTTPClient(cloudhttp.NewClient(base, token)),
			hcloud.WithRetryOpts(hcloud.RetryOpts{MaxRetries: 0}),
		),
		base:     base,
		metadata: newMetadata(meta),
		reads:    rate.NewLimiter(readsPerSec, readBurst),
		log:      o.Logger,
		server:   o.ServerID,
		known:    make(map[netip.Addr]int64),
	}, nil
}

// Close closes idle connections.
func (p *Provider) Close() { p.base.CloseIdleConnections() }

// Self returns the server's number, configured or from the metadata service; it is asked once only.
func (p *Provider) Self(ctx context.Context) (string, error) {
	id, err := p.serverID(ctx)
	if err != nil {
		return "", err
	}
	return instance(id), nil
}

func (p *Provider) serverID(ctx context.Context) (int64, error) {
	p.mu.Lock()
	id := p.server
	p.mu.Unlock()
	if id != 0 {
		return id, nil
	}
	id, err := p.metadata.instanceID(ctx)
	if err != nil {
		return 0, assigner.Errorf(assigner.Own,
			"server_id is auto, and %w: is this a Hetzner Cloud server? Otherwise set provider.hetzner.server_id", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = id
	return id, nil
}

// SelfTest proves that the token is good, that its project has the address, which Hetzner has not
// blocked, and this server. It cannot prove that the token may write: no read tells.
func (p *Provider) SelfTest(ctx context.Context, ip netip.Addr) error {
	id, err := p.serverID(ctx)
	if err != nil {
		return err
	}
	if _, err := p.address(ctx, ip); err != nil {
		return err
	}
	p.mu.Lock()
	proved := p.proved
	p.mu.Unlock()
	if proved {
		return nil
	}
	return p.seeServer(ctx, id)
}

// seeServer reads this node's server through the API.
func (p *Provider) seeServer(ctx context.Context, id int64) error {
	ctx, cancel, err := p.read(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	server, resp, err := p.api.Server.GetByID(ctx, id)
	switch {
	case failed(resp, err):
		return fault(fmt.Sprintf("server %d", id), resp, err)
	case server == nil || server.ID != id:
		return nonsense("server %d was asked for, the answer is about another or none", id)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proved = true
	return nil
}

// read waits for the limiter, then starts the clock of one read.
func (p *Provider) read(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := p.reads.Wait(ctx); err != nil {
		return nil, nil, fmt.Errorf("wait for our own limit of %d reads/s: %w", readsPerSec, err)
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	return ctx, cancel, nil
}

// failed tells whether there is no good answer. hcloud-go reports neither a redirect nor, where it
// looks something up by number, a 404 as an error.
func failed(resp *hcloud.Response, err error) bool {
	return err != nil || resp == nil || resp.Response == nil || resp.StatusCode/100 != 2
}

func instance(server int64) string { return strconv.FormatInt(server, 10) }
