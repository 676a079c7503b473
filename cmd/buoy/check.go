package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/buoy-lb/buoy/config"
)

func newCheckCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Validate a configuration, offline",
		Long: `Validate a configuration, offline: the YAML alone, so that it can be checked where
the files it names do not exist yet. Exit status 2: it is not valid.`,
		Example: `  buoy check /etc/buoy/buoy.yaml`,
		Args:    usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := g.config
			if len(args) == 1 {
				path = args[0]
			}
			cfg, err := config.Load(path)
			if err != nil {
				return err
			}
			if err := judgeAlerts(cfg.Alerts); err != nil {
				return err
			}
			printCheck(cmd.OutOrStdout(), path, cfg)
			return nil
		},
	}
}

// printCheck says what a valid configuration amounts to.
func printCheck(w io.Writer, path string, c *config.Config) {
	fmt.Fprintf(w, "%s: ok\n", path)
	fmt.Fprintf(w, "  node       %s of cluster %s, %s, at %s\n", c.Node.ID, c.Cluster, c.Node.Role, c.Node.Advertise)
	if c.Node.Role == config.RoleBalancer {
		fmt.Fprintf(w, "  addresses  %v, provider %s, verified every %v\n", c.FloatingIPs, c.Provider.Kind(), c.Provider.VerifyInterval())
		fmt.Fprintf(w, "  priority   %d, %s\n", c.Priority, preemption(c))
	}
	fmt.Fprintf(w, "  timing     heartbeat %v, election %v, lease %v\n", c.Timing.Heartbeat, c.Timing.Election, c.Timing.Lease)
	// A follower stands between one and two heartbeat timeouts after the last word of
	// its leader; a split vote costs one more election timeout, of up to twice its value.
	fmt.Fprintf(w, "  worst case %v until a silent holder has a successor, before the cloud is asked\n", 2*c.Timing.Heartbeat+2*c.Timing.Election)
	for _, check := range c.Checks {
		fmt.Fprintf(w, "  check      %s: every %v; a hang or a refusal counts after %v at worst\n", check.Name, check.Interval, worstDetection(check))
	}
	printHooks(w, c.Hooks)
	for _, alert := range c.Alerts {
		fmt.Fprintf(w, "  alerts     %s\n", alert)
	}
	for _, warning := range c.Warnings {
		fmt.Fprintf(w, "  warning    %s\n", warning)
	}
}

func preemption(c *config.Config) string {
	switch {
	case !c.Preempt:
		return "does not preempt"
	case c.PreemptDelay > 0:
		return fmt.Sprintf("preempts after %v", c.PreemptDelay)
	default:
		return "preempts at once"
	}
}

// worstDetection: the fault begins right after a look has begun, each of fall looks takes
// its whole timeout, and a look that overruns its interval makes the next one be skipped.
func worstDetection(c config.Check) time.Duration {
	pace := (c.Timeout + c.Interval - 1) / c.Interval * c.Interval
	return c.Interval + time.Duration(c.Fall-1)*pace + c.Timeout
}
