package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/config"
)

// globals are the flags that every command knows.
type globals struct {
	config string // --config, else BUOY_CONFIG, else the default path
	socket string // --socket, "" if not given
}

// newRootCommand returns `buoy` with all its commands.
func newRootCommand() *cobra.Command {
	g := &globals{config: config.DefaultPath}
	if path := os.Getenv("BUOY_CONFIG"); path != "" {
		g.config = path
	}
	root := &cobra.Command{
		Use:   "buoy",
		Short: "Keep a floating IP on a healthy load balancer",
		Long: `buoy keeps a floating IP on a healthy load balancer.

Every load balancer runs one daemon. The daemons elect a leader; the leader, as long as
its HAProxy is healthy, holds the address: it claims it from the cloud and keeps checking.`,
		Example: `  (umask 077 && buoy keygen > /etc/buoy/secret)    # once; the same file on every node
  systemctl enable --now buoy
  buoy init                                        # on the first node
  buoy join 10.114.0.2                             # on each further node
  buoy status --watch`,
		Args:          usage(unknownCommand),
		RunE:          func(*cobra.Command, []string) error { return nil }, // unknownCommand has refused
		SilenceErrors: true,
		SilenceUsage:  true,

		SuggestionsMinimumDistance: 2,
		CompletionOptions:          cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetUsageTemplate(usageTemplate)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return &usageError{cmd.CommandPath(), err} })
	root.PersistentFlags().StringVar(&g.config, "config", g.config, "configuration `file` (env BUOY_CONFIG)")
	root.PersistentFlags().StringVar(&g.socket, "socket", "", "unix `socket` of the daemon (env BUOY_SOCKET; default: the one in the configuration)")
	root.AddCommand(
		newRunCommand(g),
		newInitCommand(g),
		newJoinCommand(g),
		newStatusCommand(g),
		newLeaderCommand(g),
		newTransferCommand(g),
		newDrainCommand(g),
		newUndrainCommand(g),
		newPauseCommand(g),
		newResumeCommand(g),
		newCheckCommand(g),
		newAssignCommand(),
		newProbeCommand(g),
		newDemoCommand(),
		newKeygenCommand(),
		newVersionCommand(),
		newCompletionCommand(),
	)
	root.SetHelpCommand(newHelpCommand())
	return root
}

// newHelpCommand makes `buoy help status` mean `buoy status --help`.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Hidden:  true,
		Example: "  buoy help status",
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err == nil && len(rest) > 0 {
				err = unknownCommand(of, rest)
			}
			if err != nil {
				return &usageError{cmd.Root().CommandPath(), err}
			}
			return of.Help()
		},
	}
}

// unknownCommand refuses whatever is not a command, naming the nearest one.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("which command? %s", commandNames(cmd))
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("unknown command %q; did you mean %q?", args[0], near[0])
	}
	return fmt.Errorf("unknown command %q; there are %s", args[0], commandNames(cmd))
}

func commandNames(cmd *cobra.Command) string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return strings.Join(names, ", ")
}

// socketGiven is the socket named on the command line or in the environment, or "".
func (g *globals) socketGiven() string {
	if g.socket != "" {
		return g.socket
	}
	return os.Getenv("BUOY_SOCKET")
}

// client returns the client of the local daemon. A configuration that cannot be read
// is no obstacle: operators may lack the right to read it.
func (g *globals) client() *api.Local {
	if given := g.socketGiven(); given != "" {
		return api.NewLocal(given)
	}
	if cfg, err := config.Load(g.config); err == nil {
		return api.NewLocal(cfg.Socket)
	}
	return api.NewLocal(config.DefaultSocket)
}

// usageTemplate is cobra's with the example at the end, where the eye stops.
const usageTemplate = `Usage:{{if .Runnable}}{{if not .HasAvailableSubCommands}}
  {{.UseLine}}{{end}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} [command]

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

Global flags:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}

Example:
{{.Example}}
`
