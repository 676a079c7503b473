package cluster

import (
	"os"
	"runtime"
	"testing"
)

// TestMain runs the bubbles on one processor. A timer that came due in a synctest bubble
// while nobody waited for it is fired by whoever looks at it next, and two who do so at
// once share one context of the race detector, which then dies: "ThreadSanitizer: CHECK
// failed", golang/go issue #78156. Races are still found: the detector compares the order
// of accesses, not their time, and makes the scheduler pick at random.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Exit(m.Run())
}
