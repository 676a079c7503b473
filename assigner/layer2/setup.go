package layer2

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// SetupError is something about the configuration, the interface or the rights of this process that
// does not change while it runs; trying again is useless.
type SetupError struct{ Err error }

// Error says what is wrong.
func (e *SetupError) Error() string { return "provider layer2: " + e.Err.Error() }

// Unwrap returns what is wrong.
func (e *SetupError) Unwrap() error { return e.Err }

// capable proves that this process may change addresses and speak ARP. The error is a *SetupError
// that names what is missing.
func capable() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("read the capabilities of this process: %w", err)
	}
	var missing []string
	for _, c := range []struct {
		number int
		name   string
	}{{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_NET_RAW, "CAP_NET_RAW"}} {
		if sets[0].Effective&(1<<c.number) == 0 {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		names := strings.Join(missing, " and ")
		return &SetupError{fmt.Errorf("this process lacks %s: under systemd, AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW and the same CapabilityBoundingSet= (examples/buoy.service.d/layer2.conf)", names)}
	}
	return nil
}
