package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/cluster/peernet"
	"github.com/buoy-lb/buoy/config"
	"github.com/buoy-lb/buoy/fsm"
	"github.com/buoy-lb/buoy/healthcheck"
	"github.com/buoy-lb/buoy/notify"
)

const (
	// stopTimeout bounds the hand-over and the stop of raft after a signal.
	stopTimeout = 10 * time.Second
	// drainTimeout bounds the wait for HTTP requests that are being answered then.
	drainTimeout = time.Second
)

// errStuck ends a daemon that did not stop in time; its parts are left to the kernel.
var errStuck = fmt.Errorf("the node did not stop within %v", stopTimeout)

func newRunCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `Run the daemon in the foreground, logging to stderr; systemd starts it (Type=notify).
SIGTERM hands the address over before it ends. Exit status 2: the configuration, the
secret or the token; 1: something in its way, such as a port in use; 70: it leads and can
commit nothing, so it wants to be restarted.`,
		Example: `  buoy check /etc/buoy/buoy.yaml && buoy --config /etc/buoy/buoy.yaml run`,
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(g.config)
			if err != nil {
				return err
			}
			if given := g.socketGiven(); given != "" {
				cfg.Socket = given
			}
			return runDaemon(cmd.Context(), cfg, newLogger(cfg.Log, cmd.ErrOrStderr()))
		},
	}
}

func newLogger(c config.Log, out io.Writer) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name: "buoy", Level: hclog.LevelFromString(c.Level), Output: out, JSONFormat: c.Format == "json",
		IndependentLevels: true, // raft's own logger is made quieter
	})
}

// runDaemon runs until ctx ends or a part fails.
func runDaemon(ctx context.Context, cfg *config.Config, log hclog.Logger) error {
	for _, warning := range cfg.Warnings {
		log.Warn("configuration", "warning", warning)
	}
	p := &parts{cfg: cfg, log: log}
	err := p.open(ctx)
	if err == nil {
		err = p.serve(ctx)
	}
	if errors.Is(err, errStuck) {
		return err
	}
	return errors.Join(err, p.close())
}

// parts are what a daemon consists of.
type parts struct {
	cfg *config.Config
	log hclog.Logger

	hooks   *notify.Hooks
	alerts  *notify.Alerts
	node    *cluster.Node
	monitor *healthcheck.Monitor
	servers []server

	// closers undo open, last in first out.
	closers []func() error
}

// server is an HTTP server and where it listens.
type server struct {
	name     string
	listener net.Listener
	http     *http.Server
}

// open makes all parts and starts none but raft, which must find its port open. Each
// step needs the ones before it. Files come first: what the operator got wrong should
// not look like trouble with the network.
func (p *parts) open(ctx context.Context) error {
	secrets, err := peernet.LoadSecrets(p.cfg.SecretFile)
	if err != nil {
		return err
	}
	provider, err := p.openProvider()
	if err != nil {
		return err
	}
	if err := p.openNotify(); err != nil {
		return err
	}
	dir, err := cluster.OpenDir(p.cfg.Node.DataDir, p.cfg.Cluster, p.cfg.Node.ID)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, dir.Close)
	identity, err := peernet.NewIdentity(secrets, p.cfg.Cluster, dir.ServerID())
	if err != nil {
		return err
	}
	instance, err := instanceOf(ctx, provider)
	if err != nil {
		return err
	}
	port, err := peernet.Listen(ctx, peernet.Config{
		Listen: p.cfg.Node.Listen.String(), Advertise: p.cfg.Node.Advertise.String(),
		Identity: identity, Logger: p.log.Named("peernet"),
	})
	if err != nil {
		return err
	}
	p.closers = append(p.closers, port.Close)
	peers := api.NewPeers(port.DialAPI)
	p.closers = append(p.closers, func() error { peers.Close(); return nil })
	// The last thing that can fail is made last, so that raft never starts in vain.
	p.servers = []server{{name: "peer API", listener: port.API()}}
	if err := p.listen(ctx); err != nil {
		return err
	}
	p.node, err = cluster.Open(cluster.Config{
		Cluster: p.cfg.Cluster, Member: memberOf(p.cfg, dir.ServerID(), instance), Dir: dir,
		Timing: cluster.Timing(p.cfg.Timing), Transport: cluster.OverStreams(port.Raft(), p.log),
		Linked: port.Linked, Peers: peers, Claimer: newClaimer(provider, p.cfg.FloatingIPs, p.log.Named("claimer")),
		FloatingIPs: p.cfg.FloatingIPs, VerifyInterval: p.cfg.Provider.VerifyInterval(), Logger: p.log,
		Notify: p.tell,
	})
	if err != nil {
		return err
	}
	port.AllowRaft(p.node.Knows)
	port.OnGone(p.node.PeerGone)
	p.monitor = healthcheck.NewMonitor(specsOf(p.cfg.Checks), p.log.Named("check"))
	p.handle(daemon{p.node, peers})
	return nil
}

