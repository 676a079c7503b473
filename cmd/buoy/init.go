package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newInitCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Make this node the first member of a new cluster",
		Long: `Make this node the first member of a new cluster. Run it once, on one node; the
others join it. A node that is a member already refuses.`,
		Example: `  buoy init
  buoy status`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client := g.client()
			if err := client.Init(cmd.Context()); err != nil {
				return err
			}
			status, err := client.Status(cmd.Context())
			if err != nil {
				return fmt.Errorf("the cluster is formed, but: %w", err)
			}
			self, _ := status.Member(status.Self)
			fmt.Fprintf(cmd.OutOrStdout(), "cluster %s formed; %s is its first member\non each further node: buoy join %s\n",
				status.Cluster, status.Self, self.Address)
			return nil
		},
	}
}
