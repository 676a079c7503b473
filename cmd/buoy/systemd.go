package main

import (
	"context"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"
)

// The service manager is told where it asked to be (Type=notify, WatchdogSec=); without
// it all of this does nothing.

func sdNotify(state string, log hclog.Logger) {
	if _, err := sd.SdNotify(false, state); err != nil {
		log.Warn("service manager not notified", "state", state, "error", err)
	}
}

// feedWatchdog tells the service manager, as often as it wants, that the daemon's loop
// turns over; when it does not, it says nothing and the service manager restarts us.
func feedWatchdog(ctx context.Context, alive func() bool, log hclog.Logger) {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("service manager's watchdog not understood", "error", err)
	}
	if err != nil || interval == 0 {
		return
	}
	tick := time.NewTicker(interval / 3)
	defer tick.Stop()
	fed := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if ok := alive(); ok {
			sdNotify(sd.SdNotifyWatchdog, log)
			fed = true
		} else if fed {
			log.Error("the loop does not turn over: the service manager will restart this daemon", "within", interval)
			fed = false
		}
	}
}
