package main

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/buoy-lb/buoy/config"
)

func newJoinCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "join ADDR",
		Short: "Join the cluster of which ADDR is a member",
		Long: `Join the cluster of which ADDR is a member; any member will do. Returns when this
node votes and its state has caught up. Joining the cluster it is in already changes
nothing. Without a port, ADDR means port 7400.`,
		Example: `  buoy join 10.114.0.2`,
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			address, err := memberAddress(args[0])
			if err != nil {
				return &usageError{cmd.CommandPath(), err}
			}
			client := g.client()
			tell := func(step string) { printProgress(cmd.ErrOrStderr(), "%s", step) }
			if err := client.Join(cmd.Context(), address, tell); err != nil {
				return err
			}
			status, err := client.Status(cmd.Context())
			if err != nil {
				return fmt.Errorf("this node has joined, but: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is a voting member of cluster %s (%d voters)\n", status.Self, status.Cluster, status.Raft.Voters)
			return nil
		},
	}
}

// memberAddress is s as host:port, with the default port if s names none.
func memberAddress(s string) (string, error) {
	if ip, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(ip, config.DefaultPort).String(), nil
	}
	if !strings.Contains(s, ":") {
		s = net.JoinHostPort(s, strconv.Itoa(config.DefaultPort))
	}
	host, port, err := net.SplitHostPort(s)
	if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || portErr != nil || n == 0 {
		return "", fmt.Errorf("%q is not an address: want HOST or HOST:PORT, such as 10.114.0.2 or [fd00::2]:7400", s)
	}
	return s, nil
}
