package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/buoy-lb/buoy/api"
)

// watchInterval is how often --watch looks.
const watchInterval = time.Second

func newStatusCommand(g *globals) *cobra.Command {
	var watch, asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the cluster at a glance",
		Long: `Show the cluster at a glance: members, states, priorities, checks, who holds the
address and when that was last verified, the last move and why. Exit status 1: degraded
(nobody holds the address, no leader, the holder is not healthy, or not verified).`,
		Example: `  buoy status --watch
  buoy status --json | jq -r '.floating_ips[].holder'`,
		Args: usage(cobra.MatchAll(cobra.NoArgs, func(*cobra.Command, []string) error {
			if watch && asJSON {
				return errors.New("--watch and --json exclude one another")
			}
			return nil
		})),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, out := g.client(), cmd.OutOrStdout()
			if watch {
				return watchStatus(cmd.Context(), client, out)
			}
			status, err := client.Status(cmd.Context())
			switch {
			case err != nil:
				return err
			case asJSON:
				err = printJSON(out, status)
			default:
				renderStatus(out, paletteFor(out), status)
			}
			if err == nil && len(problems(status)) > 0 {
				err = errNo
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "keep showing it; ends with Ctrl-C")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// problems says what makes s degraded; empty means healthy.
func problems(s api.Status) []string {
	if len(s.Members) == 0 {
		return []string{"this node is in no cluster: run \"buoy init\" here, or \"buoy join ADDR\" with the address of a member"}
	}
	if s.Raft.Leader == "" {
		return []string{"no leader: a quorum of voters is not in contact"}
	}
	var found []string
	if leader, ok := s.Member(s.Raft.Leader); ok && leader.State == api.StateWitness {
		found = append(found, fmt.Sprintf("the leader %s is a witness and nobody else is eligible: nobody looks after the address", leader.ID))
	}
	for _, ip := range s.FloatingIPs {
		if ip.State != api.IPClaimed && ip.State != api.IPPaused || ip.Holder == "" {
			found = append(found, describeIP(ip))
		}
		holder, ok := s.Member(ip.Holder)
		if ok && (holder.State == api.StateFault || holder.State == api.StateUnreachable || holder.State == api.StateDrained) {
			found = append(found, fmt.Sprintf("%s is held by %s, and %s", ip.IP, holder.ID, holder.Reason))
		}
	}
	return found
}

// watchStatus shows the status again and again until ctx ends: in place on a terminal,
// else as a new block whenever something has changed.
func watchStatus(ctx context.Context, client *api.Local, out io.Writer) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	inPlace, p := isTerminal(out), paletteFor(out)
	if inPlace {
		fmt.Fprint(out, clearScreen)
	}
	var shown string
	for {
		status, err := client.Status(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if frame, key := statusFrame(p, status, err); inPlace {
			fmt.Fprint(out, cursorHome, string(bytes.ReplaceAll(frame, []byte("\n"), []byte(clearLine+"\n"))), clearBelow)
		} else if key != shown {
			shown = key
			fmt.Fprintf(out, "%s\n%s\n", time.Now().Format(time.RFC3339), frame)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// statusFrame is what to show, and a key that changes when something has happened:
// that time goes by is not worth a new block.
func statusFrame(p palette, s api.Status, err error) (frame []byte, key string) {
	var shown, still bytes.Buffer
	if err != nil {
		printError(&shown, err)
		return shown.Bytes(), shown.String()
	}
	renderStatus(&shown, p, s)
	renderStatus(&still, palette{}, atRest(s))
	return shown.Bytes(), still.String()
}

// atRest is s without what changes while nothing happens.
func atRest(s api.Status) api.Status {
	s.Time, s.Raft.LastContactMS = time.Time{}, nil
	ips := make([]api.FloatingIP, len(s.FloatingIPs))
	for i, ip := range s.FloatingIPs {
		ip.VerifiedAt = nil
		ips[i] = ip
	}
	s.FloatingIPs = ips
	if s.LastTransition != nil {
		s.Time = s.LastTransition.At // so that its age does not grow
	}
	return s
}
