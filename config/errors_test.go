package config

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

// Each line of YAML below is wrong in one way. where is the place of the only problem; the
// message must hold the key, what was found and what is allowed.
func TestEveryKeySaysWhereWhatAndWhatIsAllowed(t *testing.T) {
	for _, test := range []struct {
		yaml, where, message string
	}{
		// Top level.
		{"cluster: Web", "1:10", `cluster: found "Web"; allowed: 1 to 32 of the characters a-z, 0-9 and -`},
		{"cluster: 12", "1:10", `cluster: found the number 12; allowed: 1 to 32 of the characters a-z, 0-9 and -; put it in quotes to mean text`},
		{"cluster:", "1:1", `cluster: missing; required: 1 to 32`},
		{"cluster: ''", "1:1", `cluster: missing`},
		{"secret_file: secret", "5:14", `secret_file: found "secret"; allowed: an absolute path of a file`},
		{"secret_file: ${HOME}/secret", "5:14", `allowed: an absolute path of a file, such as /etc/buoy/secret or ${CREDENTIALS_DIRECTORY}/secret`},
		{"socket: buoy.sock", "5:9", `socket: found "buoy.sock"; allowed: an absolute path of at most 107 bytes`},
		{"socket: /run/" + strings.Repeat("ab/", 40), "5:9", `allowed: an absolute path of at most 107 bytes`},
		{"http: true", "5:7", `http: found true; allowed: an IP address and port such as 127.0.0.1:7401, or off; put it in quotes to mean text`},
		{"http: localhost:80", "5:7", `http: found "localhost:80"; allowed: an IP address and port`},
		{"http: 10.114.0.2:7400", "5:1", `http: 10.114.0.2:7400 is node.listen already`},
		{"priority: 0", "5:11", `priority: found the number 0; allowed: a whole number, 1..255 (255 = the owner of the address)`},
		{"priority: 256", "5:11", `priority: found the number 256; allowed: a whole number, 1..255`},
		{"priority: '100'", "5:11", `priority: found "100"; allowed: a whole number`},
		{"priority: 010", "5:11", `priority: found the number 010; allowed: a whole number`},
		{"priority: 1.5", "5:11", `priority: found the number 1.5; allowed: a whole number`},
		{"priority: 99999999999999999999", "5:11", `priority: found "99999999999999999999"; allowed: a whole number`},
		{"priority: [1]", "5:11", `priority: found a list; allowed: a whole number`},
		{"preempt: yes", "5:10", `preempt: found "yes"; allowed: true or false`},
		{"preempt_delay: 5", "5:16", `preempt_delay: found the number 5; allowed: a duration with its unit, 0s..16m40s`},
		{"preempt_delay: 1001s", "5:16", `preempt_delay: found "1001s"; allowed: a duration`},
		{"preempt_delay: -1s", "5:16", `preempt_delay: found "-1s"`},
		{"timing: fast", "5:9", `timing: found "fast"; allowed: lan, wan, or {heartbeat: , election: , lease: }`},
		{"timing: {}", "5:1", `timing.heartbeat: missing`},
		{"timing: {heartbeat: 100ms}", "5:21", `timing.heartbeat: found "100ms"; allowed: a duration with its unit, 150ms..10s (from 10ms with allow_unsafe: true)`},
		{"timing: {heartbeat: 9ms, allow_unsafe: true}", "5:21", `timing.heartbeat: found "9ms"; allowed: a duration with its unit, 10ms..10s`},
		{"timing: {heartbeat: 1s, election: 900ms}", "5:35", `timing.election: found "900ms"; allowed: a duration with its unit, 1s..10s`},
		{"timing: {heartbeat: 1s, lease: 300ms}", "5:32", `timing.lease: found "300ms"; allowed: a duration with its unit, 400ms..500ms (0.4 to 0.5 of heartbeat)`},
		{"timing: {heartbeat: 1s, lease: 600ms}", "5:32", `timing.lease: found "600ms"`},
		{"timing: {heartbeat: 1s, least: 500ms}", "5:25", `timing.least: unknown key; did you mean lease?`},
		{"log: debug", "5:6", `log: found "debug"; allowed: a mapping`},
		{"log: {level: loud}", "5:14", `log.level: found "loud"; allowed: trace, debug, info, warn, error`},
		{"log: {format: xml}", "5:15", `log.format: found "xml"; allowed: text, json`},
		// Floating IPs.
		{"floating_ips: 203.0.113.10", "3:15", `floating_ips: found "203.0.113.10"; allowed: a list`},
		{"floating_ips: []", "3:1", `floating_ips: missing`},
		{"floating_ips: [203.0.113.10/32]", "3:16", `floating_ips[0]: found "203.0.113.10/32"; allowed: an IP address such as 203.0.113.10, without prefix length`},
		{"floating_ips: [203.0.113.10, 203.0.113.10]", "3:30", `floating_ips[1]: 203.0.113.10 is given twice, first on line 3`},
		{"floating_ips: [0.0.0.0]", "3:16", `floating_ips[0]: found "0.0.0.0"`},
		{"floating_ips: [203.0.113.10, 203.0.113.11]", "3:15", `floating_ips: found 2 IPv4 and 0 IPv6 addresses; allowed with provider digitalocean: at most one of each`},
		{"floating_ips: [203.0.113.10, '2001:db8::1', '2001:db8::2']", "3:15", `floating_ips: found 1 IPv4 and 2 IPv6 addresses; allowed with provider digitalocean: at most one of each`},
		{"floating_ips: ['fe80::1%eth0']", "3:16", `floating_ips[0]: found "fe80::1%eth0"; allowed: an IP address`},
		// Node.
		{"node:", "2:1", `node.listen: missing; required: the private address`},
		{"node: {listen: 10.0.0.1, id: a_b}", "2:30", `node.id: found "a_b"; allowed: 1 to 48 letters, digits and -`},
		{"node: {listen: lb1.example.org}", "2:16", `node.listen: found "lb1.example.org"; allowed: an IP address with an optional port 1..65535`},
		{"node: {listen: '10.0.0.1:0'}", "2:16", `node.listen: found "10.0.0.1:0"`},
		{"node: {listen: 'fd00::1'}", "2:16", `node.listen: found "fd00::1"; allowed: an IP address with an optional port 1..65535, such as 10.114.0.2:7400 or "[fd00::2]:7400"`},
		{"node: {listen: 8.8.8.8}", "2:16", `node.listen: found "8.8.8.8"; allowed: a private, loopback, link-local or 100.64.0.0/10 address`},
		{"node: {listen: 10.0.0.1, advertise: 8.8.8.8}", "2:37", `node.advertise: found "8.8.8.8"; allowed: a private`},
		{"node: {listen: 0.0.0.0, advertise: 10.0.0.1}", "2:16", `allow_public_listen: true lifts this`},
		{"node: {listen: 0.0.0.0, allow_public_listen: true}", "2:1", `node.advertise: found 0.0.0.0; allowed: an address that the other members can dial`},
		{"node: {listen: 10.0.0.1, role: backup}", "2:32", `node.role: found "backup"; allowed: balancer, witness`},
		{"node: {listen: 10.0.0.1, data_dir: data}", "2:36", `node.data_dir: found "data"; allowed: an absolute path`},
		{"node: {listen: 10.0.0.1, allow_public_listen: 1}", "2:47", `node.allow_public_listen: found the number 1; allowed: true or false`},
		// Provider.
		{"provider:", "4:1", `provider: missing; required: one of digitalocean, hetzner, layer2, command`},
		{"provider: {}", "4:1", `provider: found nothing; required: one of digitalocean, hetzner, layer2, command`},
		{"provider: {digitalocan: }", "4:12", `provider.digitalocan: unknown key; did you mean digitalocean?`},
		{"provider: {digitalocean: , command: {claim: [/bin/a, '{ip}']}}", "4:1", `provider: found digitalocean and command; allowed: exactly one`},
		{"provider: {layer2: }", "4:12", `provider.layer2.interface: missing; required: the network interface that carries the addresses`},
		{"provider: {layer2: {interface: 'eth1 '}}", "4:32", `provider.layer2.interface: found "eth1 "; allowed: the name of a network interface, such as eth1`},
		{"provider: {layer2: {interface: eth1, verify_interval: 1s}}", "4:55", `provider.layer2.verify_interval: found "1s"; allowed: a duration with its unit, 5s..10m`},
		{"provider: {layer2: {interface: eth1}, command: {claim: [/bin/a, '{ip}']}}", "4:1", `provider: found layer2 and command; allowed: exactly one`},
		{"provider: {digitalocean: , hetzner: }", "4:1", `provider: found digitalocean and hetzner; allowed: exactly one`},
		{"provider: {hetzner: {server_id: lb1}}", "4:33", `provider.hetzner.server_id: found "lb1"; allowed: auto, or the server's number`},
		{"provider: {hetzner: {token: t}}", "4:22", `provider.hetzner.token: unknown key; did you mean token_file?`},
		{"provider: {digitalocean: {token_file: t}}", "4:39", `provider.digitalocean.token_file: found "t"; allowed: an absolute path`},
		{"provider: {digitalocean: {droplet_id: 0}}", "4:39", `provider.digitalocean.droplet_id: found the number 0; allowed: auto, or the droplet's number`},
		{"provider: {digitalocean: {api_url: 'ftp://x'}}", "4:36", `provider.digitalocean.api_url: found "ftp://x"; allowed: a URL such as`},
		{"provider: {digitalocean: {metadata_url: x}}", "4:41", `provider.digitalocean.metadata_url: found "x"; allowed: a URL`},
		{"provider: {digitalocean: {verify_interval: 4s}}", "4:44", `provider.digitalocean.verify_interval: found "4s"; allowed: a duration with its unit, 5s..10m`},
		{"provider: {command: {}}", "4:12", `provider.command.claim: missing; required: the command that moves the address`},
		{"provider: {command: {claim: /bin/a}}", "4:29", `provider.command.claim: found "/bin/a"; allowed: a list`},
		{"provider: {command: {claim: [a, '{ip}']}}", "4:22", `provider.command.claim: found ["a" "{ip}"]; allowed: [/absolute/path/of/the/program, argument, ...]`},
		{"provider: {command: {claim: [/bin/a, 5]}}", "4:38", `provider.command.claim[1]: found the number 5; allowed: text; put it in quotes`},
		{"provider: {command: {claim: [/bin/a, '{ip}'], holder: h}}", "4:55", `provider.command.holder: found "h"; allowed: a list`},
		{"provider: {command: {claim: [/bin/a, '{ip}'], instance: ' '}}", "4:57", `provider.command.instance: found " "`},
		{"provider: {command: {claim: [/bin/a, '{ip}'], timeout: 2m}}", "4:56", `provider.command.timeout: found "2m"; allowed: a duration with its unit, 100ms..1m`},
		{"provider: {command: {claim: [/bin/a, '{ip}'], verify_interval: 1h}}", "4:64", `provider.command.verify_interval: found "1h"`},
		// Checks.
		{"checks: haproxy", "5:9", `checks: found "haproxy"; allowed: a list`},
		{"checks: [haproxy]", "5:10", `checks[0]: found "haproxy"; allowed: a mapping`},
		{"checks:\n- {}", "6:3", `checks[0]: found none; required: exactly one of haproxy, http, tcp, process, command`},
		{"checks:\n- name: x\n  haproxy:\n  tcp: {address: 'a:1'}", "6:3", `checks[0]: found haproxy and tcp`},
		{"checks:\n- haproxy:\n- haproxy:", "7:3", `checks[1].name: "haproxy" is the name of the check on line 6 already`},
		{"checks:\n- haproxy:\n  name: 'a b'", "7:9", `checks[0].name: found "a b"; allowed: 1 to 32 letters`},
		{"checks:\n- haproxy:\n  interval: 19ms", "7:13", `checks[0].interval: found "19ms"; allowed: a duration with its unit, 20ms..1h`},
		{"checks:\n- haproxy:\n  timeout: 2m", "7:12", `checks[0].timeout: found "2m"; allowed: a duration with its unit, 10ms..1m`},
		{"checks:\n- haproxy:\n  rise: 0", "7:9", `checks[0].rise: found the number 0; allowed: a whole number, 1..100`},
		{"checks:\n- haproxy:\n  fall: 101", "7:9", `checks[0].fall: found the number 101; allowed: a whole number, 1..100`},
		{"checks:\n- haproxy:\n  weight: -254", "7:11", `checks[0].weight: found the number -254; allowed: a whole number, -253..253`},
		{"checks:\n- haproxy:\n  reverse: 1", "7:12", `checks[0].reverse: found the number 1; allowed: true or false`},
		{"checks:\n- haproxy:\n  init_fail: true", "7:3", `checks[0].init_fail: allowed only for kind command`},
		{"checks:\n- haproxy:\n  interval: 16s", "7:3", `checks[0]: fall 2 x interval 16s = 32s until a failure counts; allowed for weight 0: at most 30s`},
		{"checks:\n- haproxy:\n  inteval: 1s", "7:3", `checks[0].inteval: unknown key; did you mean interval?`},
		{"checks:\n- haproxy: {socket: ''}", "6:21", `checks[0].haproxy.socket: found ""; allowed: an absolute path`},
		{"checks:\n- haproxy: {monitor: '127.0.0.1/x'}", "6:22", `checks[0].haproxy.monitor: found "127.0.0.1/x"; allowed: a URL`},
		{"checks:\n- haproxy: {soft_weight: 1}", "6:26", `checks[0].haproxy.soft_weight: found the number 1; allowed: a whole number, -253..0`},
		{"checks:\n- http:", "6:3", `checks[0].http.url: missing; required: the URL to ask`},
		{"checks:\n- http: {url: 'http://u:p@h/'}", "6:15", `checks[0].http.url: found "http[redacted]h/"; allowed: a URL`},
		{"checks:\n- http: {url: 'http://h/', status: [99]}", "6:37", `checks[0].http.status: found the number 99; allowed: numbers 100..599`},
		{"checks:\n- http: {url: 'http://h/', status: []}", "6:28", `checks[0].http.status: found no status`},
		{"checks:\n- tcp: {address: h}", "6:18", `checks[0].tcp.address: found "h"; allowed: host:port`},
		{"checks:\n- process: {}", "6:3", `checks[0].process: missing; required: name, pidfile or both`},
		{"checks:\n- process: {name: a-name-of-16-bytes}", "6:19", `checks[0].process.name: found "a-name-of-16-bytes"; allowed: the name that`},
		{"checks:\n- process: {pidfile: x}", "6:22", `checks[0].process.pidfile: found "x"; allowed: an absolute path`},
		{"checks:\n- command:", "6:3", `checks[0].command: missing; required: [/absolute/path`},
		{"checks:\n- command: /bin/true -v", "6:12", `checks[0].command: found "/bin/true -v"; allowed: a list`},
		// Hooks and alerts.
		{"hooks: {on_master: [run, me]}", "5:9", `hooks.on_master: found ["run" "me"]; allowed: [/absolute/path`},
		{"hooks: {on_backup: run me}", "5:20", `hooks.on_backup: found "run me"; allowed: [/absolute/path`},
		{"hooks: {on_fault: \"/bin/x 'a\"}", "5:19", `hooks.on_fault: found "/bin/x 'a": it ends inside a quotation; allowed: [/absolute/path`},
		{"hooks: {on_stop: 5}", "5:18", `hooks.on_stop: found the number 5; allowed: [/absolute/path`},
		{"hooks: {notify: {a: b}}", "5:17", `hooks.notify: found a mapping; allowed: [/absolute/path`},
		{"hooks: {notify: [/bin/x, 5]}", "5:26", `hooks.notify[1]: found the number 5; allowed: text; put it in quotes`},
		{"hooks: {on_mastr: /bin/x}", "5:9", `hooks.on_mastr: unknown key; did you mean on_master?`},
		{"hooks: {timeout: 99ms}", "5:18", `hooks.timeout: found "99ms"; allowed: a duration with its unit, 100ms..5m`},
		{"hooks: [/bin/x]", "5:8", `hooks: found a list; allowed: a mapping`},
		{"alerts: ['slack://T0/B0/hush']", "5:10", `alerts[0]: the URL of a webhook is a secret: write it into a file of mode 0600, one URL a line, and put file:/etc/buoy/alerts here`},
		{"alerts: ['smtp://user:hush@host/?from=a@b.c&to=d@e.f']", "5:10", `alerts[0]: a URL with a password: write it into a file`},
		{"alerts: ['https://hooks.slack.com/services/T0/B0/hush']", "5:10", `alerts[0]: allowed: file:/absolute/path of a file of URLs, or the smtp URL`},
		{"alerts: ['file:alerts']", "5:10", `alerts[0]: found file:alerts; allowed: file:/absolute/path or file:${CREDENTIALS_DIRECTORY}/name`},
		{"alerts: ['file:${HOME}/alerts']", "5:10", `alerts[0]: found file:${HOME}/alerts; allowed`},
		{"alerts: [5]", "5:10", `alerts[0]: allowed: file:`},
		{"alerts: 'slack://T0/B0/hush'", "5:9", `alerts: found "[redacted]"; allowed: a list`},
		// Keys of later releases.
		{"bootstrap_expect: 3", "5:1", `bootstrap_expect: not supported by this release; remove it (found the number 3)`},
		{"peers: [10.0.0.2]", "5:1", `peers: not supported by this release`},
		{"tls: {cert_file: x}", "5:1", `tls: not supported by this release`},
		// YAML itself.
		{"priorty: 5", "5:1", `priorty: unknown key; did you mean priority?`},
		{"frobnicate: 5", "5:1", `frobnicate: unknown key; allowed here: cluster, node,`},
		{"token: x", "5:1", `token: unknown key`},
		{"priority: 5\npriority: 6", "6:1", `priority: given twice, first on line 5; keep one`},
		{"log: {level: info, level: warn}", "5:20", `log.level: given twice, first on line 5`},
		{"priority: &p 5", "5:11", `(anchors, aliases and tags are not supported: write the value out); allowed: a whole number`},
		{"priority: !!int 5", "5:11", `anchors, aliases and tags are not supported`},
		{"priority: {", "5:11", `not valid YAML: could not find flow mapping end token '}'`},
		{"\tpriority: 5", "5:1", `not valid YAML: found character '	' that cannot start any token`},
		{"--- \npriority: 5", "6:1", `a second YAML document`},
	} {
		t.Run(test.yaml, func(t *testing.T) { checkProblem(t, with(test.yaml), test.where, test.message) })
	}
}

