package variant

import (
	_ "embed" // the added files
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ClockVariable names the file in the environment of a SteppedClock daemon.
const ClockVariable = "BUOY_LAB_CLOCK"

// clockSize is that of an int64, nanoseconds in the machine's order of bytes.
const clockSize = 8

//go:embed clock/time.go.txt
var clockTime string

//go:embed clock/main.go.txt
var clockMain string

// SteppedClock is the product with a wall clock that StepClock steps, through the file
// that the environment variable BUOY_LAB_CLOCK names (libfaketime does not reach Go). Every
// time.Now sees the step: logs, certificates, raft. Its monotonic reading, timers and
// CLOCK_BOOTTIME do not. The file must exist before the daemon starts.
func SteppedClock() Variant {
	return Variant{
		Name:   "stepped-clock",
		Breaks: "nothing: what the clock on the wall says must not matter",
		Scene:  "StepClock by ±1 h and ±10 y, on one node and on all, at rest and in the middle of a failover",
		Edits: []Edit{{
			File: "GOROOT/src/time/time.go",
			Old:  "sec, nsec, mono := runtimeNow()",
			New:  "sec, nsec, mono := labNow()",
		}},
		Add: map[string]string{"GOROOT/src/time/lab.go": clockTime, "cmd/buoy/lab_clock.go": clockMain},
	}
}

// StepClock sets how far the wall clocks of the daemons that have mapped file are off,
// and makes the file if need be. A running daemon sees the change at once, and whole: the
// store is atomic, which a write of 8 bytes need not be.
func StepClock(file string, offset time.Duration) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("step the clock: %w", err)
	}
	defer f.Close()
	if err := store(f, int64(offset)); err != nil {
		return fmt.Errorf("step the clock: %s: %w", file, err)
	}
	return nil
}

func store(f *os.File, value int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	switch info.Size() {
	case clockSize:
	case 0:
		if err := f.Truncate(clockSize); err != nil {
			return err
		}
	default:
		return fmt.Errorf("has %d bytes, so it is no clock", info.Size())
	}
	page, err := unix.Mmap(int(f.Fd()), 0, clockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	atomic.StoreInt64((*int64)(unsafe.Pointer(&page[0])), value)
	return unix.Munmap(page)
}
