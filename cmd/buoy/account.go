package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/buoy-lb/buoy/config"
)

// What assign and probe share: they speak for an operator with an API token, not for a node.

// tokenVariables are the names under which people already have their token, in the order in
// which they are looked at. Never an argument: arguments can be read by every user.
var tokenVariables = []string{"DIGITALOCEAN_ACCESS_TOKEN", "DIGITALOCEAN_TOKEN", "DO_TOKEN"}

// apiURLVariable moves the API elsewhere, as it does for DigitalOcean's own tools.
const apiURLVariable = "DIGITALOCEAN_API_URL"

// tokenFrom says in each command's help where the token comes from.
const tokenFrom = `The API token is, in this order: apiToken in the file --token-config; the environment variable
DIGITALOCEAN_ACCESS_TOKEN, DIGITALOCEAN_TOKEN or DO_TOKEN; apiToken in ` + config.DefaultDigitalOceanPath + `.`

// account is the DigitalOcean account that a command works with.
type account struct {
	tokenConfig string // --token-config
}

func (a *account) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.tokenConfig, "token-config", "", "read the API token, apiToken, from this YAML `file`")
}

// token finds the API token. Every error is a usage error or a configuration's.
func (a *account) token(cmd *cobra.Command) (string, error) {
	if a.tokenConfig != "" {
		return tokenOfFile(cmd.ErrOrStderr(), a.tokenConfig)
	}
	for _, name := range tokenVariables {
		token := strings.TrimSpace(os.Getenv(name))
		switch {
		case token == "":
		case config.IsToken(token):
			return token, nil
		default:
			return "", &usageError{cmd.CommandPath(), fmt.Errorf("%s holds more than one word, or characters that no token has", name)}
		}
	}
	token, err := tokenOfFile(cmd.ErrOrStderr(), config.DefaultDigitalOceanPath)
	if errors.Is(err, fs.ErrNotExist) {
		err = &usageError{cmd.CommandPath(), fmt.Errorf("no API token: set %s, or write \"apiToken: TOKEN\" into %s",
			strings.Join(tokenVariables, " or "), config.DefaultDigitalOceanPath)}
	}
	return token, err
}

// tokenOfFile reads the old configuration as it is. It was often left readable by all; that is
// said, and is no reason to fail at the moment when the address has to move.
func tokenOfFile(warnings io.Writer, path string) (string, error) {
	token, err := config.LoadDigitalOcean(path)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		printProgress(warnings, "warning: %s has mode %04o: others can read the token in it; chmod 600 %[1]s", path, info.Mode().Perm())
	}
	return token, nil
}

// apiURL is where the API is, "" for its usual place.
func (*account) apiURL() string { return os.Getenv(apiURLVariable) }

// parseReservedIP reads an address of the command line.
func parseReservedIP(text string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() {
		return netip.Addr{}, fmt.Errorf("%q is not an address: want a reserved IP such as 203.0.113.10", text)
	}
	return ip.Unmap(), nil
}

// parseDroplet reads a droplet ID of the command line.
func parseDroplet(text string) (int, error) {
	id, err := strconv.Atoi(text)
	if err != nil || id < 1 {
		return 0, fmt.Errorf("%q is not a droplet ID: want a number, as http://169.254.169.254/metadata/v1/id shows it on the droplet", text)
	}
	return id, nil
}
