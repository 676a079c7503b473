package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	// DefaultPath is where the configuration is looked for.
	DefaultPath = "/etc/buoy/buoy.yaml"
	// DefaultSocket is the unix socket for local administration.
	DefaultSocket = "/run/buoy/buoy.sock"
	// DefaultPort is the TCP port between members.
	DefaultPort = 7400

	// maxFile is a hundred times a long configuration. The YAML parser takes time in the
	// square of the nesting depth, so a larger limit would let junk keep it busy for minutes.
	maxFile = 64 << 10
)

// The values of [Node.Role].
const (
	RoleBalancer = "balancer"
	RoleWitness  = "witness" // votes, never holds the address
)

// Config is one node's configuration: complete, valid, defaults filled in.
type Config struct {
	Cluster      string // [a-z0-9-]{1,32}
	Node         Node
	SecretFile   string
	Socket       string
	HTTP         string // host:port of the read-only listener; "" = off
	Priority     int    // 1..255; 255 = the owner
	Preempt      bool
	PreemptDelay time.Duration // 0..1000 s
	Timing       Timing
	FloatingIPs  []netip.Addr // at least one, except on a witness
	Provider     Provider
	Checks       []Check // names are unique
	Hooks        Hooks
	Alerts       []string // URLs without secrets, and file:PATH of files of URLs
	Log          Log

	// Warnings are lines for the operator, each with file and line: settings that are
	// allowed but will not do what they seem to say.
	Warnings []string
}

// Node says who this member is and where it is found.
type Node struct {
	ID                string // [A-Za-z0-9-]{1,48}
	Listen, Advertise netip.AddrPort
	Role              string // RoleBalancer or RoleWitness
	DataDir           string
	AllowPublicListen bool
}

// Timing holds raft's timers; they must be the same on all members.
type Timing struct{ Heartbeat, Election, Lease time.Duration }

// Provider has at most one field set; none only on a witness.
type Provider struct {
	DigitalOcean *DigitalOcean
	Hetzner      *Hetzner
	Command      *Command
	Layer2       *Layer2
}

// Kind names the provider as the configuration does; "" = none.
func (p Provider) Kind() string {
	switch {
	case p.DigitalOcean != nil:
		return "digitalocean"
	case p.Hetzner != nil:
		return "hetzner"
	case p.Command != nil:
		return "command"
	case p.Layer2 != nil:
		return "layer2"
	}
	return ""
}

// VerifyInterval is how often the holder re-reads who holds the address, 5 s..10 min;
// 0 without a provider.
func (p Provider) VerifyInterval() time.Duration {
	switch {
	case p.DigitalOcean != nil:
		return p.DigitalOcean.VerifyInterval
	case p.Hetzner != nil:
		return p.Hetzner.VerifyInterval
	case p.Command != nil:
		return p.Command.VerifyInterval
	case p.Layer2 != nil:
		return p.Layer2.VerifyInterval
	}
	return 0
}

// DigitalOcean configures the provider of that name.
type DigitalOcean struct {
	TokenFile           string
	DropletID           int    // 0 = ask the metadata service
	APIURL, MetadataURL string // end with "/"
	VerifyInterval      time.Duration
}

// Hetzner configures the provider of that name.
type Hetzner struct {
	TokenFile           string
	ServerID            int64  // 0 = ask the metadata service
	APIURL, MetadataURL string // end with "/"
	VerifyInterval      time.Duration
}

// Command configures an operator's own program. The arguments of Claim and Holder may
// hold {ip} and {instance}.
type Command struct {
	Claim, Holder  []string // Holder nil: who holds the address cannot be asked
	Instance       string
	Timeout        time.Duration // 100 ms..60 s
	VerifyInterval time.Duration
}

// Layer2 configures the provider that carries the addresses on an interface of this machine.
type Layer2 struct {
	Interface      string // 1..15 bytes
	VerifyInterval time.Duration
}

// Check is one health check; exactly one of the kinds is set.
type Check struct {
	Name              string
	Interval, Timeout time.Duration // 20 ms..1 h; 10 ms..1 min
	Rise, Fall        int           // 1..100 results in a row
	Weight            int           // -253..253; 0: failing means FAULT
	Reverse, InitFail bool          // keepalived's meaning

	HAProxy *HAProxyCheck
	HTTP    *HTTPCheck
	TCP     *TCPCheck
	Process *ProcessCheck
	Command *CommandCheck
}

// HAProxyCheck looks at the stats socket, the process and, if given, a monitor-uri.
type HAProxyCheck struct {
	Socket     string
	Monitor    string // URL; "" = no such look
	SoftWeight int    // -253..0, while no backend is usable; 0 = warn only
}

// HTTPCheck wants one of the given statuses from the URL.
type HTTPCheck struct {
	URL    string
	Status []int // 100..599; nil = 200 to 299
}

// TCPCheck wants a connection to Address (host:port).
type TCPCheck struct{ Address string }

// ProcessCheck wants a live process. With both fields set, the one that the file names
// must also bear the name; at least one is set.
type ProcessCheck struct {
	Name    string // its comm, at most 15 bytes
	PIDFile string
}

// CommandCheck wants exit status 0; the first element is an absolute path.
type CommandCheck struct{ Command []string }

// Log says what is logged and how.
type Log struct {
	Level  string // trace, debug, info, warn or error
	Format string // text or json
}

// Load reads and judges the configuration at path. Whatever is wrong, the file itself
// included, the error is an [*Error].
func Load(path string) (*Config, error) {
	data, err := read(path)
	if err != nil {
		return nil, &Error{File: path, Err: err}
	}
	return Parse(path, data)
}

func read(path string) ([]byte, error) {
	data, err := readAll(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w; name another file with --config, or start from examples/buoy.yaml", err)
	}
	return data, err
}

// readAll reads a file, or a little more of it than a configuration may have.
func readAll(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, fmt.Errorf("is a directory; name the file in it, for example %s/buoy.yaml", strings.TrimRight(path, "/"))
	}
	// A pipe is welcome (`buoy check <(make-config)`), so the size is found out by reading.
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return data, nil
}

// Parse judges the text of a configuration; name stands for the file in errors and
// warnings. The error is an [*Error]. Besides data, the result depends on the host's name
// (default of node.id) and on CREDENTIALS_DIRECTORY in the environment.
func Parse(name string, data []byte) (*Config, error) {
	return parse(name, data, environment{hostname: os.Hostname, getenv: os.Getenv})
}

// Digest is a short hash of what members must agree on: cluster, timing, floating IPs,
// kind of provider, verify interval. It changes with no other key. A witness needs none of
// the latter three, so its digest ("w-...") covers the first two and compares with other
// witnesses only.
func (c *Config) Digest() string {
	prefix, shared := "", fmt.Sprintf("%q %v", c.Cluster, c.Timing)
	if c.Node.Role == RoleWitness {
		prefix = "w-"
	} else {
		ips := slices.SortedFunc(slices.Values(c.FloatingIPs), netip.Addr.Compare)
		shared += fmt.Sprintf(" %v %s %v", ips, c.Provider.Kind(), c.Provider.VerifyInterval())
	}
	sum := sha256.Sum256([]byte(shared))
	return prefix + hex.EncodeToString(sum[:6])
}
