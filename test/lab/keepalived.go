package lab

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
	"time"

	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
	"github.com/buoy-lb/buoy/test/lab/checker"
)

// Keepalived is Debian's keepalived with notify_master calling a program that asks the
// cloud once and never again, as the set-ups that buoy replaces do.
type Keepalived struct {
	// ID is the system's key, and its name in a report.
	ID string
	// Version is VRRP's, 2 or 3; Advert the interval of adverts in seconds.
	Version int
	Advert  string
	// Pidof: HAProxy is watched by `pidof` every 2 s; else by track_process.
	Pidof bool
	// Highest is the priority of lb1; each further balancer has 1 less. 0: as buoy's.
	Highest int
}

// The three set-ups of keepalived that buoy is measured beside.
var (
	// Usual is what people run.
	Usual = Keepalived{ID: "usual", Version: 2, Advert: "1", Pidof: true}
	// Tuned is what a careful operator makes of it.
	Tuned = Keepalived{ID: "tuned", Version: 3, Advert: "0.1"}
	// Floor is the least that it can be set to: what the wire and the kernel cost.
	Floor = Keepalived{ID: "floor", Version: 3, Advert: "0.01", Highest: 254}
)

// Key is the system's short name.
func (k Keepalived) Key() string { return k.ID }

// keepalivedConfig: net_namespace, not `ip netns exec`, because the kernel tells of the
// end of processes (track_process) in the first network namespace only. keepalived 2.2
// insists on a virtual address; the floating IP is the cloud's, so it gets another one.
var keepalivedConfig = template.Must(template.New("keepalived.conf").Parse(`net_namespace {{.Host}}
global_defs {
  router_id {{.Host}}
  vrrp_version {{.K.Version}}
  script_user root
  enable_script_security
}
{{if .K.Pidof -}}
vrrp_script chk_haproxy {
  script "{{.Dir}}/chk_haproxy"
  interval 2
}
{{else -}}
vrrp_track_process chk_haproxy {
  process {{.Process}}
}
{{end -}}
vrrp_instance VI_1 {
  interface vpc
  state BACKUP
  virtual_router_id 33
  priority {{.Priority}}
  advert_int {{.K.Advert}}
  unicast_src_ip {{.IP}}
  unicast_peer {
{{range .Peers}}    {{.}}
{{end}}  }
  virtual_ipaddress {
    10.114.0.100/24
  }
  {{if .K.Pidof}}track_script{{else}}track_process{{end}} {
    chk_haproxy
  }
  notify_master "{{.Dir}}/notify_master"
}
`))

// Prepare writes keepalived.conf and its scripts. It is written again when a balancer
// is added, since it lists the others.
func (k Keepalived) Prepare(_ context.Context, b *Balancer) error {
	scripts := map[string]string{
		// A wrapper: keepalived 2.2 resolves /bin/pidof to killall5, which it links to.
		"chk_haproxy":   "#!/bin/sh\nexec pidof " + filepath.Base(b.haproxyProgram()) + "\n",
		"notify_master": fmt.Sprintf("#!/bin/sh\nexec %s %s %s %s %d\n", b.world.opts.AssignIP, b.world.caFile, filepath.Join(b.Dir, "do-token"), FloatingIP, b.Droplet),
	}
	for name, text := range scripts {
		if err := os.WriteFile(filepath.Join(b.Dir, name), []byte(text), 0o755); err != nil {
			return err
		}
	}
	for _, member := range b.world.Balancers {
		if err := k.write(member); err != nil {
			return err
		}
	}
	return nil
}

func (k Keepalived) write(b *Balancer) error {
	var peers []string
	for _, other := range b.world.Balancers {
		if other != b {
			peers = append(peers, other.ip.String())
		}
	}
	priority := b.Priority
	if k.Highest != 0 {
		priority = k.Highest - (priorityOf(1)-b.Priority)/10
	}
	var text bytes.Buffer
	err := keepalivedConfig.Execute(&text, map[string]any{
		"K": k, "Host": b.Name, "Dir": b.Dir, "Process": filepath.Base(b.haproxyProgram()),
		"Priority": priority, "IP": b.ip, "Peers": peers,
	})
	return errors.Join(err, os.WriteFile(b.configFile(), text.Bytes(), 0o644))
}

