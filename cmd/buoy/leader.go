package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/buoy-lb/buoy/fsm"
)

func newLeaderCommand(g *globals) *cobra.Command {
	var address, self, asJSON bool
	cmd := &cobra.Command{
		Use:   "leader",
		Short: "Print the leader's ID",
		Long: `Print the leader's ID, alone on a line, as this node knows it. Exit status 1: no
leader is known, or, with --self, it is not this node.`,
		Example: `  buoy leader
  buoy leader --self && run-the-nightly-job`,
		Args: usage(cobra.MatchAll(cobra.NoArgs, func(*cobra.Command, []string) error {
			if address && self || address && asJSON || self && asJSON {
				return errors.New("--address, --self and --json exclude one another")
			}
			return nil
		})),
		RunE: func(cmd *cobra.Command, _ []string) error {
			leader, err := g.client().Leader(cmd.Context())
			var none *fsm.NotLeaderError
			out := cmd.OutOrStdout()
			switch {
			case self && (errors.As(err, &none) || err == nil && !leader.Self):
				return errNo
			case err != nil:
				return err
			case self:
				return nil
			case asJSON:
				return printJSON(out, leader)
			case address:
				fmt.Fprintln(out, leader.Address)
			default:
				fmt.Fprintln(out, leader.ID)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&address, "address", false, "print the leader's host:port instead")
	cmd.Flags().BoolVar(&self, "self", false, "print nothing; exit 0 if this node leads, 1 if not")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
