package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// pollInterval is how often the world is looked at while something is awaited.
const pollInterval = 10 * time.Millisecond

// errStop marks an error that waiting cannot mend.
type errStop struct{ error }

func (e errStop) Unwrap() error { return e.error }

// Poll calls look until it returns nil, an errStop, or ctx ends. The error names what
// was awaited and what was seen last.
func Poll(ctx context.Context, what string, look func(context.Context) error) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := look(ctx)
		if err == nil {
			return nil
		}
		var stop errStop
		if errors.As(err, &stop) {
			return fmt.Errorf("wait for %s: %w", what, stop.error)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; last seen: %w", what, context.Cause(ctx), err)
		}
	}
}
