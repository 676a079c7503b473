package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
)

const (
	// demoLatency is how long the demo's cloud takes to move the address.
	demoLatency = 300 * time.Millisecond
	// demoBound is what one step may take before the demo gives up.
	demoBound = 20 * time.Second
	// demoPause lets the eye follow between two steps.
	demoPause = 1500 * time.Millisecond
)

func newDemoCommand() *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch three load balancers keep a floating IP, with a fake cloud on this machine",
		Long: `Start three buoy daemons with a real HAProxy each and a fake DigitalOcean cloud, all on
loopback addresses: no root, no account, nothing leaves this machine. Then break one thing
after another while a client sends requests, and show how long nobody was served.

The exit code is 0 only if every step recovered. Everything is stopped and removed at the
end, or with Ctrl-C.`,
		Example: "  buoy demo\n  buoy demo --keep",
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGHUP) // main has the others
			defer stop()
			return runDemo(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr(), keep)
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave it running afterwards, until Ctrl-C")
	return cmd
}

// demo is one run of the demonstration.
type demo struct {
	binary  string
	world   *sandbox.World
	traffic *sandbox.Traffic
	screen  *demoScreen
}

func runDemo(ctx context.Context, out, stderr io.Writer, keep bool) error {
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's own file: %w", err)
	}
	world, err := sandbox.New(ctx, sandbox.Options{
		Binary: binary, Priorities: []int{150, 100, 50}, AssignLatency: demoLatency, LogFormat: "text",
	})
	if err != nil {
		return err
	}
	defer world.Close()
	d := &demo{binary: binary, world: world, screen: newDemoScreen(out)}

	// The client and the table end before the world does.
	background, stop := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	defer stop()
	d.traffic = world.NewTraffic()
	waiting.Go(func() { d.watch(background) })
	waiting.Go(func() { d.traffic.Run(background) })

	if err = d.play(ctx); err == nil && keep {
		d.explain()
		<-ctx.Done()
	}
	stop()
	waiting.Wait()
	if ctx.Err() != nil && err != nil {
		return errors.New("interrupted before every step had recovered")
	}
	if err != nil {
		showLogs(stderr, world)
	}
	return err
}

// showLogs prints what the daemons said last: their logs go with the world.
func showLogs(out io.Writer, world *sandbox.World) {
	for _, n := range world.Nodes() {
		if tail := n.Tail(20); tail != "" {
			fmt.Fprintf(out, "the end of the log of %s:\n%s\n", n.Name, tail)
		}
	}
}

// form starts everything and waits for the first claim.
func (d *demo) form(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, demoBound)
	defer cancel()
	d.screen.say("a fake cloud (%v to move an address), a backend, three load balancers", demoLatency)
	if err := d.world.Start(ctx); err != nil {
		return err
	}
	d.screen.say("buoy init on lb1, buoy join on lb2 and lb3")
	if err := d.world.Form(ctx); err != nil {
		return err
	}
	if err := d.world.WaitState(ctx, "lb1", api.StateMaster); err != nil {
		return err
	}
	d.screen.say("lb1 holds %s: its priority of 150 is the highest", sandbox.Address)
	return nil
}

// demoStep is something that happens, and who holds the address once it is over.
type demoStep struct {
	what   string
	do     func(ctx context.Context, w *sandbox.World) error
	holder string
}

// demoSteps breaks things one after another and mends them again.
var demoSteps = []demoStep{
	{"kill -9 HAProxy on lb1", func(_ context.Context, w *sandbox.World) error {
		w.Node("lb1").KillHAProxy()
		return nil
	}, "lb2"},
	{"start HAProxy on lb1, which outranks lb2", func(ctx context.Context, w *sandbox.World) error {
		return w.Node("lb1").StartHAProxy(ctx)
	}, "lb1"},
	{"kill -9 the buoy daemon on lb1", func(_ context.Context, w *sandbox.World) error {
		w.Node("lb1").KillDaemon()
		return nil
	}, "lb2"},
	{"start the buoy daemon on lb1", func(ctx context.Context, w *sandbox.World) error {
		return w.Node("lb1").StartDaemon(ctx)
	}, "lb1"},
	{
		"a script moves the address to a machine that serves nothing; detect counts from buoy's last look",
		func(_ context.Context, w *sandbox.World) error { return w.Steal() }, "lb1",
	},
	{"buoy transfer lb2", func(ctx context.Context, w *sandbox.World) error {
		_, err := w.Node("lb1").Buoy(ctx, "transfer", "lb2")
		return err
	}, "lb2"},
}

// play runs the whole show; it returns nil if every step recovered.
func (d *demo) play(ctx context.Context) error {
	if err := d.form(ctx); err != nil {
		return err
	}
	for _, step := range demoSteps {
		if err := pause(ctx, demoPause); err != nil {
			return err
		}
		if err := d.step(ctx, step); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	d.screen.say("every step recovered")
	return nil
}

// step does one thing and waits until users are served by the right node again.
func (d *demo) step(ctx context.Context, s demoStep) error {
	ctx, cancel := context.WithTimeout(ctx, demoBound)
	defer cancel()
	if err := d.traffic.WaitServed(ctx); err != nil {
		return err
	}
	d.traffic.Reset()
	begun := time.Now()
	d.screen.say("%s", s.what)
	if err := s.do(ctx, d.world); err != nil {
		return err
	}
	if _, err := d.world.WaitHolder(ctx, s.holder); err != nil {
		return err
	}
	if err := d.traffic.WaitServed(ctx); err != nil {
		return err
	}
	status, err := d.settled(ctx, s.holder, begun)
	if err != nil {
		return err
	}
	took := status.LastTransition.At.Sub(begun).Round(time.Millisecond)
	d.screen.say("  → %s holds the address after %v; %s", s.holder, took, outageText(d.traffic.Reset()))
	d.screen.say("    %s", stagesText(*status.LastTransition))
	return nil
}

// settled waits until the cluster's own record shows the move to holder.
func (d *demo) settled(ctx context.Context, holder string, begun time.Time) (api.Status, error) {
	for {
		status, err := d.world.Node(holder).Status(ctx)
		if last := status.LastTransition; err == nil && last != nil && last.To == holder && last.At.After(begun) {
			return status, nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return status, fmt.Errorf("wait for %s to record the move: %w", holder, err)
		}
	}
}

// watch keeps the table at the foot of the screen fresh.
func (d *demo) watch(ctx context.Context) {
	if !d.screen.live {
		return
	}
	for pause(ctx, 100*time.Millisecond) == nil {
		d.screen.table(demoTable(ctx, d.world))
	}
	d.screen.table(nil)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
