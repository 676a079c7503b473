package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/buoy-lb/buoy/test/lab"
	"github.com/buoy-lb/buoy/test/lab/checker"
	"github.com/buoy-lb/buoy/test/lab/report"
)

// flags are those that several commands share.
type flags struct {
	buoy string
	root string
	seed uint64
	keep string
}

func root() *cobra.Command {
	c := &cobra.Command{
		Use:           "buoy-lab",
		Short:         "Hosts out of network namespaces, real faults, and a judge",
		SilenceErrors: true, SilenceUsage: true,
	}
	f := &flags{}
	c.PersistentFlags().StringVar(&f.buoy, "buoy", beside("buoy"), "the daemon under test")
	c.PersistentFlags().StringVar(&f.root, "root", ".", "folder of buoy's source, to build variants from")
	c.PersistentFlags().Uint64Var(&f.seed, "seed", 0, "where all chance comes from (0: the clock)")
	c.PersistentFlags().StringVar(&f.keep, "keep", "lab-failures", "folder for the record of a run that fails")
	c.AddCommand(runCommand(f), chaosCommand(f), mutantsCommand(f), benchCommand(f), reportCommand(), listCommand(), checkCommand(), clientCommand(), spinCommand(), holdCommand())
	return c
}

// beside is a program in the same folder as this one.
func beside(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}

// inside runs f as the lab proper.
func inside(cmd *cobra.Command, f *flags, run func(context.Context, *lab.Lab) error) error {
	if !lab.Inside() {
		code, err := lab.Enter(cmd.Context())
		if err == nil && code != 0 {
			err = status(code)
		}
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if f.seed == 0 {
		f.seed = uint64(time.Now().UnixNano())
	}
	keep, err := filepath.Abs(f.keep)
	if err != nil {
		return err
	}
	l := &lab.Lab{Binary: f.buoy, Self: self, AssignIP: beside("assign-ip"), Root: f.root, Seed: f.seed, Out: cmd.OutOrStdout(), Keep: keep}
	fmt.Fprintf(l.Out, "buoy-lab %s, seed %d\n", cmd.Name(), f.seed)
	return run(cmd.Context(), l)
}

func runCommand(f *flags) *cobra.Command {
	var short bool
	c := &cobra.Command{
		Use:     "run [FAULT...]",
		Short:   "Suffer every fault once, or those that are named, and judge",
		Example: "  buoy-lab run haproxy-killed drift",
	}
	c.Flags().BoolVar(&short, "short", false, "one fault of each kind")
	o := lab.Options{}
	c.Flags().IntVar(&o.Balancers, "balancers", 3, "how many, with faults that are named")
	c.Flags().BoolVar(&o.Witness, "witness", false, "and a witness, likewise")
	c.Flags().DurationSliceVar(&o.Pauses, "pauses", nil, `how long "paused" freezes daemons, likewise, such as 0.1s,60s`)
	c.Flags().StringVar(&o.Timing, "timing", "lan", "buoy's timing, likewise")
	c.Flags().DurationVar(&o.Verify, "verify", 0, "buoy's verify_interval, likewise (0: 5s)")
	c.Flags().BoolVar(&o.NoHints, "no-hints", false, "the metadata service does not say who holds the address, likewise")
	c.Flags().DurationVar(&o.Assign, "assign", 200*time.Millisecond, "how long the cloud takes, likewise")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		for _, key := range args {
			if _, err := lab.FindFault(key); err != nil {
				return err
			}
		}
		return inside(cmd, f, func(ctx context.Context, l *lab.Lab) error {
			switch {
			case len(args) > 0:
				return l.Run(ctx, []lab.Part{{Name: strings.Join(args, ", "), Options: o, Faults: args}})
			case short:
				return l.Run(ctx, lab.ShortParts())
			}
			return l.Run(ctx, lab.Parts())
		})
	}
	return c
}

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the faults", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			for _, f := range lab.Faults() {
				fmt.Fprintf(cmd.OutOrStdout(), "%-20s %s\n", f.Key, f.Title)
			}
		},
	}
}

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check DIR", Short: "Judge a saved record again", Args: cobra.ExactArgs(1),
		Example: "  buoy-lab check lab-failures/failed-1795693815",
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := checker.Load(args[0])
			if err != nil {
				return err
			}
			violations := checker.Judge(h)
			for _, v := range violations {
				fmt.Fprintln(cmd.OutOrStdout(), v)
			}
			if len(violations) > 0 {
				return fmt.Errorf("%d violations", len(violations))
			}
			fmt.Fprintln(cmd.OutOrStdout(), "no rule broken")
			return nil
		},
	}
}