// with puts lines into the minimal configuration: in the place of the same key, else at its end.
func with(yaml string) string {
	key, _, _ := strings.Cut(yaml, ":")
	lines := strings.SplitAfter(minimal, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, key+":") {
			lines[i] = yaml + "\n"
			return strings.Join(lines, "")
		}
	}
	return minimal + yaml + "\n"
}

func checkProblem(t *testing.T, text, where, message string) {
	t.Helper()
	_, err := parseText(t, text)
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v; want an *Error", err)
	}
	if len(e.Problems) != 1 {
		t.Errorf("%d problems; want one", len(e.Problems))
	}
	got := err.Error()
	if want := "buoy.yaml:" + where + ": "; !strings.HasPrefix(got, want) {
		t.Errorf("%s\nwant it to begin with %s", got, want)
	}
	message = strings.ReplaceAll(message, "\t", " ") // as printed
	if !strings.Contains(got, message) {
		t.Errorf("%s\nwant it to hold %s", got, message)
	}
	if p := e.Problems[0]; p.Line > 0 && p.Source == "" {
		t.Errorf("%s\nwant it to show line %d", got, p.Line)
	}
}

func TestAllMistakesAreReportedInTheOrderOfTheFile(t *testing.T) {
	_, err := parseText(t, "clustr: web\nnode: {listen: 10.0.0.1}\npriority: 0\nfloating_ips: [x]\n")
	want := `buoy.yaml:1:1: cluster: missing; required: 1 to 32 of the characters a-z, 0-9 and -
    1 | clustr: web
      | ^
buoy.yaml:1:1: provider: missing; required: one of digitalocean, hetzner, layer2, command
    1 | clustr: web
      | ^
buoy.yaml:1:1: clustr: unknown key; did you mean cluster?
    1 | clustr: web
      | ^
buoy.yaml:3:11: priority: found the number 0; allowed: a whole number, 1..255 (255 = the owner of the address)
    3 | priority: 0
      |           ^
buoy.yaml:4:16: floating_ips[0]: found "x"; allowed: an IP address such as 203.0.113.10, without prefix length
    4 | floating_ips: [x]
      |                ^`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestTextThatIsNoConfiguration(t *testing.T) {
	for text, want := range map[string]string{
		"":                    "buoy.yaml: is empty; cluster, node, floating_ips and provider are required",
		"# nothing\n---\n":    "buoy.yaml: is empty",
		"~":                   "buoy.yaml: is empty",
		"- a\n":               "buoy.yaml:1:1: found a list; allowed: a mapping",
		"hello":               `buoy.yaml:1:1: found "hello"; allowed: a mapping`,
		"\xff\xfec\x00":       "buoy.yaml: is not UTF-8 text",
		"a: \"\x1b[31m\x07\"": "buoy.yaml:1:1: cluster: missing",
	} {
		_, err := parseText(t, text)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v; want %s", text, err, want)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\x1b\x07") {
			t.Errorf("%q: the error carries control characters", text)
		}
	}
}

