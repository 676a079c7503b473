package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/command"
	"github.com/buoy-lb/buoy/assigner/digitalocean"
	"github.com/buoy-lb/buoy/assigner/hetzner"
	"github.com/buoy-lb/buoy/assigner/layer2"
	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/config"
)

const (
	// selfWait bounds the question who this machine is, selfPause paces its repeats: at
	// boot the metadata service may take a moment.
	selfWait  = 5 * time.Second
	selfPause = 500 * time.Millisecond
)

// newProvider makes the provider that the configuration names; nil on a witness.
func newProvider(cfg *config.Config, log hclog.Logger) (assigner.Provider, error) {
	switch p := cfg.Provider; {
	case p.DigitalOcean != nil:
		return digitalocean.New(digitalocean.Options{
			TokenFile: p.DigitalOcean.TokenFile, DropletID: p.DigitalOcean.DropletID,
			APIURL: p.DigitalOcean.APIURL, MetadataURL: p.DigitalOcean.MetadataURL,
			Node: cfg.Node.ID, Version: version, Logger: log,
		})
	case p.Hetzner != nil:
		return hetzner.New(hetzner.Options{
			TokenFile: p.Hetzner.TokenFile, ServerID: p.Hetzner.ServerID,
			APIURL: p.Hetzner.APIURL, MetadataURL: p.Hetzner.MetadataURL,
			Node: cfg.Node.ID, Version: version, Logger: log,
		})
	case p.Command != nil:
		return command.New(command.Options{
			Claim: p.Command.Claim, Holder: p.Command.Holder, Instance: p.Command.Instance,
			Timeout: p.Command.Timeout, Logger: log,
		})
	case p.Layer2 != nil:
		return layer2.New(layer2.Options{Interface: p.Layer2.Interface, IPs: cfg.FloatingIPs, Logger: log})
	default:
		return nil, nil
	}
}

// instanceOf asks the provider who this machine is, a few times; "" without a provider.
func instanceOf(ctx context.Context, p assigner.Provider) (string, error) {
	if p == nil {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, selfWait)
	defer cancel()
	for {
		instance, err := p.Self(ctx)
		if err == nil {
			return instance, nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("who is this machine? %w", err)
		case <-time.After(selfPause):
		}
	}
}

// claimer lets the cluster give orders to an assigner.Claimer.
type claimer struct {
	inner    *assigner.Claimer
	provider assigner.Provider
	ips      []netip.Addr
}

var _ cluster.Claimer = claimer{}

// newClaimer returns nil, the interface's, without a provider.
func newClaimer(p assigner.Provider, ips []netip.Addr, log hclog.Logger) cluster.Claimer {
	if p == nil {
		return nil
	}
	return claimer{assigner.New(p, log), p, ips}
}

// Ensure makes e.IP point here.
func (c claimer) Ensure(ctx context.Context, e cluster.Ensure, f cluster.Fence) (cluster.Outcome, error) {
	out, err := c.inner.Ensure(ctx, assigner.Request{
		IP: e.IP, Fence: assigner.Fence(f), Epoch: e.Epoch, Believed: e.Believed, Suspect: e.Suspect,
	})
	return cluster.Outcome{
		Moved: out.Moved, From: out.From, Instance: out.Instance, Unverified: out.Unverified,
		Accepted: out.Accepted, Confirmed: out.Confirmed,
	}, err
}

// Holder asks who holds ip. Nobody can tell where the provider cannot.
func (c claimer) Holder(ctx context.Context, ip netip.Addr) (string, error) {
	h, err := c.provider.Holder(assigner.WithRoutine(ctx), ip)
	if err == nil && h.Unknown {
		err = fmt.Errorf("the provider cannot tell who holds the address: %w", errors.ErrUnsupported)
	}
	return h.Instance, err
}

// SelfTest proves by reads that every address could be claimed.
func (c claimer) SelfTest(ctx context.Context) error {
	var errs []error
	for _, ip := range c.ips {
		if err := c.inner.SelfTest(ctx, ip); err != nil {
			errs = append(errs, err)
		}
	}
	err := errors.Join(errs...)
	if n := len(errs); n > 0 && n < len(c.ips) {
		return partialError{err}
	}
	return err
}

// partialError says that some of the addresses could be claimed.
type partialError struct{ error }

func (partialError) Partial() bool { return true }

func (e partialError) Unwrap() error { return e.error }

// Hint lists the addresses that this machine seems to hold.
func (c claimer) Hint(ctx context.Context) ([]netip.Addr, error) { return c.inner.Hint(ctx) }

// Release takes the addresses of epoch, or of earlier ones, off this machine.
func (c claimer) Release(ctx context.Context, epoch uint64) error {
	var errs []error
	for _, ip := range c.ips {
		errs = append(errs, c.inner.Release(ctx, ip, epoch))
	}
	return errors.Join(errs...)
}
