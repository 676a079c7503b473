package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/buoy-lb/buoy/assigner/dotest"
	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
	"github.com/buoy-lb/buoy/test/lab/wire"
)

// Balancer is one load balancer: a host, a droplet, a HAProxy and a daemon; or a witness,
// which has no HAProxy. Whatever is done to it is noted in the world's record.
type Balancer struct {
	Name     string
	Droplet  int
	Priority int
	Dir      string

	world   *World
	host    *wire.Host
	port    *wire.Port
	ip      netip.Addr
	haproxy *sandbox.Process
	daemon  *sandbox.Process
	disk    *disk
	// logs are what logging copies from: a daemon that cannot write its log by itself.
	logs    []io.Closer
	logging sync.WaitGroup

	cond      condition
	unplugged bool
	// witness: it votes and does nothing else. upgraded: its daemon is the other build.
	witness, upgraded bool
}

// AddBalancer makes a further host, with nothing running on it.
func (w *World) AddBalancer(ctx context.Context) (*Balancer, error) {
	number := len(w.Balancers) + 1
	b := &Balancer{
		Name: fmt.Sprintf("lb%d", number), Droplet: firstDroplet + number, Priority: priorityOf(number),
		world: w, ip: addressOf(number),
	}
	if w.opts.Equal {
		b.Priority = priorityOf(1)
	}
	b.cond.API = true
	if err := w.add(ctx, b); err != nil {
		return nil, err
	}
	// A program of the host's own name: keepalived finds processes by name, and all
	// hosts share one table of them.
	if err := os.Symlink(sandbox.FindHAProxy(), b.haproxyProgram()); err != nil {
		return nil, err
	}
	return b, errors.Join(b.RestoreToken(), w.system.Prepare(ctx, b))
}

// addWitness makes a host for a daemon that only votes: no HAProxy, and no token.
func (w *World) addWitness(ctx context.Context) error {
	number := len(w.Balancers) + 1
	b := &Balancer{Name: "witness", Droplet: firstDroplet + number, world: w, ip: addressOf(number), witness: true}
	return errors.Join(w.add(ctx, b), w.system.Prepare(ctx, b))
}

// add makes the host of b: a machine in the cloud, with a disk of its own.
func (w *World) add(ctx context.Context, b *Balancer) (err error) {
	b.Dir = filepath.Join(w.Dir, b.Name)
	if err := os.Mkdir(b.Dir, 0o755); err != nil {
		return err
	}
	if err := b.makeHost(); err != nil {
		return err
	}
	if b.disk, err = newDisk(ctx, filepath.Join(b.Dir, "disk")); err != nil {
		return err
	}
	w.onClose(b.disk.close)
	w.Cloud.AddDroplet(dotest.Droplet{ID: b.Droplet, Name: b.Name, Region: region, PrivateIPv4: b.ip})
	w.onClose(func() {
		b.signalDaemon(syscall.SIGKILL)
		b.daemon.Kill()
		b.killHAProxy()
		for _, l := range b.logs { // a program that the daemon has started may still hold it
			l.Close()
		}
		b.logging.Wait()
	})
	w.Balancers = append(w.Balancers, b)
	return w.introduce()
}

// priorityOf is 150 for lb1, 140 for lb2, and so on.
func priorityOf(number int) int { return 160 - 10*number }

func (b *Balancer) makeHost() (err error) {
	if b.host, err = b.world.newHost(b.Name); err != nil {
		return err
	}
	if b.port, err = b.world.Switch.Connect(b.host, "vpc"); err != nil {
		return err
	}
	return errors.Join(
		b.host.AddAddress("vpc", netip.PrefixFrom(b.ip, vpcBits)),
		// As with an anchor address: every balancer accepts the floating IP at all times,
		// and the cloud decides to which it sends.
		b.host.AddAddress("lo", netip.PrefixFrom(FloatingIP, 32)),
		b.host.Route(everywhere, router),
	)
}

// StartHAProxy starts HAProxy and returns once it serves; nothing if it runs.
func (b *Balancer) StartHAProxy(ctx context.Context) error {
	if !b.haproxy.Running() {
		if err := b.writeHAProxyConfig(); err != nil {
			return err
		}
		log, err := b.logFile("haproxy.log")
		if err != nil {
			return err
		}
		defer log.Close()
		// -W: master and worker, as Debian's unit runs it; -db: in the foreground.
		b.haproxy, err = b.start(0, log, nil, b.haproxyProgram(), "-W", "-db", "-f", b.haproxyFile())
		if err != nil {
			return err
		}
	}
	err := sandbox.Poll(ctx, "HAProxy of "+b.Name+" to serve", func(context.Context) error {
		if !b.haproxy.Running() {
			return errors.New("it has ended; see haproxy.log")
		}
		return b.dial("127.0.0.1:80")
	})
	if err != nil {
		return err
	}
	b.cond.Serving = true
	// Where nobody preempts, its return is no reason for a move.
	b.world.Note("HAProxy of "+b.Name+" serves", Cause{MayMove: b.world.outranks(b)})
	return nil
}

// dial proves that something accepts connections on this host.
func (b *Balancer) dial(address string) error {
	return b.host.Do(func() error { return dialOnce(address) })
}

