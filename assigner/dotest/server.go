package dotest

import (
	"context"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// PendingView is what a GET of an address shows as its droplet while an assign
// is running. No public source says which of them DigitalOcean does.
type PendingView int

// The three things a client has to be able to live with.
const (
	PendingOld  PendingView = iota // the holder so far
	PendingNull                    // no droplet at all
	PendingNew                     // the coming holder, though nothing has moved
)

// Limits are the request limits of each token. A zero field means
// DigitalOcean's own: 5000 in an hour, 250 in a minute.
type Limits struct {
	Hour   int
	Minute int
}

// Options are the server's settings; the zero value answers at once and never
// fails. All but OnAssigned can be changed while the server runs. Latency and
// MetadataLag must not call the server.
type Options struct {
	// Latency is asked, for each accepted action, how long it runs. Nil: 0.
	Latency func() time.Duration
	// MetadataLag is asked, for each change of holder, how much later the
	// metadata of the droplets shows it. Nil: 0.
	MetadataLag func() time.Duration
	PendingView PendingView
	Limits      Limits

	// OnAssigned, if not nil, is called after each change of holder, whatever
	// its cause (0 = nobody). Calls come one at a time, in the order of the
	// changes. It must not call methods that move an address or close the server.
	OnAssigned func(ip netip.Addr, from, to int)
}

// Fixed returns a latency that is always d.
func Fixed(d time.Duration) func() time.Duration {
	return func() time.Duration { return d }
}

// Between returns a latency that is spread evenly over [lo, hi].
func Between(lo, hi time.Duration) func() time.Duration {
	return func() time.Duration { return lo + rand.N(hi-lo+1) }
}

// Server is the fake cloud: one account with its droplets, reserved IPs and
// tokens. Its methods are safe for concurrent use.
type Server struct {
	onAssigned func(ip netip.Addr, from, to int)

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // running requests, actions and listeners

	moving sync.Mutex // held over a change of holder and its callback; before mu
	mu     sync.Mutex // guards all below
	opts   Options
	closed bool

	tokens    map[string]*token // by the secret itself
	droplets  map[int]*droplet
	addresses map[netip.Addr]*address
	actions   []*action // oldest first; the ID is the index + firstActionID
	faults    []*Fault
	writes    []*Write
	changes   []Change
	changed   chan struct{} // closed and replaced at each change of holder
}

// New returns an empty account: no droplets, no addresses, and no token, so
// that every request is answered with 401 until AddToken. Close it when done.
func New(o Options) *Server {
	s := &Server{
		onAssigned: o.OnAssigned,
		tokens:     make(map[string]*token),
		droplets:   make(map[int]*droplet),
		addresses:  make(map[netip.Addr]*address),
		changed:    make(chan struct{}),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.SetLatency(o.Latency)
	s.SetMetadataLag(o.MetadataLag)
	s.SetPendingView(o.PendingView)
	s.SetLimits(o.Limits)
	return s
}

// SetLatency changes how long actions accepted from now on run.
func (s *Server) SetLatency(f func() time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f == nil {
		f = Fixed(0)
	}
	s.opts.Latency = f
}

// SetMetadataLag changes how late the metadata shows changes made from now on.
func (s *Server) SetMetadataLag(f func() time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f == nil {
		f = Fixed(0)
	}
	s.opts.MetadataLag = f
}

// SetPendingView changes what a GET shows while an assign runs.
func (s *Server) SetPendingView(v PendingView) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.PendingView = v
}

// SetLimits changes the request limits of every token.
func (s *Server) SetLimits(l Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.Hour == 0 {
		l.Hour = 5000
	}
	if l.Minute == 0 {
		l.Minute = 250
	}
	s.opts.Limits = l
}

// Endpoint is a listening address of the fake cloud.
type Endpoint struct {
	URL string // http://127.0.0.1:port/, fit for api_url and metadata_url

	server *http.Server
	done   chan struct{} // closed when the port is free again
}

// Start serves the API on addr (host:port; port 0 picks a free one) until the
// endpoint or the server is closed. After Close of the endpoint the same addr
// can be started again: an outage of the API.
func (s *Server) Start(addr string) (*Endpoint, error) {
	return s.listen(addr, s.API())
}

// StartMetadata serves the metadata of one droplet on addr, like Start.
func (s *Server) StartMetadata(dropletID int, addr string) (*Endpoint, error) {
	return s.listen(addr, s.Metadata(dropletID))
}

func (s *Server) listen(addr string, h http.Handler) (*Endpoint, error) {
	ln, err := new(net.ListenConfig).Listen(s.ctx, "tcp", addr)
	if err != nil {
		return nil, err // net.OpError names the operation and the address
	}
	e := &Endpoint{
		URL: "http://" + ln.Addr().String() + "/",
		server: &http.Server{
			Handler:           h,
			ReadHeaderTimeout: 10 * time.Second,
			IdleTimeout:       5 * time.Minute,
			ErrorLog:          log.New(io.Discard, "", 0),
		},
		done: make(chan struct{}),
	}
	started := s.spawn(func() {
		defer close(e.done)
		stop := context.AfterFunc(s.ctx, e.Close)
		defer stop()
		_ = e.server.Serve(ln) // ends with ErrServerClosed
	})
	if !started {
		_ = ln.Close()
		return nil, net.ErrClosed
	}
	return e, nil
}

// Close stops listening, frees the port and cuts the open connections.
func (e *Endpoint) Close() {
	_ = e.server.Close()
	<-e.done
}

// Close ends all endpoints, running actions and held requests and waits for
// them. Actions that have not completed never will.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.work.Wait()
}

// spawn runs f as a goroutine that Close waits for; false when closed.
func (s *Server) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spawnLocked(f)
}

func (s *Server) spawnLocked(f func()) bool {
	if s.closed {
		return false
	}
	s.work.Go(f)
	return true
}

// sleep waits for d; false when the server was closed first.
func (s *Server) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}
