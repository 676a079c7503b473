package cluster

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// clockSlack is how far the two clocks may drift apart between two readings before a
// ticket is void: more than scheduling noise, far less than any suspend.
const clockSlack = 20 * time.Millisecond

// Boottime reads CLOCK_BOOTTIME: nanoseconds since boot, counting time spent
// suspended, which Go's monotonic clock does not.
func Boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Linux has had this clock since 2.6.39: without it no ticket can be judged.
		panic(fmt.Sprintf("CLOCK_BOOTTIME: %v", err))
	}
	return time.Duration(ts.Nano())
}

// reading is one look at both clocks. Wall clocks decide nothing here.
type reading struct {
	mono time.Time
	boot time.Duration
}

// since returns how long ago r was read, by whichever clock says longer, and whether
// the two agree. They disagree after the machine was suspended.
func (r reading) since(now reading) (elapsed time.Duration, agree bool) {
	mono, boot := now.mono.Sub(r.mono), now.boot-r.boot
	diff := boot - mono
	return max(mono, boot), diff < clockSlack && diff > -clockSlack
}