func TestHostNameThatIsNoIDIsExplained(t *testing.T) {
	env := testEnvironment("")
	env.hostname = func() (string, error) { return "", errors.New("no name") }
	_, err := parse("buoy.yaml", []byte(strings.Replace(minimal, "id: lb1, ", "", 1)), env)
	if err == nil || !strings.Contains(err.Error(), `buoy.yaml:2:1: node.id: missing, and this host's name "" cannot stand in for it`) {
		t.Error(err)
	}
}

// People paste the secret itself where its file belongs; the error must not pass it on.
func TestErrorsHoldNoSecrets(t *testing.T) {
	secrets := []string{
		"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0IQE=",
		"dop_v1_" + strings.Repeat("0123456789abcdef", 4),
		strings.Repeat("0123456789abcdef", 4),
	}
	for _, secret := range secrets {
		for _, yaml := range []string{"secret_file: ", "token: ", "priority: ", "? ", "cluster: [", secret + ": "} {
			_, err := parseText(t, with(yaml+secret))
			if err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("%s...: %v", yaml, err)
			}
		}
	}
}

// An alert's URL is a secret whatever is wrong with it.
func TestErrorsHoldNoAlertURLs(t *testing.T) {
	for _, yaml := range []string{
		"alerts: ['slack://T0/B0/hush']", "alerts: ['slak://T0/B0/hush']", "alerts: [generic+https://example.com/hush]",
		"alerts: ['smtp://u:pa/hush@h/?from=a@b.c', 'smtp://u:hush@h/']", "alerts: 'pager://hush'", "alerts: [{hush: hush}]",
		"alerts: ['https://hooks.slack.com/services/T0/B0/hush']", "alerts: [smtp://u:hush@h/", "alert: ['slack://T0/B0/hush']",
		"alerts:\n- slack://T0/B0/hush\n- >\n  slack://T0/B0/hush",
	} {
		_, err := parseText(t, with(yaml))
		if err == nil || strings.Contains(strings.ReplaceAll(err.Error(), "{hush: hush}", ""), "hush") {
			t.Errorf("%s: %v", yaml, err)
		}
	}
}

