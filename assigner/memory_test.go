package assigner_test

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/assignertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ip = netip.MustParseAddr("203.0.113.10")

func TestMemoryConforms(t *testing.T) {
	t.Run("at once", func(t *testing.T) { assignertest.Run(t, memoryCloud(0)) })
	t.Run("asynchronous", func(t *testing.T) { assignertest.Run(t, memoryCloud(70*time.Millisecond)) })
}

func memoryCloud(latency time.Duration) func(*testing.T) *assignertest.Cloud {
	return func(*testing.T) *assignertest.Cloud {
		var fault assignertest.Fault
		cloud := &assigner.Memory{Latency: latency}
		cloud.Fail = func(op, _ string) error {
			class, affected := assigner.Shared, op != "self" && op != "reply"
			switch fault {
			case assignertest.None:
				return nil
			case assignertest.Refused:
				class = assigner.Own
			case assignertest.LostReply:
				affected = op == "reply"
			default:
			}
			if affected {
				return assigner.Errorf(class, "fault %d", fault)
			}
			return nil
		}
		return &assignertest.Cloud{
			Provider:  cloud.As("lb1"),
			IP:        ip,
			Self:      "lb1",
			Other:     "lb2",
			SetHolder: func(instance string) { cloud.Assign(ip, instance) },
			Holder:    func() string { return cloud.Holder(ip) },
			Writes:    cloud.Writes,
			SetLocked: func(locked bool) {
				if locked {
					cloud.Lock(ip, time.Hour)
				} else {
					cloud.Lock(ip, 0)
				}
			},
			Fail: func(f assignertest.Fault) bool {
				fault = f
				return f != assignertest.Hang
			},
		}
	}
}

// TestMemoryTakesItsTime checks the asynchronous side: locked and where it was, until it is due.
func TestMemoryTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := &assigner.Memory{Latency: 10 * time.Second}
		lb1 := cloud.As("lb1")
		may := func() error { return nil }
		if _, err := lb1.Claim(t.Context(), ip, may); err != nil {
			t.Fatal(err)
		}
		var e *assigner.Error
		if _, err := cloud.As("lb2").Claim(t.Context(), ip, may); !errors.As(err, &e) || e.Class != assigner.Pending {
			t.Errorf("a second claim meanwhile: %v; want pending", err)
		}
		time.Sleep(9999 * time.Millisecond)
		if h, _ := lb1.Holder(t.Context(), ip); h != (assigner.Holding{Locked: true}) {
			t.Errorf("just before: %+v", h)
		}
		time.Sleep(time.Millisecond)
		if h, _ := lb1.Holder(t.Context(), ip); h != (assigner.Holding{Instance: "lb1"}) {
			t.Errorf("when due: %+v", h)
		}
	})
}
