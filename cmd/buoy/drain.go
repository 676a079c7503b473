package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/fsm"
)

func newDrainCommand(g *globals) *cobra.Command {
	var d drainOrder
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Take a node out of service: it hands the address over and does not get it back",
		Long: `Take this node, or the member --node, out of service for maintenance: it hands the
address over and does not get it back before "buoy undrain", or the end of --for. It goes on
voting. The mark is kept by all members, through restarts. Draining again sets a new end.

Returns when the cloud has confirmed the new holder, or at once if the node did not hold the
address; exit status 1 if it has not within 60 s. Refused if nobody else could hold the
address, unless --force is given: then the node is marked, and the address stays until
somebody can.`,
		Example: `  buoy drain --for 30m && apt-get upgrade haproxy && buoy undrain
  buoy drain --node lb2`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return d.run(cmd, g.client()) },
	}
	cmd.Flags().Var(&d.lasting, "for", "end the drain by itself after `duration`, 1s to 720h (30 days)")
	cmd.Flags().StringVar(&d.node, "node", "", "the `ID` of the member to drain (default: this node)")
	cmd.Flags().BoolVar(&d.force, "force", false, "drain it even if nobody else could hold the address")
	cmd.Flags().BoolVar(&d.noWait, "no-wait", false, "return when leadership has moved")
	return cmd
}

func newUndrainCommand(g *globals) *cobra.Command {
	var node string
	cmd := &cobra.Command{
		Use:   "undrain",
		Short: "Put a drained node back into service",
		Long: `Put this node, or the member --node, back into service. If it outranks the holder it
takes over as its preempt and preempt_delay say. A node that is not drained stays as it is.`,
		Example: `  buoy undrain
  buoy undrain --node lb2`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client := g.client()
			before, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			node = cmp.Or(node, before.Self)
			if err := client.Undrain(cmd.Context(), node); err != nil {
				return fmt.Errorf("not undrained: %w", err)
			}
			said := "is in service again"
			if m, _ := before.Member(node); m.Drain == nil {
				said = "was not drained"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", node, said)
			return nil
		},
	}
	cmd.Flags().StringVar(&node, "node", "", "the `ID` of the member (default: this node)")
	return cmd
}

// lasting is how long a drain lasts; 0: until undrain.
type lasting time.Duration

func (l *lasting) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil || d < cluster.MinDrain || d > cluster.MaxDrain {
		return errors.New("want 1s to 720h (30 days), such as 30m")
	}
	*l = lasting(d)
	return nil
}

func (l *lasting) String() string {
	if *l == 0 {
		return ""
	}
	return time.Duration(*l).String()
}

func (*lasting) Type() string { return "duration" }

// drainOrder is one `buoy drain`.
type drainOrder struct {
	node          string // "": the daemon's own
	lasting       lasting
	force, noWait bool
}

func (d drainOrder) run(cmd *cobra.Command, client *api.Local) error {
	before, err := client.Status(cmd.Context())
	if err != nil {
		return err
	}
	d.node = cmp.Or(d.node, before.Self)
	if err := client.Drain(cmd.Context(), d.node, time.Duration(d.lasting), d.force); err != nil {
		return notDrained(err)
	}
	done := d.node + " is drained " + d.end(time.Now())
	after, err := client.Status(cmd.Context())
	if inCharge(before, d.node) || (err == nil && inCharge(after, d.node)) { // it may just have taken over
		printProgress(cmd.ErrOrStderr(), "%s; waiting for another to lead", done)
		ctx, cancel := context.WithTimeout(cmd.Context(), transferWait)
		defer cancel()
		who, err := d.await(ctx, client.Status, func(leader string) {
			printProgress(cmd.ErrOrStderr(), "%s leads; waiting for the cloud to confirm", leader)
		})
		if err != nil {
			return fmt.Errorf("%s, but: %w", done, err)
		}
		done += "; " + who
	}
	fmt.Fprintln(cmd.OutOrStdout(), done)
	return nil
}

// end is when the drain that begins now ends, in words.
func (d drainOrder) end(now time.Time) string {
	if d.lasting == 0 {
		return drainEnd(now, nil)
	}
	until := now.Add(time.Duration(d.lasting))
	return drainEnd(now, &until)
}

// await returns who has taken over, in words, when somebody leads and, if that is to be
// waited for, holds every address; or that nobody can.
func (d drainOrder) await(ctx context.Context, look func(context.Context) (api.Status, error), leads func(leader string)) (string, error) {
	status, err := awaitStatus(ctx, look, func(s api.Status) string {
		if d.stays(s) {
			return ""
		}
		return d.notLed(s)
	})
	leader := status.Raft.Leader
	switch {
	case err != nil:
		return "", err
	case d.stays(status):
		return "nobody is eligible: the address stays where it is", nil
	case d.noWait:
		return leader + " leads", nil
	}
	leads(leader)
	status, err = awaitStatus(ctx, look, func(s api.Status) string { return cmp.Or(d.notLed(s), d.notHeld(s)) })
	if err != nil {
		return "", err
	}
	return tookOver(status, status.Raft.Leader), nil
}

// stays says that the drained node was to be drained by force and nobody can replace it.
func (d drainOrder) stays(s api.Status) bool {
	return d.force && s.Raft.Leader == d.node && !slices.ContainsFunc(s.Members, func(m api.Member) bool { return m.Eligible })
}

// notLed says why nobody leads in the drained node's place; "" if somebody does.
func (d drainOrder) notLed(s api.Status) string {
	switch s.Raft.Leader {
	case "":
		return "nobody leads"
	case d.node:
		return d.node + " still leads"
	}
	return ""
}

// notHeld says which addresses the cloud has not confirmed as another's; "" if none.
func (d drainOrder) notHeld(s api.Status) string {
	if s.Paused != nil { // none is to move
		return ""
	}
	var missing []string
	for _, ip := range s.FloatingIPs {
		if ip.Holder == "" || ip.Holder == d.node || ip.State != api.IPClaimed {
			missing = append(missing, describeIP(ip))
		}
	}
	return strings.Join(missing, "; ")
}

// inCharge says that node leads or holds an address.
func inCharge(s api.Status, node string) bool {
	return s.Raft.Leader == node || slices.ContainsFunc(s.FloatingIPs, func(ip api.FloatingIP) bool { return ip.Holder == node })
}

// notDrained says of a refusal that nothing has changed, and where to look. Other errors
// leave open what has happened.
func notDrained(err error) error {
	var refused *fsm.RefusedError
	if !errors.As(err, &refused) {
		return err
	}
	return fmt.Errorf("not drained: %w; \"buoy status\" shows who could take over, and what bars the others", err)
}
