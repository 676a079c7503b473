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

	"github.com/buoy-lb/buoy/test/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	err := root().ExecuteContext(ctx)
	stop()
	var s status
	switch {
	case err == nil:
	case errors.As(err, &s):
		os.Exit(int(s))
	default:
		fmt.Fprintln(os.Stderr, "buoy-lab:", err)
		if errors.Is(err, lab.ErrNotRoot) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

// status is the exit status of the lab proper, which has said why.
type status int

func (s status) Error() string { return fmt.Sprintf("ended with status %d", int(s)) }
