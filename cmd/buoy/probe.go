package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/assigner/digitalocean"
	"github.com/buoy-lb/buoy/cmd/buoy/probe"
)

const (
	probeRoundsMost = 100
	probePatience   = 30 * time.Second
	// daemonWait bounds the question to this machine's daemon whether it looks after the address.
	daemonWait = 2 * time.Second
)

func newProbeCommand(g *globals) *cobra.Command {
	var o probeOrder
	cmd := &cobra.Command{
		Use:   "probe IP --between ID1,ID2",
		Short: "Measure how a DigitalOcean reserved IP moves, by moving it",
		Long: `Measure what DigitalOcean does not document: how long it takes from the request to move a
reserved IP until it is accepted, completed, shown by the API and by the metadata service, and
until the new droplet answers; what the API shows and refuses meanwhile.

IT MOVES A LIVE ADDRESS to and fro between two droplets; its users may go unserved meanwhile.
Both droplets should serve --url, and answer differently if the first answer is to be measured.
At the end, also on Ctrl-C, the address goes back to where it was. The address must be held by
one of the two, and buoy must not look after it, or be paused.

` + tokenFrom + `
DIGITALOCEAN_API_URL names another API.

Exit status 0: measured, and the address is back. 1: not so. 2: an argument, or no token.`,
		Example: `  buoy probe 203.0.113.10 --between 123456789,123456790 --rounds 5
  buoy probe 203.0.113.10 --between 123456789,123456790 --yes --json > report.json`,
		Args: usage(func(cmd *cobra.Command, args []string) error {
			if err := cobra.ExactArgs(1)(cmd, args); err != nil {
				return err
			}
			return o.check(args[0])
		}),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, g.client()) },
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.IntSliceVar(&o.between, "between", nil, "the two droplets' `IDs`, both of which serve; required")
	f.IntVar(&o.rounds, "rounds", 5, "move it there and back this many `times`, 1 to 100")
	f.StringVar(&o.url, "url", "", "the `URL` of the service behind the address (default http://IP/)")
	f.DurationVar(&o.poll, "poll", 300*time.Millisecond, "read the API this `often`, 20ms to 5s; the API allows 250 requests a minute")
	f.StringVar(&o.metadataURL, "metadata-url", digitalocean.DefaultMetadataURL, "the metadata service's `URL`")
	f.BoolVar(&o.yes, "yes", false, "do not ask whether to begin")
	f.BoolVar(&o.json, "json", false, "print the report as JSON")
	return cmd
}

// probeOrder is one `buoy probe`.
type probeOrder struct {
	account
	ip          netip.Addr
	between     []int
	rounds      int
	url         string
	poll        time.Duration
	metadataURL string
	yes, json   bool
}

// check judges the command line.
func (o *probeOrder) check(ip string) (err error) {
	if o.ip, err = parseReservedIP(ip); err != nil {
		return err
	}
	if o.url == "" {
		o.url = "http://" + o.ip.String() + "/"
		if o.ip.Is6() {
			o.url = "http://[" + o.ip.String() + "]/"
		}
	}
	switch {
	case len(o.between) != 2 || slices.Min(o.between) < 1 || o.between[0] == o.between[1]:
		return errors.New("--between: want the IDs of two droplets, such as 123456789,123456790")
	case o.rounds < 1 || o.rounds > probeRoundsMost:
		return fmt.Errorf("--rounds %d: want 1 to %d", o.rounds, probeRoundsMost)
	case o.poll < 20*time.Millisecond || o.poll > 5*time.Second:
		return fmt.Errorf("--poll %v: want 20ms to 5s", o.poll)
	case !strings.HasPrefix(o.url, "http://") && !strings.HasPrefix(o.url, "https://"):
		return fmt.Errorf("--url %q: want http://… or https://…", o.url)
	}
	return nil
}

func (o *probeOrder) run(cmd *cobra.Command, daemon *api.Local) error {
	token, err := o.token(cmd)
	if err != nil {
		return err
	}
	p, err := probe.New(probe.Options{
		IP: o.ip, Between: [2]int(o.between), Rounds: o.rounds, URL: o.url, Poll: o.poll, Patience: probePatience,
		APIURL: cmp.Or(o.apiURL(), digitalocean.DefaultAPIURL), MetadataURL: o.metadataURL,
		Token: token, UserAgent: "buoy/" + version + " (probe)", Version: version,
		Progress: func(format string, args ...any) { printProgress(cmd.ErrOrStderr(), format, args...) },
	})
	if err != nil {
		return &usageError{cmd.CommandPath(), err}
	}
	defer p.Close()
	if err := lookedAfter(cmd.Context(), daemon, o.ip); err != nil {
		return err
	}
	holder, err := p.Check(cmd.Context())
	if err != nil {
		return fmt.Errorf("nothing was moved: %w", err)
	}
	if err := o.consent(cmd, holder); err != nil {
		return err
	}
	report, err := p.Run(cmd.Context())
	if len(report.Moves) > 0 {
		if printed := o.print(cmd.OutOrStdout(), report); err == nil {
			err = printed
		}
	}
	return err
}

func (o *probeOrder) print(w io.Writer, r *probe.Report) error {
	if o.json {
		return printJSON(w, r)
	}
	return r.Print(w)
}

// lookedAfter refuses if a daemon of this machine keeps the address where it is. Daemons of
// other machines cannot be asked.
func lookedAfter(ctx context.Context, daemon *api.Local, ip netip.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, daemonWait)
	defer cancel()
	status, err := daemon.Status(ctx)
	if err != nil {
		return nil // no daemon, or none that could be asked
	}
	for _, held := range status.FloatingIPs {
		if held.IP == ip.String() && held.State != api.IPPaused {
			return fmt.Errorf("nothing was moved: the buoy daemon of this machine looks after %s (it is %s) and would take it back", ip, held.State)
		}
	}
	return nil
}

// consent asks whether to begin.
func (o *probeOrder) consent(cmd *cobra.Command, holder int) error {
	out := cmd.ErrOrStderr()
	printProgress(out, "this moves the live address %s %d times between the droplets %d and %d; each move takes some 10 s, in which its users may go unserved",
		o.ip, 2*o.rounds, o.between[0], o.between[1])
	printProgress(out, "it is at droplet %d now, and goes back there at the end, also after Ctrl-C", holder)
	if o.yes {
		return nil
	}
	if in, ok := cmd.InOrStdin().(*os.File); !ok || !isTerminal(in) {
		return &usageError{cmd.CommandPath(), errors.New("nothing was moved: --yes is needed where nobody can be asked")}
	}
	fmt.Fprint(out, "buoy: go on? [y/N] ")
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case said := <-answer:
		if said == "y" || said == "yes" {
			return nil
		}
		return errors.New("nothing was moved")
	case <-cmd.Context().Done():
		return cmd.Context().Err()
	}
}