// haproxyPIDs are the master and its workers.
func (b *Balancer) haproxyPIDs() []int {
	if !b.haproxy.Running() {
		return nil
	}
	master := b.haproxy.PID()
	pids := []int{master}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", master, master))
	if err != nil {
		return pids // it has just ended
	}
	for _, word := range strings.Fields(string(children)) {
		if pid, err := strconv.Atoi(word); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (b *Balancer) signalHAProxy(sig syscall.Signal) {
	for _, pid := range b.haproxyPIDs() {
		_ = syscall.Kill(pid, sig) // fails only if it has just ended
	}
}

func (b *Balancer) killHAProxy() {
	b.signalHAProxy(syscall.SIGKILL)
	b.haproxy.Kill()
}

// KillHAProxy ends all of HAProxy at once, as the kernel does when memory is short.
func (b *Balancer) KillHAProxy() {
	b.harm("HAProxy of "+b.Name+" killed", func() { b.cond.Serving = false })
	b.killHAProxy()
}

// HangHAProxy stops HAProxy in its tracks: the kernel still accepts connections for it.
func (b *Balancer) HangHAProxy() {
	b.harm("HAProxy of "+b.Name+" hung", func() { b.cond.Serving = false })
	b.signalHAProxy(syscall.SIGSTOP)
}

// ResumeHAProxy ends what HangHAProxy began.
func (b *Balancer) ResumeHAProxy() {
	b.signalHAProxy(syscall.SIGCONT)
	b.cond.Serving = b.haproxy.Running()
	b.world.Note("HAProxy of "+b.Name+" goes on", Cause{MayMove: true})
}

// StopHAProxy ends HAProxy as `systemctl stop haproxy` does.
func (b *Balancer) StopHAProxy(ctx context.Context) error {
	b.harm("HAProxy of "+b.Name+" stopped", func() { b.cond.Serving = false })
	return b.haproxy.Stop(ctx)
}

// ReloadHAProxy replaces the workers, which no client and no daemon may notice.
func (b *Balancer) ReloadHAProxy() { b.haproxy.Signal(syscall.SIGUSR2) }

// StartDaemon starts the daemon and returns once it answers; nothing if it runs.
func (b *Balancer) StartDaemon(ctx context.Context) error {
	if b.daemon.Running() {
		return nil
	}
	var err error
	if b.daemon, err = b.world.system.Start(b); err != nil {
		return err
	}
	if err := b.world.system.Answers(ctx, b); err != nil {
		return err
	}
	b.cond.Daemon = true
	b.world.Note("daemon of "+b.Name+" started", Cause{MayMove: true, Planned: true})
	return nil
}

// KillDaemon ends all of the daemon at once: the child of a keepalived whose parent alone
// is killed would say goodbye to its peers.
func (b *Balancer) KillDaemon() {
	b.harm("daemon of "+b.Name+" killed", func() { b.cond.Daemon = false })
	b.signalDaemon(syscall.SIGKILL)
	b.daemon.Kill()
}

// StopDaemon ends the daemon as `systemctl stop` does.
func (b *Balancer) StopDaemon(ctx context.Context) error {
	b.cond.Daemon = false
	b.world.Note("daemon of "+b.Name+" stopped", Cause{MayMove: true, Planned: true})
	return b.daemon.Stop(ctx)
}

// HangDaemon freezes the daemon with all its children.
func (b *Balancer) HangDaemon() {
	b.harm("daemon of "+b.Name+" hung", func() { b.cond.Daemon = false })
	b.signalDaemon(syscall.SIGSTOP)
}

// ResumeDaemon ends what HangDaemon began.
func (b *Balancer) ResumeDaemon() {
	b.signalDaemon(syscall.SIGCONT)
	b.cond.Daemon = b.daemon.Running()
	b.world.Note("daemon of "+b.Name+" goes on", Cause{MayMove: true})
}

// signalDaemon reaches the whole process group: keepalived is two processes.
func (b *Balancer) signalDaemon(sig syscall.Signal) {
	if b.daemon.Running() {
		_ = syscall.Kill(-b.daemon.PID(), sig) // fails only if it has just ended
	}
}

// Unplug pulls the network cable, Plug puts it back.
func (b *Balancer) Unplug() error {
	b.harm(b.Name+" unplugged", func() { b.unplugged = true })
	return b.port.SetCarrier(false)
}

// Plug ends what Unplug began.
func (b *Balancer) Plug() error {
	err := b.port.SetCarrier(true)
	b.unplugged = false
	b.world.Note(b.Name+" plugged in", Cause{MayMove: true})
	return err
}

// RevokeToken makes the cloud refuse this balancer's token.
func (b *Balancer) RevokeToken() {
	b.harm("token of "+b.Name+" revoked", func() { b.cond.API = false })
	b.world.Cloud.RevokeToken(b.Name)
}

// BlindToken takes from this balancer's token the right to see droplets.
func (b *Balancer) BlindToken() {
	b.world.Note("token of "+b.Name+" may not see droplets", Cause{MayMove: true})
	b.world.Cloud.AddToken(b.Name, b.token(), "reserved_ip:read", "reserved_ip:update", "actions:read")
}

// RestoreToken makes the token good again.
func (b *Balancer) RestoreToken() error {
	b.world.Cloud.AddToken(b.Name, b.token(), dotest.AssignScopes()...)
	b.cond.API = true
	return os.WriteFile(filepath.Join(b.Dir, "do-token"), []byte(b.token()+"\n"), 0o600)
}

func (b *Balancer) token() string { return "dop_v1_lab_" + b.Name }

// harm notes a fault that the address may flee from.
func (b *Balancer) harm(what string, change func()) {
	change()
	b.world.Note(what, Cause{MayMove: true})
}
