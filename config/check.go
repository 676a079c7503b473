package config

import (
	"fmt"
	"net"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

const (
	shortestInterval = 20 * time.Millisecond
	longestInterval  = time.Hour
	shortestTimeout  = 10 * time.Millisecond
	longestTimeout   = time.Minute
	maxWeight        = 253
	// slowestFault bounds fall x interval of a check that takes the address away: a fault
	// that is noticed later than this is one that nobody is protected from.
	slowestFault = 30 * time.Second
	// roomToAskAgain is the shortest timeout of the haproxy kind in which a process that is
	// stopping can be asked three times more, 30 ms apart, until its successor answers.
	roomToAskAgain = 100 * time.Millisecond
)

// pace holds the defaults that differ by kind.
type pace struct {
	interval, timeout time.Duration // timeout 0 = as the interval
	rise, fall        int
}

// kinds in the order in which errors name them.
//
// haproxy: measured as the fastest pace without false alarms under full load. process: the
// end of a process is an event; the interval only finds a process that came back, and one
// look is proof. http and tcp: two answers in a row within a second or so. command: a look
// costs a fork, and rise and fall are keepalived's.
var kinds = []struct {
	name string
	pace
}{
	{"haproxy", pace{200 * time.Millisecond, 250 * time.Millisecond, 2, 2}},
	{"http", pace{500 * time.Millisecond, 500 * time.Millisecond, 2, 2}},
	{"tcp", pace{500 * time.Millisecond, 500 * time.Millisecond, 2, 2}},
	{"process", pace{200 * time.Millisecond, 250 * time.Millisecond, 2, 1}},
	{"command", pace{2 * time.Second, 0, 1, 1}},
}

const (
	defaultStatsSocket = "/run/haproxy/admin.sock"
	defaultSoftWeight  = -20
)

var checkName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,32}$`)

// checks reads the list; without one, a balancer looks at the local HAProxy.
func (s *section) checks(c *Config) []Check {
	nodes, given := s.list("checks")
	witness := c.Node.Role == RoleWitness
	switch {
	case !given && witness:
		return nil
	case !given:
		s.warn(s.at("checks"), noMonitor, "checks, by default")
		p := kinds[0].pace
		return []Check{{
			Name: "haproxy", Interval: p.interval, Timeout: p.timeout, Rise: p.rise, Fall: p.fall,
			HAProxy: &HAProxyCheck{Socket: defaultStatsSocket, SoftWeight: defaultSoftWeight},
		}}
	case witness && len(nodes) > 0:
		s.warn(s.at("checks"), "checks: a witness never holds the address, so they decide nothing")
	case !witness && len(nodes) == 0:
		s.warn(s.at("checks"), "checks: none: the address will not move when HAProxy fails")
	}
	lines := map[string]int{}
	var checks []Check
	for i, n := range nodes {
		item := s.section(fmt.Sprintf("checks[%d]", i), n, at(n))
		if item == nil {
			continue
		}
		check := item.check(c.Priority)
		if first, twice := lines[check.Name]; twice && check.Name != "" {
			item.fail(item.at("name"), "%s: %q is the name of the check on line %d already; give each its own", item.name("name"), check.Name, first)
		}
		lines[check.Name] = item.start.Line
		checks = append(checks, check)
	}
	return checks
}

// check reads one element; base is the node's priority.
func (s *section) check(base int) Check {
	var check Check
	kind, defaults := s.kind(&check)
	if kind == "" {
		s.known = append(s.known, "name", "interval", "timeout", "rise", "fall", "weight", "reverse", "init_fail")
		s.close()
		return check
	}
	check.Name = s.match("name", kind, "1 to 32 letters, digits, dots, - and _", checkName)
	check.Interval = s.duration("interval", defaults.interval, shortestInterval, longestInterval)
	if defaults.timeout == 0 {
		defaults.timeout = min(check.Interval, longestTimeout)
	}
	check.Timeout = s.duration("timeout", defaults.timeout, shortestTimeout, longestTimeout)
	check.Rise = s.integer("rise", defaults.rise, 1, 100)
	check.Fall = s.integer("fall", defaults.fall, 1, 100)
	check.Weight = s.integer("weight", 0, -maxWeight, maxWeight)
	check.Reverse = s.boolean("reverse", false)
	check.InitFail = s.boolean("init_fail", false)
	s.close()
	s.judge(&check, kind, base)
	return check
}

// kind reads the key that says what is looked at; "" if there is not exactly one.
func (s *section) kind(check *Check) (string, pace) {
	var found, names []string
	var defaults pace
	for _, k := range kinds {
		names = append(names, k.name)
		if _, given := s.entries[k.name]; given {
			found = append(found, k.name)
			defaults = k.pace
		}
		s.look(k.name, check)
	}
	if len(found) == 1 {
		return found[0], defaults
	}
	what := "none"
	if len(found) > 1 {
		what = strings.Join(found, " and ")
	}
	s.fail(s.start, "%s: found %s; required: exactly one of %s", s.path, what, strings.Join(names, ", "))
	return "", pace{}
}

// look reads the target of a kind into check, if it is given.
func (s *section) look(kind string, check *Check) {
	if kind == "command" {
		if _, given := s.entries[kind]; given {
			check.Command = &CommandCheck{Command: s.argv(kind)}
			s.missing(kind, "[/absolute/path/of/the/program, argument, ...]")
		} else {
			s.get(kind) // no value to read, but a known key
		}
		return
	}
	target, given := s.child(kind)
	if !given || target == nil {
		return
	}
	switch kind {
	case "haproxy":
		check.HAProxy = target.haproxy()
	case "http":
		check.HTTP = &HTTPCheck{URL: target.url("url", ""), Status: target.statuses()}
		target.missing("url", "the URL to ask, such as http://127.0.0.1:80/health")
	case "tcp":
		check.TCP = &TCPCheck{Address: target.text("address", "", "host:port", hostPort)}
		target.missing("address", "host:port")
	case "process":
		check.Process = target.process()
	}
	target.close()
}

func (s *section) haproxy() *HAProxyCheck {
	return &HAProxyCheck{
		Socket:     s.socket("socket", defaultStatsSocket),
		Monitor:    s.url("monitor", ""),
		SoftWeight: s.integer("soft_weight", defaultSoftWeight, -maxWeight, 0),
	}
}

func (s *section) statuses() []int {
	nodes, given := s.list("status")
	if !given {
		return nil
	}
	var statuses []int
	for _, n := range nodes {
		status, ok := integerOf(n)
		if !ok || status < 100 || status > 599 {
			s.fail(at(n), "%s: found %s; allowed: numbers 100..599", s.name("status"), describe(n))
		}
		statuses = append(statuses, status)
	}
	if len(nodes) == 0 {
		s.fail(s.at("status"), "%s: found no status; allowed: numbers 100..599; without the key, 200 to 299", s.name("status"))
	}
	return statuses
}

func (s *section) process() *ProcessCheck {
	p := &ProcessCheck{
		// The kernel keeps 15 bytes of a name (comm in proc(5)); a longer one matches nothing.
		Name:    s.text("name", "", "the name that `ps -o comm` shows, at most 15 bytes", func(v string) bool { return len(v) <= 15 && !strings.Contains(v, "/") }),
		PIDFile: s.text("pidfile", "", "an absolute path of a file, such as /run/haproxy.pid", path.IsAbs),
	}
	if !s.has("name") && !s.has("pidfile") {
		s.fail(s.start, "%s: missing; required: name, pidfile or both", s.path)
	}
	return p
}

func hostPort(v string) bool {
	host, port, err := net.SplitHostPort(v)
	n, perr := strconv.ParseUint(port, 10, 16)
	return err == nil && host != "" && perr == nil && n > 0
}

// noMonitor is the warning of a check that only the stats socket answers.
const noMonitor = "%s: kind haproxy without monitor: a stats socket whose slots are taken looks like a hang, and a disabled frontend goes unseen; give a monitor-uri as in examples/haproxy.cfg"

// judge holds the rules between the keys of a check.
func (s *section) judge(c *Check, kind string, base int) {
	if c.InitFail && kind != "command" {
		s.fail(s.at("init_fail"), "%s: allowed only for kind command; the other kinds count as failing until their first success anyway", s.name("init_fail"))
	}
	if slow := time.Duration(c.Fall) * c.Interval; slow > slowestFault {
		const rule = "%s: fall %d x interval %s = %s until a failure counts"
		if c.Weight == 0 {
			s.fail(s.at("interval"), rule+"; allowed for weight 0: at most %s", s.path, c.Fall, short(c.Interval), short(slow), short(slowestFault))
		} else {
			s.warn(s.at("interval"), rule, s.path, c.Fall, short(c.Interval), short(slow))
		}
	}
	s.useless(s.at("weight"), "weight", c.Weight, (c.Weight > 0) != c.Reverse, base)
	if c.HAProxy != nil && c.HAProxy.Monitor == "" {
		s.warn(s.at(kind), noMonitor, s.path)
	}
	if c.HAProxy != nil && c.Timeout < roomToAskAgain {
		s.warn(s.at("timeout"), "%s: %s leaves no room to ask again while HAProxy reloads: reloads count as failures; give at least %s", s.name("timeout"), short(c.Timeout), short(roomToAskAgain))
	}
	// Who left soft_weight at its default has not been promised anything.
	if target, ok := s.entries[kind].value.(*ast.MappingNode); ok && c.HAProxy != nil {
		for _, pair := range target.Values {
			if pair.Key.GetToken().Value == "soft_weight" {
				s.useless(pair.Key.GetToken().Position, "haproxy.soft_weight", c.HAProxy.SoftWeight, false, base)
			}
		}
	}
}

// useless warns of a weight that cannot change the effective priority, which is held in
// 1..254 (keepalived's rule): the address will never move because of it. With raises, the
// weight adds to the priority (while the check passes; reversed, while it fails).
func (s *section) useless(pos *token.Position, key string, weight int, raises bool, base int) {
	switch {
	case weight == 0:
	case base == 255:
		s.warn(pos, "%s.%s: has no effect: priority 255 ignores weights", s.path, key)
	case base == 254 && raises, base == 1 && !raises:
		s.warn(pos, "%s.%s: %+d cannot cause a failover: the priority is held in 1..254 and is %d already", s.path, key, weight, base)
	}
}
