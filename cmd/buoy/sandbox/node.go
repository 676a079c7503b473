package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/assigner/dotest"
)

// firstDroplet is added to a node's number to give its droplet's ID; strangerDroplet
// is a machine outside of the cluster.
const (
	firstDroplet    = 100
	strangerDroplet = 199
)

// Node is one load balancer: a droplet with a HAProxy and a buoy daemon. It keeps its
// addresses and its files when its processes end.
type Node struct {
	// Name is lb1, lb2 and so on; Droplet the ID in the cloud.
	Name    string
	Droplet int
	// Dir holds the node's configuration, keys, data and logs.
	Dir string
	// Address is the members' port, Public the read-only HTTP listener.
	Address string
	Public  string
	// Settings are what WriteConfig last wrote.
	Settings Settings

	world    *World
	web      string // HAProxy's frontend
	metadata *dotest.Endpoint
	local    *api.Local

	haproxy *Process
	daemon  *Process
}

// Settings are the configuration keys that differ between the steps of a test.
type Settings struct {
	Priority  int
	NoPreempt bool
}

// AddNode makes a further node, down so far: its droplet, token, secret and
// configuration.
func (w *World) AddNode(ctx context.Context, priority int) (*Node, error) {
	number := len(w.nodes) + 1
	if number > maxNodes {
		return nil, fmt.Errorf("no more than %d nodes", maxNodes)
	}
	host := w.net.host(number)
	n := &Node{
		Name:    fmt.Sprintf("lb%d", number),
		Droplet: firstDroplet + number,
		Address: fmt.Sprintf("%s:%d", host, w.memberPort),
		Public:  fmt.Sprintf("%s:%d", host, w.publicPort),
		world:   w,
		web:     fmt.Sprintf("%s:%d", host, w.webPort),
	}
	n.Dir = filepath.Join(w.Dir, n.Name)
	n.local = api.NewLocal(n.Socket())
	w.Cloud.AddDroplet(dotest.Droplet{ID: n.Droplet, Name: n.Name, Region: region})
	w.Cloud.AddToken(n.Name, n.token(), dotest.AssignScopes()...)
	var err error
	if n.metadata, err = w.Cloud.StartMetadata(n.Droplet, w.net.host(cloudHost)+":0"); err != nil {
		return nil, err
	}
	if err := n.writeFiles(ctx, Settings{Priority: priority}); err != nil {
		return nil, err
	}
	w.onClose(func() {
		n.daemon.Kill()
		n.haproxy.Kill()
	})
	w.nodes = append(w.nodes, n)
	return n, nil
}

// token is the node's own: one token can be revoked without the others.
func (n *Node) token() string { return "dop_v1_sandbox_" + n.Name }

// RevokeToken makes the cloud refuse the node's token; RestoreToken ends that.
func (n *Node) RevokeToken() { n.world.Cloud.RevokeToken(n.Name) }

// RestoreToken makes the node's token good again.
func (n *Node) RestoreToken() { n.world.Cloud.AddToken(n.Name, n.token(), dotest.AssignScopes()...) }

func (n *Node) writeFiles(ctx context.Context, s Settings) error {
	if err := os.Mkdir(n.Dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(n.Dir, "do-token"), []byte(n.token()+"\n"), 0o600); err != nil {
		return err
	}
	secret, err := n.world.secret(ctx)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(n.Dir, "secret"), secret, 0o600); err != nil {
		return err
	}
	return n.WriteConfig(s)
}

// secret returns the cluster's, made by `buoy keygen` for the first node.
func (w *World) secret(ctx context.Context) ([]byte, error) {
	if w.key != nil {
		return w.key, nil
	}
	key, err := exec.CommandContext(ctx, w.opts.Binary, "keygen").Output()
	if err != nil {
		return nil, fmt.Errorf("run %s keygen: %w", w.opts.Binary, err)
	}
	w.key = key
	return key, nil
}

