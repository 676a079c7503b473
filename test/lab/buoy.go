package lab

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
	"github.com/buoy-lb/buoy/test/lab/checker"
	"github.com/buoy-lb/buoy/test/lab/variant"
)

// verifyInterval is how often buoy looks whether the address is still its own, unless
// Options.Verify says otherwise: the least that its configuration allows.
const verifyInterval = 5 * time.Second

func (o Options) verify() time.Duration { return cmp.Or(o.Verify, verifyInterval) }

// repair is how soon buoy has to see that the address was moved away: by the hint of the
// machine that has lost it (3 s of doubt, a second to ask, the metadata's lag) or by
// its regular look, a fifth later than its interval at most; and room for a busy machine.
func (o Options) repair() time.Duration {
	const hinted, room = 5 * time.Second, 3 * time.Second
	look := o.verify() + o.verify()/5
	if o.NoHints {
		return look + room
	}
	return min(hinted, look) + room
}

// Buoy is the program of this repository, configured as the README does it.
type Buoy struct{}

// Key is "buoy".
func (Buoy) Key() string { return "buoy" }

var buoyConfig = template.Must(template.New("buoy.yaml").Parse(`cluster: lab
node:
  id: {{.ID}}
  listen: {{.Address}}
  data_dir: {{.Dir}}/disk/buoy
  role: {{if .Witness}}witness{{else}}balancer{{end}}
secret_file: {{.Dir}}/secret
socket: {{.Socket}}
http: 127.0.0.1:7401
timing: {{.Timing}}
log: {format: json}
{{- if not .Witness}}
priority: {{.Priority}}
preempt: {{.Preempt}}
floating_ips: [{{.IP}}]
provider:
  digitalocean:
    token_file: {{.Dir}}/do-token
    api_url: {{.API}}
    verify_interval: {{.Verify}}
checks:
  - haproxy:
      socket: {{.HAProxy}}
      monitor: http://127.0.0.1:80/buoy-health
{{- end}}
`))

// Prepare writes buoy.yaml and the secret.
func (Buoy) Prepare(ctx context.Context, b *Balancer) error {
	w := b.world
	if w.secret == nil {
		key, err := exec.CommandContext(ctx, w.opts.Binary, "keygen").Output()
		if err != nil {
			return fmt.Errorf("buoy keygen: %w", err)
		}
		w.secret = key
	}
	timing := w.opts.Timing
	if timing == "" {
		timing = "lan"
	}
	var text bytes.Buffer
	err := buoyConfig.Execute(&text, map[string]any{
		"ID": b.Name, "Address": b.ip, "Preempt": !w.opts.NoPreempt, "Dir": b.Dir, "Socket": b.socket(), "Priority": b.Priority,
		"Timing": timing, "IP": FloatingIP, "API": apiURL, "Verify": w.opts.verify(), "HAProxy": b.haproxySocket(),
		"Witness": b.witness,
	})
	return errors.Join(err,
		os.WriteFile(filepath.Join(b.Dir, "secret"), w.secret, 0o600),
		os.WriteFile(b.configFile(), text.Bytes(), 0o644))
}

func (b *Balancer) configFile() string { return filepath.Join(b.Dir, "daemon.conf") }
func (b *Balancer) socket() string     { return filepath.Join(b.Dir, "buoy.sock") }
func (b *Balancer) clockFile() string  { return filepath.Join(b.Dir, "clock") }

