package lab

import (
	"context"
	"time"

	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
	"github.com/buoy-lb/buoy/test/lab/checker"
)

// System is what keeps the address on a healthy balancer: buoy, or keepalived set up in
// one of several ways.
type System interface {
	// Key is a short name: buoy, usual, tuned or floor.
	Key() string
	// Prepare writes a new balancer's configuration.
	Prepare(ctx context.Context, b *Balancer) error
	// Start starts the daemon.
	Start(b *Balancer) (*sandbox.Process, error)
	// Answers returns once the daemon that Start has started works.
	Answers(ctx context.Context, b *Balancer) error
	// Form makes one cluster of all the daemons, if that takes anything.
	Form(ctx context.Context, w *World) error
	// AtRest says what is still to be done before every daemon knows that holder has the
	// address and is content with it.
	AtRest(ctx context.Context, w *World, holder *Balancer) error
	// Stranded says that nothing more will come of itself: the daemons are content, and
	// the address is elsewhere.
	Stranded(w *World) bool
	// Logs adds to h what the daemons' logs say, and returns signs of crashes in them.
	Logs(w *World, h *checker.History) (complaints []string)
	// Marks finds in the logs when a fault at since was noticed and when to was elected;
	// 0 means unknown.
	Marks(w *World, since time.Duration, to *Balancer) (detected, elected time.Duration)
}
