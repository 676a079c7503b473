package lab

import (
	"context"
	"sync"
	"time"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/test/lab/checker"
)

// Watch samples every running daemon's status until ctx ends or the world is closed.
func (w *World) Watch(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	for _, b := range w.Balancers {
		watching.Go(func() { b.watch(ctx) })
	}
	w.onClose(func() {
		stop()
		watching.Wait()
	})
}

const sampleEvery = 500 * time.Millisecond

func (b *Balancer) watch(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		s, err := b.Status(ctx)
		if err != nil {
			continue // it does not run, or does not answer: the truth says which
		}
		sample := sampleOf(s)
		if b.world.opts.Stepped {
			sample.Moved = 0 // by a wall clock that may go back
		}
		b.world.Record.sample(sample)
	}
}

func sampleOf(s api.Status) checker.Sample {
	out := checker.Sample{
		At: cluster.Boottime(), Node: s.Self, Leader: s.Raft.Leader, Term: s.Raft.Term, Voters: s.Raft.Voters,
		Leads: s.Raft.State == "Leader" && s.Raft.Leader == s.Self,
	}
	for _, m := range s.Members {
		out.Members = append(out.Members, m.ID)
	}
	if s.LastTransition != nil {
		out.Moved = s.LastTransition.At.UnixNano()
	}
	return out
}
