package notify

import (
	"fmt"
	"net/netip"
	"strings"
)

// Identity is who tells: what hooks and alerts say besides the event.
type Identity struct {
	Cluster string
	Node    string
	// Instance is this node's name at the provider, empty on a witness.
	Instance    string
	FloatingIPs []netip.Addr
}

// ips are the floating IPs, with a space between two.
func (id Identity) ips() string {
	var texts []string
	for _, ip := range id.FloatingIPs {
		texts = append(texts, ip.String())
	}
	return strings.Join(texts, " ")
}

// Error is what is wrong with a hook or an alert in the configuration: the daemon must not start.
// It holds no secret.
type Error struct {
	Key string // in the configuration
	Err error
}

// Error names the key first.
func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Key, e.Err) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }
