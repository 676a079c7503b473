package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/buoy-lb/buoy/assigner/cloudhttp"
	"github.com/buoy-lb/buoy/assigner/command"
	"github.com/buoy-lb/buoy/assigner/layer2"
	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/cluster/peernet"
	"github.com/buoy-lb/buoy/config"
	"github.com/buoy-lb/buoy/notify"
)

// The exit codes of all commands.
const (
	exitOK      = 0
	exitFailure = 1  // the world said no, or the answer is no
	exitUsage   = 2  // the command line, the configuration, the secret, the token, a hook, an alert or the rights
	exitWedged  = 70 // the progress watchdog gave up: restart the daemon
)

// errNo is the answer no, said by the exit code alone.
var errNo = errors.New("")

// usageError is a mistake on the command line.
type usageError struct {
	command string
	err     error
}

func (e *usageError) Error() string {
	return fmt.Sprintf("%v; see \"%s --help\"", e.err, e.command)
}

func (e *usageError) Unwrap() error { return e.err }

// usage makes the errors of an argument check usage errors.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{cmd.CommandPath(), err}
		}
		return nil
	}
}

// exitCode is the process's exit code for what a command returned.
func exitCode(err error) int {
	var (
		wrongUsage  *usageError
		wrongConfig *config.Error
		wrongSecret *peernet.SecretError
		wrongToken  *cloudhttp.TokenError
		unsafe      *command.ProgramError
		wrongSetup  *layer2.SetupError
		wrongHook   *notify.Error
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &wrongUsage), errors.As(err, &wrongConfig), errors.As(err, &wrongSecret), errors.As(err, &wrongToken),
		errors.As(err, &unsafe), errors.As(err, &wrongSetup), errors.As(err, &wrongHook):
		return exitUsage
	case errors.Is(err, cluster.ErrWedged):
		return exitWedged
	default:
		return exitFailure
	}
}
