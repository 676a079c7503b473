package main

import (
	"context"
	"time"

	"github.com/buoy-lb/buoy/config"
	"github.com/buoy-lb/buoy/fsm"
	"github.com/buoy-lb/buoy/healthcheck"
)

// healthRefresh is how often the words of the checks are brought up to date where their
// verdict stays the same.
const healthRefresh = time.Second

// specsOf makes the configured checks.
func specsOf(checks []config.Check) []healthcheck.Spec {
	specs := make([]healthcheck.Spec, 0, len(checks))
	for _, c := range checks {
		specs = append(specs, healthcheck.Spec{
			Name: c.Name, Interval: c.Interval, Timeout: c.Timeout, Rise: c.Rise, Fall: c.Fall,
			Weight: c.Weight, Reverse: c.Reverse, InitFail: c.InitFail, Checker: checkerOf(c),
		})
	}
	return specs
}

// checkerOf makes the one kind of check that c is; config has made sure that it is one.
func checkerOf(c config.Check) healthcheck.Checker {
	switch {
	case c.HAProxy != nil:
		return healthcheck.NewHAProxy(c.HAProxy.Socket, c.HAProxy.Monitor, c.HAProxy.SoftWeight)
	case c.HTTP != nil:
		return healthcheck.HTTP{URL: c.HTTP.URL, Status: c.HTTP.Status}
	case c.TCP != nil:
		return healthcheck.TCP{Address: c.TCP.Address}
	case c.Process != nil:
		return healthcheck.NewProcess(c.Process.Name, c.Process.PIDFile)
	default:
		return healthcheck.NewCommand(c.Command.Command)
	}
}

// passOnHealth tells set of every change of the verdict until ctx ends.
func passOnHealth(ctx context.Context, m *healthcheck.Monitor, set func([]fsm.Check, time.Duration)) {
	tick := time.NewTicker(healthRefresh)
	defer tick.Stop()
	for {
		set(checksOf(m.Verdict()))
		select {
		case <-ctx.Done():
			return
		case <-m.Changes():
		case <-tick.C:
		}
	}
}

// checksOf is the verdict in the cluster's words, and how long its newest change took to
// notice.
func checksOf(v healthcheck.Verdict) (checks []fsm.Check, detect time.Duration) {
	var newest time.Time
	for _, s := range v.Checks {
		checks = append(checks, fsm.Check{
			Name: s.Name, Known: s.Known, OK: s.OK, Fault: s.Fault, Warn: s.Warn, Weight: s.Weight, Output: s.Output, Since: s.Since,
		})
		if s.Since.After(newest) {
			newest, detect = s.Since, s.Detect
		}
	}
	return checks, detect
}
