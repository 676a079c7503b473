package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/digitalocean"
)

const (
	assignWait    = 60 * time.Second
	assignLongest = time.Hour
	// assignPause and assignPauseMost are the first and the longest wait between two attempts,
	// unless the API asks for more. A refused POST is not repeated within assignPostGap.
	assignPause     = 250 * time.Millisecond
	assignPauseMost = 2 * time.Second
	assignPostGap   = 2 * time.Second
)

func newAssignCommand() *cobra.Command {
	var o assignOrder
	cmd := &cobra.Command{
		Use:   "assign IP DROPLET_ID",
		Short: "Move a DigitalOcean reserved IP to a droplet, once",
		Long: `Move a DigitalOcean reserved IP to a droplet, once: what the assign-ip programs of keepalived's
notify_master did, and then wait until the API shows the address there, at rest. It asks again
while the API is busy, in trouble or out of reach, until --timeout. It needs no daemon and no
configuration of buoy. A cluster of buoy that looks after the address takes it back, unless that
is paused.

` + tokenFrom + `
DIGITALOCEAN_API_URL names another API.

Exit status 0: the address is there. 1: it is not, or nobody can tell. 2: an argument, or no token.`,
		Example: `  buoy assign 203.0.113.10 123456789
  notify_master "/usr/bin/buoy assign 203.0.113.10 123456789"    # in keepalived.conf`,
		Args: usage(func(cmd *cobra.Command, args []string) error {
			err := cobra.ExactArgs(2)(cmd, args)
			if err == nil {
				o.ip, err = parseReservedIP(args[0])
			}
			if err == nil {
				o.droplet, err = parseDroplet(args[1])
			}
			if err == nil && (o.timeout < time.Second || o.timeout > assignLongest) {
				err = fmt.Errorf("--timeout %v: want 1s to %v", o.timeout, assignLongest)
			}
			return err
		}),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.flags(cmd)
	cmd.Flags().DurationVar(&o.timeout, "timeout", assignWait, "give up after this `duration`, 1s to 1h")
	return cmd
}

// assignOrder is one `buoy assign`.
type assignOrder struct {
	account
	ip      netip.Addr
	droplet int
	timeout time.Duration
}

func (o *assignOrder) run(cmd *cobra.Command) error {
	token, err := o.token(cmd)
	if err != nil {
		return err
	}
	cloud, err := digitalocean.New(digitalocean.Options{
		Token: token, DropletID: o.droplet, APIURL: o.apiURL(), Node: "assign", Version: version,
	})
	if err != nil {
		return &usageError{cmd.CommandPath(), fmt.Errorf("%s: %w", apiURLVariable, err)}
	}
	defer cloud.Close()
	begun := time.Now()
	out, err := o.move(cmd.Context(), announcer{cloud, cmd.OutOrStdout()}, cmd.ErrOrStderr())
	took := time.Since(begun).Round(time.Millisecond)
	switch {
	case err != nil:
		printRefusal(cmd.ErrOrStderr(), err)
		return err
	case !out.Moved:
		fmt.Fprintf(cmd.OutOrStdout(), "%s is at droplet %d already\n", o.ip, o.droplet)
	default:
		fmt.Fprintf(cmd.OutOrStdout(), "%s is at droplet %d, as the API confirms after %v\n", o.ip, o.droplet, took)
	}
	return nil
}

// announcer says when the cloud has accepted a move, in the words of the old programs.
type announcer struct {
	assigner.Provider
	out io.Writer
}

// Claim is the provider's.
func (a announcer) Claim(ctx context.Context, ip netip.Addr, check func() error) (string, error) {
	action, err := a.Provider.Claim(ctx, ip, check)
	if err == nil {
		fmt.Fprintln(a.out, "Moving IP address: in-progress")
	}
	return action, err
}

// operatorsRight is the fence of an operator, who needs no ticket: as long as ctx lasts.
func operatorsRight(ctx context.Context) (check func() error, done func(), err error) {
	return func() error { return context.Cause(ctx) }, func() {}, context.Cause(ctx)
}

// move tries until the cloud confirms, until it cannot get better, or until ctx or the time
// ends. moved in the outcome covers all attempts.
func (o *assignOrder) move(ctx context.Context, p assigner.Provider, progress io.Writer) (assigner.Outcome, error) {
	limit, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	claimer := assigner.New(p, nil)
	var last error
	var wrote, accepted bool
	for n := 0; ; n++ {
		out, err := claimer.Ensure(limit, assigner.Request{IP: o.ip, Fence: operatorsRight})
		wrote, accepted = wrote || out.Writes > 0, accepted || !out.Accepted.IsZero()
		out.Moved = out.Moved || wrote
		if err == nil {
			return out, nil
		}
		if limit.Err() == nil || last == nil {
			last = err // what went wrong before the time ran out says more
		}
		if limit.Err() == nil && !hopeless(last) {
			wait := assignDelay(n, out.Writes > 0, last)
			printProgress(progress, "%v; again in %v", last, wait.Round(10*time.Millisecond))
			if pause(limit, wait) == nil {
				continue
			}
		}
		return out, o.given(ctx, limit, accepted, last)
	}
}

// given is the error when no further attempt is made.
func (o *assignOrder) given(ctx, limit context.Context, accepted bool, last error) error {
	const open = "the move was accepted, but is not confirmed; it may still happen"
	switch {
	case limit.Err() == nil:
		return last
	case ctx.Err() != nil && accepted:
		return errors.New("interrupted: " + open)
	case ctx.Err() != nil:
		return ctx.Err()
	case accepted:
		last = fmt.Errorf("%s: %w", open, last)
	}
	return fmt.Errorf("not confirmed within %v: %w", o.timeout, last)
}

// hopeless says that asking again cannot help: the token, the address or the droplet is wrong.
// What may pass is an API in trouble, one that is out of reach, and an action on the address or
// the droplet.
func hopeless(err error) bool {
	var e *assigner.Error
	if !errors.As(err, &e) || e.Class != assigner.Own {
		return false
	}
	if status, _, _ := digitalocean.Refusal(err); status != 0 {
		return status != http.StatusUnprocessableEntity && status != http.StatusConflict && status != http.StatusLocked
	}
	var network *net.OpError
	return !errors.As(err, &network)
}

// assignDelay is how long to wait after the n-th failed attempt, from 0.
func assignDelay(n int, wrote bool, err error) time.Duration {
	wait := min(assignPause<<min(n, 10), assignPauseMost)
	wait += rand.N(wait / 4) // several may have been started by the same event
	if wrote {
		wait = max(wait, assignPostGap)
	}
	var e *assigner.Error
	if errors.As(err, &e) {
		wait = max(wait, e.RetryAfter)
	}
	return wait
}

// printRefusal prints what the API said as the old programs did: "id: message".
func printRefusal(w io.Writer, err error) {
	if status, id, message := digitalocean.Refusal(err); status != 0 {
		fmt.Fprintf(w, "%s: %s\n", id, message)
	}
}
