package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Each getter below gives the value of one key; the default if the key is absent; the
// default and a recorded problem if the value is not allowed.

// text gives a string; allowed says in the error what valid wants.
func (s *section) text(key, def, allowed string, valid func(string) bool) string {
	n := s.get(key)
	if n == nil {
		return def
	}
	v, ok := textOf(n)
	switch {
	case !ok:
		s.wrong(key, "%s%s", allowed, quoteHint(n))
	case v == "" && def == "":
		return "" // says the same as leaving it out
	case !valid(v):
		s.wrong(key, "%s", allowed)
	default:
		return v
	}
	return def
}

func (s *section) match(key, def, allowed string, pattern *regexp.Regexp) string {
	return s.text(key, def, allowed, pattern.MatchString)
}

func (s *section) oneOf(key, def string, values ...string) string {
	return s.text(key, def, strings.Join(values, ", "), func(v string) bool { return slices.Contains(values, v) })
}

func (s *section) boolean(key string, def bool) bool {
	n := s.get(key)
	if n == nil {
		return def
	}
	b, ok := n.(*ast.BoolNode)
	if !ok {
		s.wrong(key, "true or false, without quotes")
		return def
	}
	return b.Value
}

// integer takes plain decimal numbers only: 010 is eight to some YAML readers, ten to
// others. The notes are added to the error.
func (s *section) integer(key string, def, lowest, highest int, notes ...string) int {
	n := s.get(key)
	if n == nil {
		return def
	}
	if v, ok := integerOf(n); ok && v >= lowest && v <= highest {
		return v
	}
	s.wrong(key, "a whole number, %d..%d%s", lowest, highest, strings.Join(notes, ""))
	return def
}

func (s *section) duration(key string, def, shortest, longest time.Duration, notes ...string) time.Duration {
	n := s.get(key)
	if n == nil {
		return def
	}
	v, err := time.ParseDuration(n.GetToken().Value)
	if !isScalar(n) || err != nil || v < shortest || v > longest {
		s.wrong(key, "a duration with its unit, %s..%s%s", short(shortest), short(longest), strings.Join(notes, ""))
		return def
	}
	return v
}

// file gives an absolute path: a daemon's working directory is nobody's to know.
func (s *section) file(key, def string) string {
	return s.text(key, def, "an absolute path of a file, such as "+def, path.IsAbs)
}

// maxSocketPath is the longest path that fits in sockaddr_un (unix(7)).
const maxSocketPath = 107

func (s *section) socket(key, def string) string {
	return s.text(key, def, fmt.Sprintf("an absolute path of at most %d bytes (the system's limit for a unix socket)", maxSocketPath),
		func(v string) bool { return path.IsAbs(v) && len(v) <= maxSocketPath })
}

// credentials is the variable by which systemd's LoadCredential= tells where the files are.
const credentials = "CREDENTIALS_DIRECTORY"

// credential gives the path of a secret file: by default where systemd has put it for this
// service, else file in /etc/buoy.
func (s *section) credential(key, file string) string {
	dir, inFile := s.env.getenv(credentials), "${"+credentials+"}/"
	def := "/etc/buoy/" + file
	if dir != "" {
		def = path.Join(dir, file)
	}
	v := s.text(key, def, "an absolute path of a file, such as /etc/buoy/"+file+" or "+inFile+file, func(v string) bool {
		rest, _ := strings.CutPrefix(v, inFile)
		return !strings.Contains(rest, "${") && (path.IsAbs(v) || rest != v)
	})
	rest, found := strings.CutPrefix(v, inFile)
	switch {
	case !found:
		return v
	case dir == "":
		s.warn(s.at(key), "%s: %s is not set here, so %s stays as it is; systemd sets it for a unit with LoadCredential=", s.name(key), credentials, v)
		return v
	}
	return path.Join(dir, rest)
}

// url gives an http or https URL without user, password or fragment.
func (s *section) url(key, def string) string {
	return s.text(key, def, "a URL such as http://127.0.0.1:80/path, without user and password", func(v string) bool {
		u, err := url.Parse(v)
		return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil && u.Fragment == ""
	})
}

// addrPort gives an IP address and port; a port left out is port. The zero AddrPort stands
// for absent or wrong.
func (s *section) addrPort(key string, port uint16) netip.AddrPort {
	n := s.get(key)
	if n == nil {
		return netip.AddrPort{}
	}
	v, ok := textOf(n)
	ap, err := parseAddrPort(v, port)
	if !ok || err != nil {
		s.wrong(key, "an IP address with an optional port 1..65535, such as 10.114.0.2:%d or \"[fd00::2]:%d\"", port, port)
		return netip.AddrPort{}
	}
	return ap
}

// parseAddrPort wants IPv6 in brackets: fd00::2:7400 is an address in itself.
func parseAddrPort(v string, port uint16) (netip.AddrPort, error) {
	inner, bracketed := strings.CutPrefix(v, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	if addr, err := netip.ParseAddr(inner); err == nil && bracketed == closed && bracketed == addr.Is6() {
		return netip.AddrPortFrom(addr.Unmap(), port), nil
	}
	ap, err := netip.ParseAddrPort(v)
	if err != nil {
		return ap, err
	}
	if ap.Port() == 0 {
		return ap, fmt.Errorf("port 0")
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
}

// argv gives a command and its arguments: a list, since there is no shell to split a line.
func (s *section) argv(key string) []string {
	nodes, _ := s.list(key)
	var argv []string
	for i, n := range nodes {
		v, ok := textOf(n)
		if !ok {
			s.fail(at(n), "%s[%d]: found %s; allowed: text%s", s.name(key), i, describe(n), quoteHint(n))
		}
		argv = append(argv, v)
	}
	if len(argv) > 0 && !path.IsAbs(argv[0]) {
		s.fail(s.at(key), "%s: found %q; allowed: [/absolute/path/of/the/program, argument, ...]; it runs without a shell", s.name(key), argv)
	}
	return argv
}

// textOf gives a string's value. Other scalars do not pass: an operator who writes
// `id: 007` or `cluster: true` should say which text is meant.
func textOf(n ast.Node) (string, bool) {
	t, ok := n.(*ast.StringNode)
	if !ok {
		return "", false
	}
	return t.Value, true
}

func integerOf(n ast.Node) (int, bool) {
	if _, ok := n.(*ast.IntegerNode); !ok {
		return 0, false
	}
	text := strings.TrimPrefix(n.GetToken().Value, "+")
	v, err := strconv.Atoi(text)
	return v, err == nil && strconv.Itoa(v) == text
}

func isScalar(n ast.Node) bool {
	_, scalar := n.(ast.ScalarNode)
	return scalar
}

func quoteHint(n ast.Node) string {
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return "; put it in quotes to mean text"
	}
	return ""
}

// short prints 1h0m0s as 1h.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