// Start runs the daemon. Its log gets the time of each line, which its own lacks below
// the second.
func (k Keepalived) Start(b *Balancer) (*sandbox.Process, error) {
	log, err := b.logFile("daemon.log")
	if err != nil {
		return nil, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	// Of one that was killed the numbers may be left, and its processes until init reaps
	// them: it would take itself for running.
	pids := []string{filepath.Join(b.Dir, "ka.pid"), filepath.Join(b.Dir, "vrrp.pid")}
	for _, file := range pids {
		_ = os.Remove(file) // mostly there is none
	}
	// On no host: net_namespace takes it there.
	p, err := startOn(nil, 0, write, nil, "keepalived", "-n", "-l", "-D", "-P", "-f", b.configFile(), "-p", pids[0], "-r", pids[1])
	write.Close() // the child has its own
	if err != nil {
		return nil, errors.Join(err, read.Close(), log.Close())
	}
	b.logs = append(b.logs, read)
	b.logging.Go(func() {
		defer log.Close()
		defer read.Close()
		for lines := bufio.NewScanner(read); lines.Scan(); {
			fmt.Fprintf(log, "%d %s\n", cluster.Boottime(), lines.Text())
		}
	})
	return p, nil
}

// line is one line of a keepalived's log.
type line struct {
	at   time.Duration
	text string
}

func (b *Balancer) keepalivedLog() (out []line) {
	text, _ := os.ReadFile(filepath.Join(b.Dir, "daemon.log")) // none yet: no line
	for l := range strings.Lines(string(text)) {
		var at time.Duration
		stamp, rest, _ := strings.Cut(strings.TrimSpace(l), " ")
		if _, err := fmt.Sscan(stamp, (*int64)(&at)); err == nil {
			out = append(out, line{at, rest})
		}
	}
	return out
}

var stateLine = regexp.MustCompile(`Entering (MASTER|BACKUP|FAULT) STATE`)

// state is what the balancer's instance last said that it is.
func (b *Balancer) state() string {
	log := b.keepalivedLog()
	for i := len(log) - 1; i >= 0; i-- {
		if m := stateLine.FindStringSubmatch(log[i].text); m != nil {
			return m[1]
		}
		if strings.Contains(log[i].text, "Starting VRRP child process") {
			break
		}
	}
	return ""
}

// Answers waits until the instance has a state.
func (k Keepalived) Answers(ctx context.Context, b *Balancer) error {
	return sandbox.Poll(ctx, "keepalived of "+b.Name, func(context.Context) error {
		if !b.daemon.Running() {
			return fmt.Errorf("it has ended: %s", b.tail(3))
		}
		if b.state() == "" {
			return errors.New("no state yet")
		}
		return nil
	})
}

// Form does nothing: VRRP needs no joining.
func (Keepalived) Form(context.Context, *World) error { return nil }

// AtRest wants one master, and that the others know their place.
func (k Keepalived) AtRest(_ context.Context, w *World, holder *Balancer) error {
	for _, b := range w.Balancers {
		want := "BACKUP"
		switch {
		case b == holder:
			want = "MASTER"
		case !b.cond.Daemon:
			continue
		case !b.cond.Serving:
			want = "FAULT"
		}
		if got := b.state(); got != want {
			return fmt.Errorf("%s is %q, not %s; its log ends with: %s", b.Name, got, want, b.tail(2))
		}
	}
	return nil
}

// Stranded compares what the daemons say with where the address is: a master asks the
// cloud when it becomes one, and not again.
func (k Keepalived) Stranded(w *World) bool {
	best := w.best()
	return best != nil && best != w.Holder() && k.AtRest(context.Background(), w, best) == nil
}

// Logs adds nothing: keepalived has no tickets.
func (Keepalived) Logs(*World, *checker.History) []string { return nil }

// noticed are the lines in which keepalived says that something is wrong.
var noticed = regexp.MustCompile(`Quorum lost|Script .* now returning|returned 1|Entering FAULT|timed? ?out|Receive advertisement timeout|received .*priority 0|Backup received priority 0`)

// Marks looks at every host's log: whoever speaks first has noticed.
func (k Keepalived) Marks(w *World, since time.Duration, to *Balancer) (detected, elected time.Duration) {
	for _, b := range w.Balancers {
		for _, l := range b.keepalivedLog() {
			if l.at <= since {
				continue
			}
			if noticed.MatchString(l.text) && (detected == 0 || l.at < detected) {
				detected = l.at
			}
			if b == to && elected == 0 && strings.Contains(l.text, "Entering MASTER STATE") {
				elected = l.at
			}
		}
	}
	return detected, elected
}
