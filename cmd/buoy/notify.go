package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/buoy-lb/buoy/config"
	"github.com/buoy-lb/buoy/fsm"
	"github.com/buoy-lb/buoy/notify"
)

// openNotify makes what tells the world outside; it finds out now what could not be run or
// sent.
func (p *parts) openNotify() (err error) {
	h := p.cfg.Hooks
	p.hooks, err = notify.NewHooks(notify.Programs{
		OnMaster: h.OnMaster, OnBackup: h.OnBackup, OnFault: h.OnFault, OnStop: h.OnStop,
		Notify: h.Notify, Timeout: h.Timeout,
	}, p.log.Named("hook"))
	if err != nil {
		return err
	}
	p.alerts, err = notify.NewAlerts(p.cfg.Alerts, p.log.Named("alert"))
	return err
}

// tell passes on what the node says; neither blocks.
func (p *parts) tell(e fsm.Event) {
	p.hooks.Tell(e)
	p.alerts.Tell(e)
}

func (p *parts) identity() notify.Identity {
	return notify.Identity{
		Cluster: p.cfg.Cluster, Node: p.cfg.Node.ID, Instance: p.node.Status().Self.Instance, FloatingIPs: p.cfg.FloatingIPs,
	}
}

// lastEvent is the end of the daemon.
func (p *parts) lastEvent() fsm.Event {
	s := p.node.Status()
	e := fsm.Event{Kind: fsm.EventRole, State: fsm.VRRPStop, Term: s.Term, Reason: "the daemon stops", Priority: p.cfg.Priority}
	for _, m := range s.Members {
		switch m.Member.ID {
		case s.Self.ID:
			e.Priority = cmp.Or(m.Report.Priority, e.Priority)
		case s.LeaderID:
			e.Leader = m.Member.Name
		}
	}
	return e
}

// judgeAlerts says what is wrong with the URLs that the configuration itself holds.
func judgeAlerts(entries []string) error {
	for i, entry := range entries {
		if strings.HasPrefix(entry, "file:") {
			continue
		}
		if err := notify.Check(entry); err != nil {
			return &notify.Error{Key: fmt.Sprintf("alerts[%d]", i), Err: err}
		}
	}
	return nil
}

func printHooks(w io.Writer, h config.Hooks) {
	for _, hook := range []struct {
		key  string
		argv []string
	}{{"on_master", h.OnMaster}, {"on_backup", h.OnBackup}, {"on_fault", h.OnFault}, {"on_stop", h.OnStop}, {"notify", h.Notify}} {
		if len(hook.argv) > 0 {
			fmt.Fprintf(w, "  hook       %s: %q, %v at most\n", hook.key, hook.argv, h.Timeout)
		}
	}
}
