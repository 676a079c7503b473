package config

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

const (
	defaultVerify  = 30 * time.Second
	shortestVerify = 5 * time.Second
	longestVerify  = 10 * time.Minute

	providers = "digitalocean, hetzner, layer2, command"
)

// provider reads the one provider that is given; which one it is shows in the result.
func (s *section) provider(c *Config) Provider {
	p, given := s.child("provider")
	if !given || p == nil {
		return Provider{}
	}
	var result Provider
	count := 0
	if do, given := p.child("digitalocean"); given {
		count++
		result.DigitalOcean = do.digitalOcean()
		s.oneReservedIP(c.FloatingIPs)
	}
	if hetzner, given := p.child("hetzner"); given {
		count++
		result.Hetzner = hetzner.hetzner()
	}
	if command, given := p.child("command"); given {
		count++
		result.Command = command.command(c.Node.ID)
	}
	if layer2, given := p.child("layer2"); given {
		count++
		result.Layer2 = layer2.layer2()
	}
	unknown := slices.ContainsFunc(p.order, func(key string) bool { return !slices.Contains(p.known, key) })
	p.close()
	switch {
	case count > 1:
		p.fail(p.start, "provider: found %s; allowed: exactly one", strings.Join(p.order, " and "))
	case count == 0 && !unknown && s.has("provider"):
		p.fail(p.start, "provider: found nothing; required: one of %s", providers)
	}
	return result
}

func (s *section) digitalOcean() *DigitalOcean {
	if s == nil {
		return nil
	}
	defer s.close()
	return &DigitalOcean{
		TokenFile:      s.credential("token_file", "do-token"),
		DropletID:      s.autoOrNumber("droplet_id", "the droplet's number"),
		APIURL:         s.apiURL("https://api.digitalocean.com/"),
		MetadataURL:    directory(s.url("metadata_url", "http://169.254.169.254/")),
		VerifyInterval: s.duration("verify_interval", defaultVerify, shortestVerify, longestVerify),
	}
}

func (s *section) hetzner() *Hetzner {
	if s == nil {
		return nil
	}
	defer s.close()
	return &Hetzner{
		TokenFile:      s.credential("token_file", "hcloud-token"),
		ServerID:       int64(s.autoOrNumber("server_id", "the server's number")),
		APIURL:         s.apiURL("https://api.hetzner.cloud/v1/"),
		MetadataURL:    directory(s.url("metadata_url", "http://169.254.169.254/")),
		VerifyInterval: s.duration("verify_interval", defaultVerify, shortestVerify, longestVerify),
	}
}

// apiURL warns of what would show the token to the network.
func (s *section) apiURL(def string) string {
	u := directory(s.url("api_url", def))
	if plaintext(u) {
		s.warn(s.at("api_url"), "%s: plain http: the token crosses the network readable by all", s.name("api_url"))
	}
	return u
}

// autoOrNumber is 0 for auto.
func (s *section) autoOrNumber(key, number string) int {
	n := s.get(key)
	if n == nil {
		return 0
	}
	if text, ok := textOf(n); ok && text == "auto" {
		return 0
	}
	if id, ok := integerOf(n); ok && id > 0 {
		return id
	}
	s.wrong(key, "auto, or %s", number)
	return 0
}

// oneReservedIP holds what DigitalOcean can do: a droplet has at most one reserved address of each
// family (https://docs.digitalocean.com/products/networking/reserved-ips/details/limits/).
func (s *section) oneReservedIP(ips []netip.Addr) {
	list, _ := s.entries["floating_ips"].value.(*ast.SequenceNode)
	if list == nil {
		return
	}
	v4 := 0
	for _, ip := range ips {
		if ip.Is4() {
			v4++
		}
	}
	if v6 := len(ips) - v4; v4 > 1 || v6 > 1 {
		s.fail(at(list), "floating_ips: found %d IPv4 and %d IPv6 addresses; allowed with provider digitalocean: at most one of each, since a droplet cannot hold two", v4, v6)
	}
}

func (s *section) command(id string) *Command {
	if s == nil {
		return nil
	}
	defer s.close()
	c := &Command{
		Claim:          s.argv("claim"),
		Holder:         s.argv("holder"),
		Instance:       s.text("instance", id, "this node's name for the cloud", func(v string) bool { return strings.TrimSpace(v) == v && v != "" }),
		Timeout:        s.duration("timeout", 10*time.Second, 100*time.Millisecond, time.Minute),
		VerifyInterval: s.duration("verify_interval", defaultVerify, shortestVerify, longestVerify),
	}
	s.missing("claim", `the command that moves the address, such as [/usr/local/bin/assign-ip, "{ip}", "{instance}"]`)
	if c.Claim != nil && !slices.ContainsFunc(c.Claim, func(arg string) bool { return strings.Contains(arg, "{ip}") }) {
		s.warn(s.at("claim"), "%s: no argument holds {ip}, so the command is not told which address to move", s.name("claim"))
	}
	return c
}

func (s *section) layer2() *Layer2 {
	if s == nil {
		return nil
	}
	defer s.close()
	l := &Layer2{
		Interface:      s.match("interface", "", "the name of a network interface, such as eth1", interfaceName),
		VerifyInterval: s.duration("verify_interval", defaultVerify, shortestVerify, longestVerify),
	}
	s.missing("interface", "the network interface that carries the addresses, such as eth1")
	return l
}

// interfaceName is what the kernel allows (dev_valid_name), without what nobody means.
var interfaceName = regexp.MustCompile(`^[^\s/:.][^\s/:]{0,14}$`)

func directory(u string) string { return strings.TrimRight(u, "/") + "/" }

// plaintext is true for an http URL that leaves this machine.
func plaintext(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" || u.Hostname() == "localhost" {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return err != nil || !addr.Unmap().IsLoopback()
}