var configTemplate = template.Must(template.New("buoy.yaml").Parse(`cluster: sandbox
node:
  id: {{.Name}}
  listen: {{.Address}}
  data_dir: {{.Dir}}/data
secret_file: {{.Dir}}/secret
socket: {{.Socket}}
http: {{.Public}}

priority: {{.Settings.Priority}}
preempt: {{not .Settings.NoPreempt}}

floating_ips: [{{.IP}}]
provider:
  digitalocean:
    token_file: {{.Dir}}/do-token
    api_url: {{.API}}
    metadata_url: {{.Metadata}}
    verify_interval: {{.Verify}}

checks:
  - name: haproxy
    haproxy:
      socket: {{.HAProxySocket}}
      monitor: {{.Monitor}}
log: {level: info, format: {{.LogFormat}}}
`))

// WriteConfig writes the node's configuration, which the daemon's next start reads.
func (n *Node) WriteConfig(s Settings) error {
	n.Settings = s
	var text bytes.Buffer
	err := configTemplate.Execute(&text, struct {
		*Node
		IP, API, Metadata, HAProxySocket, Monitor, LogFormat, Verify string
	}{
		Node: n, IP: Address.String(), API: n.world.api.URL, Metadata: n.metadata.URL,
		HAProxySocket: n.haproxySocket(), Monitor: "http://" + n.web + "/buoy-health",
		LogFormat: n.world.opts.LogFormat, Verify: VerifyInterval.String(),
	})
	if err != nil {
		return err
	}
	return os.WriteFile(n.ConfigFile(), text.Bytes(), 0o600)
}

// ConfigFile is what WriteConfig writes.
func (n *Node) ConfigFile() string { return filepath.Join(n.Dir, "buoy.yaml") }

// Socket is the daemon's administration socket.
func (n *Node) Socket() string { return filepath.Join(n.Dir, "buoy.sock") }

// LogFile is what the daemon wrote since the node was made, over all its starts.
func (n *Node) LogFile() string { return filepath.Join(n.Dir, "buoy.log") }

// StartDaemon starts `buoy run` and returns once it answers on its socket. It does
// nothing when it is running.
func (n *Node) StartDaemon(ctx context.Context) (err error) {
	if n.daemon.Running() {
		return nil
	}
	n.daemon, err = startProcess(n.LogFile(), n.world.opts.Binary, "--config", n.ConfigFile(), "run")
	if err != nil {
		return err
	}
	return Poll(ctx, "the daemon of "+n.Name+" to answer", func(ctx context.Context) error {
		if !n.daemon.Running() {
			return errStop{fmt.Errorf("it ended: %s", n.Tail(3))}
		}
		_, err := n.Status(ctx)
		return err
	})
}

// KillDaemon ends the daemon at once, as `kill -9` does.
func (n *Node) KillDaemon() { n.daemon.Kill() }

// StopDaemon ends the daemon as `systemctl stop buoy` does, within ctx.
func (n *Node) StopDaemon(ctx context.Context) error { return n.daemon.Stop(ctx) }

// SignalStop begins what StopDaemon does and does not wait.
func (n *Node) SignalStop() { n.daemon.Signal(syscall.SIGTERM) }

// Running says whether the daemon's process exists, PID which one it is or was.
func (n *Node) Running() bool { return n.daemon.Running() }

// PID is the process ID of the daemon's last start.
func (n *Node) PID() int { return n.daemon.PID() }

// Status is what the daemon answers on its socket: the leader's view if there is one.
func (n *Node) Status(ctx context.Context) (api.Status, error) { return n.local.Status(ctx) }

// Buoy runs a command of the program against this node's daemon and returns its
// standard output. The error holds what it wrote to standard error.
func (n *Node) Buoy(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, n.world.opts.Binary, append([]string{"--config", n.ConfigFile()}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("buoy %s on %s: %w: %s", strings.Join(args, " "), n.Name, err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// Tail returns the last lines of the daemon's log, "" if it has never run.
func (n *Node) Tail(lines int) string {
	text, err := os.ReadFile(n.LogFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
