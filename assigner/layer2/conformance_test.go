package layer2

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/assignertest"
)

// counted counts the claims that had a right to write.
type counted struct {
	*Provider
	writes atomic.Int64
}

func (c *counted) Claim(ctx context.Context, ip netip.Addr, check func() error) (string, error) {
	granted := false
	defer func() {
		if granted {
			c.writes.Add(1)
		}
	}()
	return c.Provider.Claim(ctx, ip, func() error {
		err := check()
		granted = err == nil
		return err
	})
}

// TestConforms: the cloud is a segment with this process and another machine. The other one is no
// buoy: it gives the address up when it sees on the wire that somebody else has announced it.
func TestConforms(t *testing.T) {
	families(t, func(t *testing.T, ip netip.Addr) {
		assignertest.Run(t, func(t *testing.T) *assignertest.Cloud {
			hosts := newSegment(t, "lb1", "lb2")
			lb1, lb2 := hosts[0], hosts[1]
			p := &counted{Provider: newProvider(t, Options{})}
			lb2.listen(t, ip, func(mac string) {
				if mac == lb1.mac {
					lb2.del(t, ip)
				}
			})
			return &assignertest.Cloud{
				Provider: p,
				IP:       ip,
				Self:     lb1.mac,
				Other:    lb2.mac,
				SetHolder: func(instance string) {
					lb2.del(t, ip)
					must(t, p.Release(t.Context(), ip))
					switch instance {
					case lb1.mac:
						_, err := p.Provider.Claim(t.Context(), ip, yes)
						must(t, err)
					case lb2.mac:
						lb2.add(t, netip.PrefixFrom(ip, ip.BitLen()).String())
					}
				},
				Holder: func() string {
					for _, h := range hosts {
						if h.has(t, ip) {
							return h.mac
						}
					}
					return ""
				},
				Writes: func() int { return int(p.writes.Load()) },
				Fail: func(f assignertest.Fault) bool {
					switch f {
					case assignertest.None:
						lb1.up(t)
						lb1.waitUsable(t)
					case assignertest.Refused: // this node alone cannot
						lb1.down(t)
					default: // nobody is asked, so nobody can answer wrongly
						return false
					}
					return true
				},
			}
		})
	})
}

func newProvider(t *testing.T, o Options) *Provider {
	t.Helper()
	o.Interface = ifname
	p, err := New(o)
	must(t, err)
	t.Cleanup(p.Close)
	return p
}

func yes() error { return nil }

var _ assigner.Provider = (*counted)(nil)