var place = regexp.MustCompile(`^buoy\.yaml(:\d+:\d+)?: \S`)

func FuzzParse(f *testing.F) {
	f.Add(minimal)
	f.Add(minimal + "checks:\n- name: a\n  haproxy: {monitor: 'http://127.0.0.1/', soft_weight: -5}\n  weight: -20\n- command: [/bin/true]\n  init_fail: true\n")
	f.Add(strings.Replace(minimal, "digitalocean: {}", "command: {claim: [/bin/a]}", 1) + "timing: {heartbeat: 1s}\npriority: 255\n")
	f.Add("a: &x [*x, <<: *x]\n? {b}\n--- |\n  c\n")
	f.Add("node: {id: \"\\x00\", listen: [\r\n!!set , ] }\nhttp: off\n\t")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseText(t, text)
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v and error %v", c, err)
		}
		if err != nil {
			if !place.MatchString(err.Error()) {
				t.Errorf("error without a place: %v", err)
			}
			return
		}
		checkInvariants(t, c)
	})
}

func checkInvariants(t *testing.T, c *Config) {
	balancer := c.Node.Role == RoleBalancer
	for rule, holds := range map[string]bool{
		"cluster":      clusterName.MatchString(c.Cluster),
		"node":         nodeID.MatchString(c.Node.ID) && c.Node.Listen.Port() > 0 && c.Node.Advertise.Port() > 0,
		"public":       c.Node.AllowPublicListen || isPrivate(c.Node.Listen.Addr()) && isPrivate(c.Node.Advertise.Addr()),
		"role":         balancer || c.Node.Role == RoleWitness,
		"priority":     c.Priority >= 1 && c.Priority <= 255,
		"timing":       c.Timing.Lease > 0 && c.Timing.Lease <= c.Timing.Heartbeat && c.Timing.Heartbeat <= c.Timing.Election,
		"floating IPs": !balancer || len(c.FloatingIPs) > 0,
		"provider":     !balancer || c.Provider.Kind() != "" && c.Provider.VerifyInterval() > 0,
		"one provider": kindsOf(c.Provider) <= 1,
		"files":        c.SecretFile != "" && c.Socket != "" && c.Node.DataDir != "",
		"digest":       c.Digest() != "",
	} {
		if !holds {
			t.Errorf("%s: %+v", rule, c)
		}
	}
	for _, check := range c.Checks {
		kinds := 0
		for _, given := range []bool{check.HAProxy != nil, check.HTTP != nil, check.TCP != nil, check.Process != nil, check.Command != nil} {
			if given {
				kinds++
			}
		}
		if kinds != 1 || check.Name == "" || check.Interval <= 0 || check.Timeout <= 0 || check.Rise < 1 || check.Fall < 1 {
			t.Errorf("check %+v", check)
		}
	}
}

func kindsOf(p Provider) int {
	n := 0
	for _, given := range []bool{p.DigitalOcean != nil, p.Hetzner != nil, p.Command != nil, p.Layer2 != nil} {
		if given {
			n++
		}
	}
	return n
}
