package command

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/program"
)

// tempFail is EX_TEMPFAIL of sysexits.h.
const tempFail = 75

// run executes one program to its end and returns what it wrote to stdout. check, if any, runs
// right before the start.
func (p *Provider) run(ctx context.Context, argv []string, ip netip.Addr, check func() error) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, p.o.Timeout, fmt.Errorf("not done within %v", p.o.Timeout))
	defer cancel()
	if err := trusted(argv[0]); err != nil {
		return "", &assigner.Error{Class: assigner.Own, Op: "start " + argv[0], Err: err}
	}
	if check != nil {
		if err := check(); err != nil {
			return "", &assigner.Error{Class: assigner.NoRight, Op: "start " + argv[0], Err: err}
		}
	}
	out, err := program.Run(ctx, append(argv[:1:1], p.arguments(argv, ip)...), nil)
	switch {
	case err == nil:
		return out.Stdout, nil
	case errors.Is(err, program.ErrNotStarted):
		return "", assigner.Errorf(assigner.Own, "%s %w", argv[0], err)
	}
	p.o.Logger.Warn("program failed", "program", argv[0], "ip", ip, "error", err,
		"stdout", program.Summary(out.Stdout), "stderr", program.Summary(out.Stderr))
	return "", failure(ctx, argv[0], err, program.Summary(out.Stderr+"\n"+out.Stdout))
}

// failure classes the end of a program.
func failure(ctx context.Context, program string, err error, output string) error {
	class := assigner.Own
	var exit *exec.ExitError
	switch cause := context.Cause(ctx); {
	case cause != nil:
		class, err = assigner.Shared, fmt.Errorf("stopped: %w", cause)
	case errors.As(err, &exit) && exit.ExitCode() == tempFail:
		class = assigner.Shared
	}
	if output != "" {
		err = fmt.Errorf("%w; it said: %s", err, output)
	}
	return &assigner.Error{Class: class, Op: program, Err: err}
}
