// Command buoy-lab breaks load balancers and judges what keeps the address on a healthy
// one: see package lab.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/buoy-lb/buoy/test/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, root())
	stop()
	os.Exit(code)
}

// run is the exit status: 2 for what nobody can run, 1 for what went wrong.
func run(ctx context.Context, c *cobra.Command) int {
	understood := false
	c.PersistentPreRun = func(*cobra.Command, []string) { understood = true }
	err := c.ExecuteContext(ctx)
	var s status
	if err == nil {
		return 0
	}
	if errors.As(err, &s) { // the lab proper has said why
		return int(s)
	}
	fmt.Fprintln(c.ErrOrStderr(), "buoy-lab:", err)
	var usage *lab.UsageError
	if !understood || errors.As(err, &usage) {
		return 2
	}
	return 1
}

// status is the exit status of the lab proper.
type status int

func (s status) Error() string { return fmt.Sprintf("ended with status %d", int(s)) }