// The hidden commands are run by the lab itself on its hosts.

func clientCommand() *cobra.Command {
	return &cobra.Command{
		Use: "client", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return lab.RunClient(cmd.Context(), cmd.OutOrStdout()) },
	}
}

func holdCommand() *cobra.Command {
	return &cobra.Command{
		Use: "hold NETWORK ADDRESS CONNECTIONS", Hidden: true, Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			return lab.Hold(cmd.Context(), args[0], args[1], args[2])
		},
	}
}

func spinCommand() *cobra.Command {
	return &cobra.Command{
		Use: "spin LOOPS", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return lab.Spin(args[0]) },
	}
}

func chaosCommand(f *flags) *cobra.Command {
	total := 30 * time.Minute
	c := &cobra.Command{
		Use: "chaos", Short: "Suffer random faults, up to two at a time, and judge", Args: cobra.NoArgs,
		Example: "  buoy-lab chaos --for 10m --seed 42",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return inside(cmd, f, func(ctx context.Context, l *lab.Lab) error { return l.Chaos(ctx, total) })
		},
	}
	c.Flags().DurationVar(&total, "for", total, "how long")
	return c
}

func benchCommand(f *flags) *cobra.Command {
	b := lab.Bench{}
	c := &cobra.Command{
		Use: "bench", Short: "Measure buoy and keepalived side by side, and write the report", Args: cobra.NoArgs,
		Example: "  buoy-lab bench --trials 3 --faults haproxy-killed --docs /tmp",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return inside(cmd, f, func(ctx context.Context, l *lab.Lab) error { return l.Bench(ctx, b) })
		},
	}
	c.Flags().IntVar(&b.Trials, "trials", 10, "of each fault and system")
	c.Flags().IntVar(&b.Transfers, "transfers", 100, "planned ones, back and forth")
	c.Flags().StringVar(&b.Docs, "docs", "docs", "folder of benchmarks.md and benchmarks.svg")
	c.Flags().StringVar(&b.Results, "results", "results.json", "file of all figures")
	c.Flags().StringVar(&b.Version, "buoy-version", "", "what to call the daemon under test")
	c.Flags().StringSliceVar(&b.Faults, "faults", nil, "only these")
	c.Flags().StringSliceVar(&b.Systems, "systems", nil, "only these of buoy, usual, tuned, floor")
	c.Flags().DurationVar(&b.Quiet, "quiet", 20*time.Second, "how long nothing is done, in each pass")
	c.Flags().DurationVar(&b.Load, "load", 30*time.Second, "how long all cores are busy, in each pass")
	return c
}

func reportCommand() *cobra.Command {
	var docs string
	c := &cobra.Command{
		Use: "report RESULTS", Short: "Write a benchmark's report again, from its figures", Args: cobra.ExactArgs(1),
		Example: "  buoy-lab report results.json --docs docs",
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := report.Load(args[0])
			if err != nil {
				return err
			}
			return lab.Publish(r, docs)
		},
	}
	c.Flags().StringVar(&docs, "docs", "docs", "folder of benchmarks.md and benchmarks.svg")
	return c
}

func mutantsCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use: "mutants [NAME...]", Short: "Build broken daemons, each of which the judge must catch",
		Example: "  buoy-lab mutants no-wait no-stepdown",
		RunE: func(cmd *cobra.Command, args []string) error {
			return inside(cmd, f, func(ctx context.Context, l *lab.Lab) error { return l.Mutants(ctx, args) })
		},
	}
}
