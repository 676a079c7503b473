package command

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/program"
)

// Options configure a Provider. Claim and Instance are required.
type Options struct {
	Claim    []string // argv; {ip} and {instance} are filled in
	Holder   []string // argv, likewise; empty: the holder cannot be told
	Instance string   // this node's name, as Holder prints it
	Timeout  time.Duration
	Logger   hclog.Logger // nil: silent
}

// arrival is how long the holder program may name somebody else after a claim program has
// succeeded: most clouds take less. Later the claim is taken to have failed, whatever its program
// said: keepalived's assign-ip ends with 0 when the API has refused.
const arrival = 15 * time.Second

// DefaultTimeout is how long a program may run unless Options.Timeout says otherwise.
const DefaultTimeout = 10 * time.Second

// Provider runs programs. Safe for concurrent use.
type Provider struct {
	o        Options
	claiming chan struct{} // holds one element while a claim runs
}

var (
	_ assigner.Provider   = (*Provider)(nil)
	_ assigner.SelfTester = (*Provider)(nil)
)

// New returns a Provider; it starts nothing. An error is one of the options, or a [*ProgramError].
func New(o Options) (*Provider, error) {
	switch {
	case len(o.Claim) == 0 || o.Claim[0] == "":
		return nil, errors.New("claim: the program is missing")
	case len(o.Holder) > 0 && o.Holder[0] == "":
		return nil, errors.New("holder: the program is missing")
	case o.Instance == "":
		return nil, errors.New("instance: this node's name is missing")
	case o.Timeout < 0:
		return nil, fmt.Errorf("timeout: %v is negative", o.Timeout)
	}
	for _, argv := range [][]string{o.Claim, o.Holder} {
		if len(argv) == 0 {
			continue
		}
		if err := trusted(argv[0]); err != nil {
			return nil, err
		}
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	return &Provider{o: o, claiming: make(chan struct{}, 1)}, nil
}

// Self returns the configured instance.
func (p *Provider) Self(context.Context) (string, error) { return p.o.Instance, nil }

// Holder runs the holder program; without one the answer is Unknown.
func (p *Provider) Holder(ctx context.Context, ip netip.Addr) (assigner.Holding, error) {
	if len(p.o.Holder) == 0 {
		return assigner.Holding{Unknown: true}, nil
	}
	out, err := p.run(ctx, p.o.Holder, ip, nil)
	if err != nil {
		return assigner.Holding{}, err
	}
	name := strings.TrimSpace(out)
	if len(strings.Fields(name)) > 1 || len(name) > 256 {
		return assigner.Holding{}, fmt.Errorf("%s printed %q: want one instance or nothing", p.o.Holder[0], program.Summary(out))
	}
	return assigner.Holding{Instance: name}, nil
}

// Claim runs the claim program. If a holder program can tell, the action to follow is the address
// itself, and named after the end of the program, in Unix milliseconds.
func (p *Provider) Claim(ctx context.Context, ip netip.Addr, check func() error) (string, error) {
	select {
	case p.claiming <- struct{}{}:
		defer func() { <-p.claiming }()
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if _, err := p.run(ctx, p.o.Claim, ip, check); err != nil {
		return "", err
	}
	if len(p.o.Holder) == 0 {
		return "", nil
	}
	return strconv.FormatInt(time.Now().UnixMilli(), 10), nil
}

// Pending reports whether the holder program still names somebody else, for 15 s.
func (p *Provider) Pending(ctx context.Context, ip netip.Addr, action string) (bool, error) {
	ended, err := strconv.ParseInt(action, 10, 64)
	if err != nil {
		return false, fmt.Errorf("action %q is not one of ours: %w", action, err)
	}
	if since := time.Since(time.UnixMilli(ended)); since < 0 || since > arrival { // the clock may have been stepped
		return false, nil
	}
	h, err := p.Holder(ctx, ip)
	return !h.Unknown && h.Instance != p.o.Instance, err
}

// SelfTest proves that the programs are there, and runs the holder program.
func (p *Provider) SelfTest(ctx context.Context, ip netip.Addr) error {
	if _, err := exec.LookPath(p.o.Claim[0]); err != nil {
		return notRunnable(p.o.Claim[0], err)
	}
	_, err := p.Holder(ctx, ip)
	return err
}

// arguments fills the placeholders in. The program's name is taken as it stands.
func (p *Provider) arguments(argv []string, ip netip.Addr) []string {
	r := strings.NewReplacer("{ip}", ip.String(), "{instance}", p.o.Instance)
	args := make([]string, 0, len(argv)-1)
	for _, a := range argv[1:] {
		args = append(args, r.Replace(a))
	}
	return args
}

func notRunnable(program string, err error) error {
	return assigner.Errorf(assigner.Own, "%s cannot be run: %w", program, err)
}
