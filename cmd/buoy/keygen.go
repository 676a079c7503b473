package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/buoy-lb/buoy/cluster/peernet"
)

func newKeygenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen",
		Short: "Print a new cluster secret",
		Long: `Print a new cluster secret: 32 random bytes in base64.

All members of a cluster share one secret file, readable by its owner alone. Whoever has
it can pass for a member.`,
		Example: `  (umask 077 && buoy keygen > /etc/buoy/secret)
  scp -p /etc/buoy/secret lb2:/etc/buoy/secret`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			secret, err := peernet.GenerateSecret()
			if err != nil {
				return err
			}
			if isTerminal(cmd.OutOrStdout()) {
				printProgress(cmd.ErrOrStderr(), "this secret is now on your screen; better: (umask 077 && buoy keygen > /etc/buoy/secret)")
			}
			fmt.Fprintln(cmd.OutOrStdout(), secret)
			return nil
		},
	}
}