// Start runs the daemon as the unit does: ahead of what else runs there.
func (Buoy) Start(b *Balancer) (*sandbox.Process, error) {
	log, err := b.logFile("daemon.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	env := []string{"SSL_CERT_FILE=" + b.world.caFile}
	if b.world.opts.Stepped {
		// It starts at the right time of day.
		if err := variant.StepClock(b.clockFile(), 0); err != nil {
			return nil, err
		}
		env = append(env, variant.ClockVariable+"="+b.clockFile())
	}
	return b.start(-10, log, env, b.program(), "--config", b.configFile(), "run")
}

// program is the build of buoy that this balancer runs.
func (b *Balancer) program() string {
	if b.upgraded {
		return b.world.opts.Next
	}
	return b.world.opts.Binary
}

// Answers waits for the administration socket.
func (Buoy) Answers(ctx context.Context, b *Balancer) error {
	return sandbox.Poll(ctx, "the daemon of "+b.Name+" to answer", func(ctx context.Context) error {
		if !b.daemon.Running() {
			return fmt.Errorf("it has ended: %s", b.tail(3))
		}
		_, err := b.Status(ctx)
		return err
	})
}

// Status is what the daemon answers on its socket.
func (b *Balancer) Status(ctx context.Context) (api.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return api.NewLocal(b.socket()).Status(ctx)
}

// tail is the end of the daemon's log.
func (b *Balancer) tail(lines int) string {
	text, err := os.ReadFile(filepath.Join(b.Dir, "daemon.log"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Buoy runs a command of the program against this balancer's daemon.
func (b *Balancer) Buoy(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, b.world.opts.Binary, append([]string{"--config", b.configFile()}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("buoy %s on %s: %w: %s", strings.Join(args, " "), b.Name, err, bytes.TrimSpace(out))
	}
	return nil
}

// Form does what an operator does: init on the first, join on the others.
func (Buoy) Form(ctx context.Context, w *World) error {
	if err := w.Balancers[0].Buoy(ctx, "init"); err != nil {
		return err
	}
	w.acknowledge(w.Balancers[0])
	for _, b := range w.Balancers[1:] {
		if err := b.Join(ctx, w.Balancers[0]); err != nil {
			return err
		}
	}
	return nil
}

// Join makes the balancer's daemon a member through another one.
func (b *Balancer) Join(ctx context.Context, through *Balancer) error {
	if err := b.Buoy(ctx, "join", through.ip.String()); err != nil {
		return err
	}
	b.world.acknowledge(b)
	return nil
}

// acknowledge records that b has been told that it is a member.
func (w *World) acknowledge(b *Balancer) {
	w.Record.mu.Lock()
	defer w.Record.mu.Unlock()
	w.Record.acks = append(w.Record.acks, checker.Ack{At: cluster.Boottime(), Member: b.Name})
}

// AtRest asks every daemon that runs.
func (Buoy) AtRest(ctx context.Context, w *World, holder *Balancer) error {
	for _, b := range w.Balancers {
		if !b.cond.Daemon || !b.cond.Voter {
			continue
		}
		s, err := b.Status(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", b.Name, err)
		}
		if err := b.contentWith(s, holder); err != nil {
			return fmt.Errorf("%s says: %w", b.Name, err)
		}
	}
	return nil
}

// contentWith compares what the balancer's daemon says with the truth.
func (b *Balancer) contentWith(s api.Status, holder *Balancer) error {
	if s.Raft.Leader != holder.Name {
		return fmt.Errorf("leader is %q", s.Raft.Leader)
	}
	if b == holder && len(s.FloatingIPs) > 0 && s.FloatingIPs[0].State != api.IPClaimed {
		return fmt.Errorf("the address is %s", s.FloatingIPs[0].State)
	}
	for _, other := range b.world.Balancers {
		m, ok := s.Member(other.Name)
		switch {
		case !other.cond.Voter:
		case !ok:
			return fmt.Errorf("%s is not a member", other.Name)
		case other == holder && m.State != api.StateMaster:
			return fmt.Errorf("%s is %s", other.Name, m.State)
		case b == holder && m.Eligible != other.cond.fit():
			return fmt.Errorf("%s is %s: %s", other.Name, m.State, m.Reason)
		}
	}
	return nil
}

// Stranded is never so for long: whoever leads goes on looking.
func (Buoy) Stranded(*World) bool { return false }

// Logs reads the daemons' own.
func (Buoy) Logs(w *World, h *checker.History) (complaints []string) {
	for _, b := range w.Balancers {
		text, err := os.ReadFile(filepath.Join(b.Dir, "daemon.log"))
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				complaints = append(complaints, err.Error())
			}
			continue
		}
		tickets, roles, found, err := checker.ReadLog(bytes.NewReader(text), b.Name)
		if err != nil {
			found = append(found, err.Error())
		}
		for _, c := range found {
			complaints = append(complaints, b.Name+": "+c)
		}
		h.Tickets, h.Roles = append(h.Tickets, tickets...), append(h.Roles, roles...)
	}
	slices.SortFunc(h.Tickets, func(a, b checker.Ticket) int { return cmp.Compare(a.T0, b.T0) })
	slices.SortFunc(h.Roles, func(a, b checker.Role) int { return cmp.Compare(a.At, b.At) })
	return complaints
}

// Marks reads them off the new leader's word of how it came to lead.
func (Buoy) Marks(_ *World, since time.Duration, to *Balancer) (detected, elected time.Duration) {
	file, err := os.Open(filepath.Join(to.Dir, "daemon.log"))
	if err != nil {
		return 0, 0
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var l struct {
			Message string        `json:"@message"`
			At      time.Duration `json:"boottime_ns"`
			Elect   time.Duration `json:"elect"`
		}
		if json.Unmarshal(lines.Bytes(), &l) == nil && l.Message == "ready to act as leader" && l.At > since {
			return max(since, l.At-l.Elect), l.At
		}
	}
	return 0, 0
}
