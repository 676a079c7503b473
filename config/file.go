package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

var (
	clusterName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
	// nodeID becomes part of a raft.ServerID, a file name and a DNS label (at most 63
	// bytes) in a certificate, each with a suffix.
	nodeID = regexp.MustCompile(`^[A-Za-z0-9-]{1,48}$`)
)

const (
	clusterAllowed = "1 to 32 of the characters a-z, 0-9 and -"
	nodeIDAllowed  = "1 to 48 letters, digits and -"
)

func parse(name string, data []byte, env environment) (*Config, error) {
	d := &document{name: name, env: env}
	var c *Config
	if top := d.root(data); top != nil {
		c = top.config()
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	c.Warnings = d.warnings
	return c, nil
}

// config reads the top level. The node comes first: what else is required depends on its role.
func (s *section) config() *Config {
	c := &Config{Cluster: s.match("cluster", "", clusterAllowed, clusterName)}
	s.missing("cluster", clusterAllowed)
	c.Node = s.node()
	c.SecretFile = s.credential("secret_file", "secret")
	c.Socket = s.socket("socket", DefaultSocket)
	c.HTTP = s.http(c.Node)
	s.priorities(c)
	c.Timing = s.timing()
	c.FloatingIPs = s.floatingIPs()
	c.Provider = s.provider(c)
	c.Checks = s.checks(c)
	c.Hooks = s.hooks()
	c.Alerts = s.alerts()
	c.Log = s.log()
	if c.Node.Role != RoleWitness {
		s.missing("floating_ips", "the addresses to keep on a healthy balancer, such as [203.0.113.10]")
		s.missing("provider", "one of "+providers)
	}
	for _, later := range []string{"bootstrap_expect", "peers", "tls"} {
		s.unsupported(later)
	}
	s.close()
	return c
}

func (s *section) node() Node {
	n, given := s.child("node")
	if !given {
		s.missing("node", "a mapping with at least listen: ADDRESS")
	}
	if n == nil {
		return Node{}
	}
	public := n.boolean("allow_public_listen", false)
	node := Node{
		ID:                n.id(),
		Listen:            n.addrPort("listen", DefaultPort),
		Role:              n.oneOf("role", RoleBalancer, RoleBalancer, RoleWitness),
		DataDir:           n.file("data_dir", "/var/lib/buoy"),
		AllowPublicListen: public,
	}
	n.missing("listen", "the private address that the other members reach, such as 10.114.0.2")
	port := uint16(DefaultPort)
	if node.Listen.IsValid() {
		port = node.Listen.Port()
	}
	node.Advertise = n.addrPort("advertise", port)
	n.reachable(&node)
	n.close()
	return node
}

func (s *section) id() string {
	if id := s.match("id", "", nodeIDAllowed, nodeID); s.has("id") {
		return id
	}
	host, err := s.env.hostname()
	id, _, _ := strings.Cut(host, ".")
	if err != nil || !nodeID.MatchString(id) {
		s.fail(s.at("id"), "%s: missing, and this host's name %q cannot stand in for it; required: %s", s.name("id"), id, nodeIDAllowed)
	}
	return id
}

// reachable judges the two addresses together.
func (s *section) reachable(n *Node) {
	if !s.has("advertise") {
		n.Advertise = n.Listen
	}
	private := func(key string, addr netip.Addr) {
		if addr.IsValid() && s.has(key) && !isPrivate(addr) && !n.AllowPublicListen {
			s.wrong(key, "a private, loopback, link-local or 100.64.0.0/10 address: members should meet on a private network; allow_public_listen: true lifts this")
		}
	}
	private("listen", n.Listen.Addr())
	private("advertise", n.Advertise.Addr())
	if a := n.Advertise.Addr(); a.IsUnspecified() || a.IsMulticast() {
		s.fail(s.at("advertise"), "%s: found %s; allowed: an address that the other members can dial", s.name("advertise"), a)
	}
}

// shared is the carrier-grade NAT range (RFC 6598), which overlay networks use.
var shared = netip.MustParsePrefix("100.64.0.0/10")

func isPrivate(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || shared.Contains(a)
}

func (s *section) http(n Node) string {
	const def, port = "127.0.0.1:7401", 7401
	value := s.text("http", def, "an IP address and port such as "+def+", or off", func(v string) bool {
		_, err := parseAddrPort(v, port)
		return v == "off" || err == nil
	})
	if value == "off" {
		return ""
	}
	ap, _ := parseAddrPort(value, port) // cannot fail: text has seen to that
	switch {
	case ap == n.Listen:
		s.fail(s.at("http"), "http: %s is node.listen already; give it a port of its own", ap)
	case !ap.Addr().IsLoopback():
		s.warn(s.at("http"), "http: %s is not a loopback address, and the status page has no authentication: everyone who reaches it can read it", ap)
	}
	return ap.String()
}

func (s *section) priorities(c *Config) {
	c.Priority = s.integer("priority", 100, 1, 255, " (255 = the owner of the address)")
	c.Preempt = s.boolean("preempt", true)
	c.PreemptDelay = s.duration("preempt_delay", 0, 0, 1000*time.Second)
	switch {
	case c.Priority == 255 && !c.Preempt:
		s.warn(s.at("preempt"), "preempt: false has no effect with priority 255: the owner always takes over (RFC 9568, section 6.1)")
	case c.Priority == 255 && c.PreemptDelay > 0:
		s.warn(s.at("preempt_delay"), "preempt_delay has no effect with priority 255: the owner takes over at once")
	case !c.Preempt && c.PreemptDelay > 0:
		s.warn(s.at("preempt_delay"), "preempt_delay has no effect with preempt: false")
	}
}

func (s *section) floatingIPs() []netip.Addr {
	nodes, _ := s.list("floating_ips")
	lines := map[netip.Addr]int{}
	var ips []netip.Addr
	for i, n := range nodes {
		name := fmt.Sprintf("floating_ips[%d]", i)
		text, ok := textOf(n)
		ip, err := netip.ParseAddr(text)
		if !ok || err != nil || ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast() {
			s.fail(at(n), "%s: found %s; allowed: an IP address such as 203.0.113.10, without prefix length", name, describe(n))
			continue
		}
		if first, twice := lines[ip.Unmap()]; twice {
			s.fail(at(n), "%s: %s is given twice, first on line %d; keep one", name, ip, first)
			continue
		}
		lines[ip.Unmap()] = at(n).Line
		ips = append(ips, ip.Unmap())
	}
	return ips
}

var (
	lan = Timing{Heartbeat: 300 * time.Millisecond, Election: 300 * time.Millisecond, Lease: 150 * time.Millisecond}
	wan = Timing{Heartbeat: time.Second, Election: time.Second, Lease: 500 * time.Millisecond}
)

func (s *section) timing() Timing {
	n := s.get("timing")
	if _, mapping := n.(*ast.MappingNode); mapping {
		m, _ := s.child("timing")
		return m.timers()
	}
	if n == nil {
		return lan
	}
	switch v, _ := textOf(n); v {
	case "lan":
		return lan
	case "wan":
		return wan
	}
	s.wrong("timing", "lan, wan, or {heartbeat: , election: , lease: }")
	return lan
}

// timers reads a custom profile. The floors: raft needs 5 ms for each timer, and below a
// heartbeat of 150 ms a busy machine loses leaders for no reason. The ratio: a lease under
// 0.4 of the heartbeat is lost to two late heartbeats, one over 0.5 outlives the moment when
// the others may elect a successor.
func (s *section) timers() Timing {
	const longest = 10 * time.Second
	floor := 150 * time.Millisecond
	if s.boolean("allow_unsafe", false) {
		floor = 10 * time.Millisecond
	}
	heartbeat := s.duration("heartbeat", 0, floor, longest, " (from 10ms with allow_unsafe: true)")
	s.missing("heartbeat", "a duration; without a map, timing: lan and timing: wan have sound ones")
	if heartbeat == 0 {
		heartbeat = lan.Heartbeat // the problem is recorded; go on with the other keys
	}
	t := Timing{
		Heartbeat: heartbeat,
		Election:  s.duration("election", heartbeat, heartbeat, longest, " (not under heartbeat)"),
		Lease:     s.duration("lease", heartbeat/2, max(heartbeat*2/5, 5*time.Millisecond), heartbeat/2, " (0.4 to 0.5 of heartbeat)"),
	}
	s.close()
	return t
}

func (s *section) log() Log {
	l, given := s.child("log")
	if !given || l == nil {
		return Log{Level: "info", Format: "text"}
	}
	defer l.close()
	return Log{
		Level:  l.oneOf("level", "info", "trace", "debug", "info", "warn", "error"),
		Format: l.oneOf("format", "text", "text", "json"),
	}
}
