package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/buoy-lb/buoy/api"
)

func newPauseCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "pause",
		Short: "Leave the address where it is, whatever happens, until resume",
		Long: `Forbid all members to move the address, until "buoy resume": for work on it by hand. The
leader goes on looking where it is. Leadership moves as ever, and the address does not: it stays
even with a node that dies. The order is kept by all members, through restarts.

Returns when that is so and no claim is in flight; what the cloud has accepted before, it may
still carry out. Exit status 1: nobody leads, or the leader could not be asked.`,
		Example: `  buoy pause && doctl compute reserved-ip-action assign 203.0.113.10 1002
  buoy resume`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client := g.client()
			before, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			if err := client.Pause(cmd.Context()); err != nil {
				return fmt.Errorf("not known to be paused: %w", err)
			}
			said := `paused: the address stays where it is until "buoy resume"`
			if before.Paused != nil {
				said = "was paused already, " + pausedSince(*before.Paused)
			}
			fmt.Fprintln(cmd.OutOrStdout(), said)
			return nil
		},
	}
}

func newResumeCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "resume",
		Short: "End a pause: the address goes where it should be",
		Long: `End a pause. The leader looks at once, and claims the address if it is elsewhere. Without a
pause nothing changes.`,
		Example: `  buoy resume && buoy status`,
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client := g.client()
			before, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			if err := client.Resume(cmd.Context()); err != nil {
				return fmt.Errorf("not known to be resumed: %w", err)
			}
			said := "was not paused"
			if before.Paused != nil {
				said = "resumed: it was paused, " + pausedSince(*before.Paused)
			}
			fmt.Fprintln(cmd.OutOrStdout(), said)
			return nil
		},
	}
}

// pausedSince is since when and by whom.
func pausedSince(p api.Pause) string {
	return fmt.Sprintf("since %s, by %s", p.Since.Local().Format(time.DateTime), p.By)
}
