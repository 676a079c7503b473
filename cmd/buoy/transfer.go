package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/fsm"
)

const (
	// transferWait bounds the wait for the cloud to confirm the new holder.
	transferWait = 60 * time.Second
	// transferPoll is the pause between two looks meanwhile.
	transferPoll = 200 * time.Millisecond
)

func newTransferCommand(g *globals) *cobra.Command {
	var noWait bool
	cmd := &cobra.Command{
		Use:   "transfer [ID]",
		Short: "Hand the address over to ID, or to the best other node",
		Long: `Hand leadership, and with it the address, over to the member ID, or to the best
other eligible one. Any member may be asked. Returns when the cloud has confirmed the
new holder; exit status 1 if it has not within 60 s.`,
		Example: `  buoy transfer lb2
  buoy transfer --no-wait`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, target := g.client(), strings.Join(args, "")
			to, err := client.Transfer(cmd.Context(), target)
			if err != nil {
				return notTransferred(err)
			}
			if noWait {
				fmt.Fprintf(cmd.OutOrStdout(), "%s leads\n", to)
				return nil
			}
			printProgress(cmd.ErrOrStderr(), "%s leads; waiting for the cloud to confirm", to)
			status, err := awaitHolder(cmd.Context(), client, to)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), tookOver(status, to))
			return nil
		},
	}
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "return when leadership has moved")
	return cmd
}

// notTransferred says of a refusal that nothing has moved, and where to look. Other errors
// leave open what has happened.
func notTransferred(err error) error {
	var refused *fsm.RefusedError
	if !errors.As(err, &refused) {
		return err
	}
	return fmt.Errorf("not transferred: %w; \"buoy status\" shows who could take over, and what bars the others", err)
}

// tookOver says what member, which leads, has got.
func tookOver(s api.Status, member string) string {
	if s.Paused != nil {
		return member + " leads; paused: the address stays where it is"
	}
	return member + " leads and holds the address"
}

// awaitHolder returns when the cloud has confirmed that member holds every address, or at
// once if there is a pause.
func awaitHolder(ctx context.Context, client *api.Local, member string) (api.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, transferWait)
	defer cancel()
	status, err := awaitStatus(ctx, client.Status, func(s api.Status) string { return notConfirmed(s, member) })
	if err != nil {
		return status, fmt.Errorf("%s leads, but the move is not confirmed: %w", member, err)
	}
	return status, nil
}

// awaitStatus looks until nothing is missing in the status, and returns that. When ctx
// ends first, the error says what still is.
func awaitStatus(ctx context.Context, look func(context.Context) (api.Status, error), missing func(api.Status) string) (api.Status, error) {
	tick := time.NewTicker(transferPoll)
	defer tick.Stop()
	still := "no answer yet"
	for {
		status, err := look(ctx)
		switch {
		case err == nil:
			still = missing(status)
		case ctx.Err() == nil:
			still = err.Error()
		}
		if still == "" {
			return status, nil
		}
		select {
		case <-ctx.Done():
			return status, fmt.Errorf("%s; watch it with \"buoy status\": %w", still, ctx.Err())
		case <-tick.C:
		}
	}
}

// notConfirmed says which addresses the cloud has not confirmed as member's; "" if none, or
// if none is to move.
func notConfirmed(s api.Status, member string) string {
	if s.Paused != nil {
		return ""
	}
	var missing []string
	for _, ip := range s.FloatingIPs {
		if ip.Holder != member || ip.State != api.IPClaimed {
			missing = append(missing, describeIP(ip))
		}
	}
	return strings.Join(missing, "; ")
}

// describeIP is one floating IP in a few words.
func describeIP(ip api.FloatingIP) string {
	holder := ip.Holder
	switch {
	case holder == "" && ip.Instance != "":
		holder = "instance " + ip.Instance + " (not a member)"
	case holder == "":
		holder = "nobody"
	}
	return fmt.Sprintf("%s is %s, held by %s", ip.IP, ip.State, holder)
}