// openProvider makes the provider, nil on a witness, and closes the one that keeps
// connections to its cloud.
func (p *parts) openProvider() (assigner.Provider, error) {
	provider, err := newProvider(p.cfg, p.log.Named("provider"))
	if c, ok := provider.(interface{ Close() }); ok && err == nil {
		p.closers = append(p.closers, func() error { c.Close(); return nil })
	}
	return provider, err
}

// listen opens the unix socket and, unless it is off, the read-only HTTP port.
func (p *parts) listen(ctx context.Context) error {
	socket, err := listenSocket(ctx, p.cfg.Socket)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, closeListener(socket))
	p.servers = append(p.servers, server{name: "local API", listener: socket})
	if p.cfg.HTTP == "" {
		return nil
	}
	public, err := listenHTTP(ctx, p.cfg.HTTP)
	if err != nil {
		return err
	}
	p.closers = append(p.closers, closeListener(public))
	p.servers = append(p.servers, server{name: "read-only HTTP", listener: public})
	return nil
}

// closeListener closes a listener that an HTTP server may have closed before.
func closeListener(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

// handle gives each listener the handler for its audience.
func (p *parts) handle(d daemon) {
	handlers := []http.Handler{api.PeerHandler(d.node, d, d.caller), api.LocalHandler(d, d), api.PublicHandler(d)}
	for i := range p.servers {
		p.servers[i].http = api.NewServer(handlers[i], p.log.Named("http"))
	}
	p.servers[0].http.ConnContext = peernet.ConnContext
}

// serve runs all parts until ctx ends or one of them fails, and stops them in this order:
//
//  1. the health checks, whose verdict counts no more;
//  2. the node, which hands leadership and the address over and stops raft; the peers and
//     the command line are answered meanwhile, for the hand-over needs it;
//  3. the HTTP servers; the hooks, of which those of the end run now; the alerts.
//
// close does the rest: the connections to peers, the port, the data directory, the
// connections to the cloud.
func (p *parts) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	left, leave := context.WithCancel(context.WithoutCancel(ctx)) // ends with the node
	g.Go(func() error { return p.monitor.Run(ctx) })
	g.Go(func() error { passOnHealth(ctx, p.monitor, p.node.SetHealth); return nil })
	g.Go(func() error { defer leave(); return p.runNode(ctx) })
	g.Go(func() error { feedWatchdog(left, p.node.Alive, p.log); return nil })
	g.Go(func() error { p.hooks.Run(left, p.identity(), p.lastEvent); return nil })
	g.Go(func() error { p.alerts.Run(left, p.identity()); return nil })
	for _, s := range p.servers {
		g.Go(func() error {
			if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			return nil
		})
		g.Go(func() error { <-left.Done(); return s.stop() })
	}
	p.log.Info("running", "version", version, "node", p.cfg.Node.ID, "cluster", p.cfg.Cluster,
		"address", p.cfg.Node.Advertise, "socket", p.cfg.Socket, "http", p.cfg.HTTP)
	sdNotify(sd.SdNotifyReady, p.log)
	err := g.Wait()
	p.log.Info("stopped")
	return err
}

// runNode runs the node and bounds its end.
func (p *parts) runNode(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- p.node.Run(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	sdNotify(sd.SdNotifyStopping, p.log)
	select {
	case err := <-done:
		return err
	case <-time.After(stopTimeout):
		return errStuck
	}
}

// stop lets running requests end, for a moment.
func (s server) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close() // a client that takes its time is no fault of ours
	}
	return nil
}

// close undoes open in reverse.
func (p *parts) close() error {
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i]())
	}
	p.closers = nil
	return errors.Join(errs...)
}

// memberOf is what this node tells the cluster of itself.
func memberOf(c *config.Config, serverID, instance string) fsm.Member {
	return fsm.Member{
		ID: serverID, Name: c.Node.ID, Address: c.Node.Advertise.String(), Instance: instance,
		Role: fsm.Role(c.Node.Role), Priority: c.Priority, Preempt: c.Preempt, PreemptDelay: c.PreemptDelay,
		Version: version, ConfigDigest: c.Digest(),
	}
}
