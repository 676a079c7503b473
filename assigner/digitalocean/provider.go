package digitalocean

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/digitalocean/godo"
	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/cloudhttp"
)

const (
	readTimeout  = 2 * time.Second
	claimTimeout = 4 * time.Second
	readsPerSec  = 2
	readBurst    = 20
	postGap      = 2 * time.Second // between own POSTs for one address
)

// Default addresses of the API and of the metadata service.
const (
	DefaultAPIURL      = "https://api.digitalocean.com/"
	DefaultMetadataURL = "http://169.254.169.254/"
)

// Options configure a Provider. TokenFile or Token, Node and Version are required.
type Options struct {
	TokenFile   string // read again whenever it changes
	Token       string // instead of TokenFile, where there is no file to watch
	DropletID   int    // 0: ask the metadata service
	APIURL      string // "" means DefaultAPIURL; a path prefix is kept
	MetadataURL string // "" means DefaultMetadataURL
	Node        string // for the User-Agent: "buoy/VERSION (node=lb1; epoch=12)"
	Version     string
	Logger      hclog.Logger // nil: silent
	// Dial replaces the network in tests, for the API and for the metadata service; nil: TCP.
	Dial cloudhttp.Dial
}

// Provider moves reserved IPs to this droplet. Safe for concurrent use.
type Provider struct {
	api      *godo.Client
	base     *cloudhttp.Transport
	metadata *metadata
	reads    *rate.Limiter
	token    *cloudhttp.TokenFile
	budget   budget
	gap      time.Duration // postGap

	mu      sync.Mutex
	who     identity // Droplet 0: not known yet
	proved  bool     // the API has shown us our droplet
	sighted uint64   // the token generation that has shown us a droplet; 0: none yet
	follows uint64   // the token generation that has shown us the account's actions
	posted  map[netip.Addr]time.Time
}

var (
	_ assigner.Provider   = (*Provider)(nil)
	_ assigner.SelfTester = (*Provider)(nil)
	_ assigner.Hinter     = (*Provider)(nil)
	_ assigner.Preparer   = (*Provider)(nil)
	_ assigner.Diagnoser  = (*Provider)(nil)
	_ assigner.Recorder   = (*Provider)(nil)
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
	token, err := o.token()
	if err != nil {
		return nil, err
	}
	if ip, err := netip.ParseAddr(api.Hostname()); api.Scheme == "http" && (err != nil || !ip.IsLoopback()) {
		o.Logger.Warn("api_url is not https: the token crosses the network in the clear", "api_url", api)
	}
	p := &Provider{
		base:     cloudhttp.NewTransport(o.Version, o.Node),
		metadata: newMetadata(meta, o.Dial),
		budget:   budget{log: o.Logger},
		reads:    rate.NewLimiter(readsPerSec, readBurst),
		token:    token,
		gap:      postGap,
		who:      identity{Droplet: o.DropletID},
		posted:   make(map[netip.Addr]time.Time),
	}
	p.base.Answered = p.budget.note
	if o.Dial != nil {
		p.base.Dial = o.Dial
	}
	if p.api, err = godo.New(cloudhttp.NewClient(p.base, token), godo.SetBaseURL(api.String())); err != nil {
		return nil, fmt.Errorf("set up the API client: %w", err)
	}
	return p, nil
}

func (o Options) token() (*cloudhttp.TokenFile, error) {
	if o.Token != "" {
		return cloudhttp.FixedToken(o.Token), nil
	}
	return cloudhttp.OpenToken(o.TokenFile, o.Logger)
}

// Close closes idle connections.
func (p *Provider) Close() {
	p.base.CloseIdleConnections()
	p.metadata.close()
}

// Self returns the droplet ID, configured or from the metadata service; it is asked once only.
func (p *Provider) Self(ctx context.Context) (string, error) {
	who, err := p.identity(ctx)
	if err != nil {
		return "", err
	}
	return strconv.Itoa(who.Droplet), nil
}

func (p *Provider) identity(ctx context.Context) (identity, error) {
	p.mu.Lock()
	who := p.who
	p.mu.Unlock()
	if who.Droplet != 0 {
		return who, nil
	}
	doc, err := p.metadata.read(ctx)
	if err != nil {
		return identity{}, assigner.Errorf(assigner.Own,
			"droplet_id is auto, and %w: is this a droplet? Otherwise set provider.digitalocean.droplet_id", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.who = doc.identity
	return p.who, nil
}

// SelfTest proves that the token is good, that the address exists and is in this droplet's region,
// and that the token may see droplets: without the scope droplet:read a held address could look
// like one that nobody holds, and no claim would ever be confirmed. For IPv6 it proves, once for
// each token, that it may see actions as well.
func (p *Provider) SelfTest(ctx context.Context, ip netip.Addr) error {
	who, err := p.identity(ctx)
	if err != nil {
		return err
	}
	r, err := p.reservation(ctx, ip)
	if err != nil {
		return err
	}
	p.mu.Lock()
	proved, follows := p.proved, p.follows
	p.mu.Unlock()
	if !proved || r.droplet == nil || who.Region == "" {
		if _, err = p.seeDroplet(ctx, who.Droplet); err != nil {
			return err
		}
	}
	if canonical(ip).Is6() && follows != p.token.Generation() {
		if _, err := p.locked(ctx, canonical(ip), r); err != nil {
			return err
		}
	}
	return p.sameRegion(ctx, r)
}

// seeDroplet reads this node's droplet through the API and returns its region.
func (p *Provider) seeDroplet(ctx context.Context, id int) (region string, err error) {
	ctx, cancel, err := p.read(ctx)
	if err != nil {
		return "", err
	}
	defer cancel()
	gen := p.token.Generation()
	droplet, _, err := p.api.Droplets.Get(ctx, id)
	if err != nil {
		return "", fault(fmt.Sprintf("droplet %d", id), err)
	}
	if droplet == nil || droplet.ID != id {
		return "", nonsense("droplet %d was asked for, the answer is about another or none", id)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proved, p.sighted = true, gen
	if droplet.Region != nil && p.who.Region == "" {
		p.who.Region = droplet.Region.Slug
	}
	return p.who.Region, nil
}

// read waits for the limiter, then starts the clock of one read.
func (p *Provider) read(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := p.reads.Wait(ctx); err != nil {
		return nil, nil, fmt.Errorf("wait for our own limit of %d reads/s: %w", readsPerSec, err)
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	return ctx, cancel, nil
}
