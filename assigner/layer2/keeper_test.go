package layer2

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestEndWaits: after a release nothing may put the address back, not even a renewal that is on its
// way to the kernel.
func TestEndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{quit: make(chan struct{}), done: make(chan struct{})}
		ended := make(chan struct{})
		go func() { defer close(ended); k.end() }()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("end has not waited")
		default:
		}
		if !k.alive() {
			t.Error("not alive although it runs")
		}
		close(k.done) // as run does when it returns
		<-ended
		if k.alive() {
			t.Error("alive although it has ended")
		}
	})
}

func TestScheduleOfAnnouncements(t *testing.T) {
	k := &keeper{arrived: 100 * time.Second}
	for _, want := range []int{0, 1, 2, 5, 65, 125, 185} {
		if got := int((k.due() - k.arrived) / time.Second); got != want {
			t.Errorf("announcement %d at %d s, want %d", k.sent, got, want)
		}
		k.sent++
	}
}
