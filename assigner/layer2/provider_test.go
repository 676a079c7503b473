package layer2

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/buoy-lb/buoy/assigner"
)

// families runs a test for an IPv4 and an IPv6 address.
func families(t *testing.T, test func(t *testing.T, ip netip.Addr)) {
	t.Run("IPv4", func(t *testing.T) { test(t, ip4) })
	t.Run("IPv6", func(t *testing.T) { test(t, ip6) })
}

// logged is a logger and what it has written.
func logged() (hclog.Logger, *lines) {
	l := &lines{}
	return hclog.New(&hclog.LoggerOptions{Output: l}), l
}

func claim(t *testing.T, p *Provider, ip netip.Addr, epoch uint64) {
	t.Helper()
	if _, err := p.Claim(assigner.WithEpoch(t.Context(), epoch), ip, yes); err != nil {
		t.Fatal(err)
	}
}

func wantOwn(t *testing.T, what string, err error) {
	t.Helper()
	var e *assigner.Error
	if !errors.As(err, &e) || e.Class != assigner.Own {
		t.Errorf("%s: %v; want an own fault", what, err)
	}
}

// TestNeighboursFollow: a third host's neighbour table shows the new holder by the time that the
// claim returns, or just after, although the former one still has the address.
func TestNeighboursFollow(t *testing.T) {
	families(t, func(t *testing.T, ip netip.Addr) {
		hosts := newSegment(t, "witness", "lb1", "lb2")
		witness, nodes := hosts[0], hosts[1:]
		processes := []*process{nodes[0].start(t), nodes[1].start(t)}
		processes[0].must("claim", ip, 1)
		eventually(t, "the witness finds the holder", func() bool {
			witness.talk(t, ip)
			return witness.neighbour(t, ip) == nodes[0].mac
		})
		for round := 1; round <= 4; round++ {
			next, ordered := round%2, time.Now()
			processes[next].must("claim", ip, round+1)
			claimed := time.Now()
			eventually(t, "the witness follows", func() bool { return witness.neighbour(t, ip) == nodes[next].mac })
			t.Logf("round %d: %v after the order", round, time.Since(ordered).Round(time.Microsecond))
			if took := time.Since(claimed); took > 150*time.Millisecond { // the first renewal, after 200 ms, could mend it
				t.Errorf("round %d: the witness followed %v after the claim", round, took)
			}
			processes[1-next].must("release", ip, 0)
		}
	})
}

// TestExpires: a holder that is killed or stopped has lost the address about a second later, and
// does not take it back when it wakes.
func TestExpires(t *testing.T) {
	families(t, func(t *testing.T, ip netip.Addr) {
		for name, s := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "stopped": syscall.SIGSTOP} {
			t.Run(name, func(t *testing.T) {
				lb2 := newSegment(t, "lb1", "lb2")[1]
				events := lb2.watch(t)
				p := lb2.start(t)
				p.must("claim", ip, 1)
				eventually(t, "three renewals", func() bool { return len(events()) > 3 })
				p.signal(s)
				took := eventually(t, "the address is gone", func() bool { return !lb2.has(t, ip) })
				t.Logf("gone after %v", took.Round(time.Millisecond))
				if took < tooLate-renewEvery-100*time.Millisecond || took > 2*time.Second {
					t.Errorf("the address was gone after %v; want about a second", took)
				}
				if s == syscall.SIGKILL {
					return
				}
				before := len(events())
				p.signal(syscall.SIGCONT)
				eventually(t, "it is given up", func() bool { return contains(p.log, "it takes a new claim") })
				for _, e := range events()[before:] {
					if e.added {
						t.Errorf("after it was woken: %+v", e)
					}
				}
				p.must("claim", ip, 2)
				if !lb2.has(t, ip) {
					t.Error("a new claim does not bring it back")
				}
			})
		}
	})
}

// TestAfterAKilledHolder: its kernel answers for another second. The neighbours turn to the new
// holder at once; the claim is confirmed when nobody else answers any more, with one write.
func TestAfterAKilledHolder(t *testing.T) {
	families(t, func(t *testing.T, ip netip.Addr) {
		hosts := newSegment(t, "lb1", "lb2", "witness")
		lb1, lb2, witness := hosts[0], hosts[1], hosts[2]
		former := lb2.start(t)
		former.must("claim", ip, 1)
		eventually(t, "the witness finds the holder", func() bool {
			witness.talk(t, ip)
			return witness.neighbour(t, ip) == lb2.mac
		})
		former.signal(syscall.SIGSTOP)
		p := newProvider(t, Options{})
		if h, err := p.Holder(t.Context(), ip); err != nil || h != (assigner.Holding{Instance: lb2.mac}) {
			t.Errorf("Holder = %+v, %v; want the former one, which still answers", h, err)
		}
		begun := time.Now()
		locked := make(chan assigner.Holding, 1)
		go func() {
			eventually(t, "the witness follows", func() bool { return witness.neighbour(t, ip) == lb1.mac })
			h, _ := p.Holder(t.Context(), ip)
			locked <- h
		}()
		fence := func(context.Context) (func() error, func(), error) { return yes, func() {}, nil }
		out, err := assigner.New(p, nil).Ensure(t.Context(), assigner.Request{IP: ip, Epoch: 2, Believed: lb2.mac, Fence: fence})
		if err != nil || !out.Moved || out.Writes != 1 || out.Confirmed.IsZero() {
			t.Errorf("Ensure = %+v, %v; want one write, confirmed", out, err)
		}
		t.Logf("accepted after %v, confirmed after %v", out.Accepted.Sub(begun), out.Confirmed.Sub(begun))
		if h := <-locked; h != (assigner.Holding{Instance: lb2.mac, Locked: true}) {
			t.Errorf("Holder meanwhile = %+v; want the former one, locked", h)
		}
		if mac := witness.neighbour(t, ip); mac != lb1.mac || lb2.has(t, ip) {
			t.Errorf("in the end the witness sends to %s; the former holder has it: %v", mac, lb2.has(t, ip))
		}
	})
}

// TestAnotherCarriesItToo: what counts is the other one, so that the claim announces ours again.
func TestAnotherCarriesItToo(t *testing.T) {
	families(t, func(t *testing.T, ip netip.Addr) {
		hosts := newSegment(t, "lb1", "lb2")
		p := newProvider(t, Options{})
		claim(t, p, ip, 1)
		if h, err := p.Holder(t.Context(), ip); err != nil || h.Instance != hosts[0].mac {
			t.Errorf("Holder = %+v, %v; want this one", h, err)
		}
		hosts[1].add(t, netip.PrefixFrom(ip, ip.BitLen()).String())
		p.keeper(ip).claimed -= givingWay // long ago
		if h, err := p.Holder(t.Context(), ip); err != nil || h != (assigner.Holding{Instance: hosts[1].mac}) {
			t.Errorf("Holder = %+v, %v; want the other one", h, err)
		}
	})
}

// TestRightLostMeanwhile: a process that was stopped between the check and the system call.
func TestRightLostMeanwhile(t *testing.T) {
	hosts := newSegment(t, "lb1", "lb2")
	heard := hosts[1].hear(t, ip4, hosts[0].mac)
	p := newProvider(t, Options{})
	expired := errors.New("the ticket has expired")
	for _, held := range []bool{false, true} {
		checks := 0
		_, err := p.Claim(t.Context(), ip4, func() error {
			if checks++; checks == 2 {
				return expired
			}
			return nil
		})
		var e *assigner.Error
		if !errors.As(err, &e) || e.Class != assigner.NoRight || !errors.Is(err, expired) {
			t.Errorf("Claim: %v; want no right", err)
		}
		if hosts[0].has(t, ip4) || p.keeper(ip4) != nil {
			t.Error("the address is still there")
		}
		if !held && heard() > 0 {
			t.Error("it was announced")
		}
		claim(t, p, ip4, 1)
	}
}

func TestReleaseAndEpochs(t *testing.T) {
	families(t, func(t *testing.T, ip netip.Addr) {
		lb1 := newSegment(t, "lb1")[0]
		p := newProvider(t, Options{})
		release := func(epoch uint64) {
			t.Helper()
			ctx, cancel := context.WithCancel(assigner.WithEpoch(t.Context(), epoch))
			cancel() // leadership has ended, and its context with it
			must(t, p.Release(ctx, ip))
		}
		for _, c := range []struct {
			claimed, released uint64
			stays             bool
		}{{5, 4, true}, {5, 5, false}, {5, 6, false}, {5, 0, false}, {0, 1, false}} {
			claim(t, p, ip, c.claimed)
			k := p.keeper(ip)
			release(c.released)
			if lb1.has(t, ip) != c.stays || k.alive() != c.stays {
				t.Errorf("%+v: on the interface: %v, kept: %v", c, lb1.has(t, ip), k.alive())
			}
			release(0)
		}
		// A later epoch takes over what an earlier one has claimed.
		claim(t, p, ip, 5)
		claim(t, p, ip, 7)
		if release(6); !lb1.has(t, ip) {
			t.Error("a release of epoch 6 undoes the claim of epoch 7")
		}
	})
}

// TestLeftovers: what a former process has left is not ours, and a release removes it.
func TestLeftovers(t *testing.T) {
	families(t, func(t *testing.T, ip netip.Addr) {
		lb1 := newSegment(t, "lb1")[0]
		leave := func() { // as another process of buoy
			t.Helper()
			_, err := (&link{ifname, lb1.nl}).put(lb1.link(t).Attrs().Index, ip)
			must(t, err)
		}
		leave()
		p := newProvider(t, Options{IPs: []netip.Addr{ip}})
		if h, err := p.Holder(t.Context(), ip); err != nil || h != (assigner.Holding{}) {
			t.Errorf("Holder = %+v, %v; want nobody", h, err)
		}
		leave()
		must(t, p.Release(t.Context(), ip))
		if lb1.has(t, ip) {
			t.Error("it is still there")
		}
		must(t, p.Release(t.Context(), ip))
	})
}

// TestForeignAddressIsLeftAlone: what an operator has configured is neither used nor removed.
func TestForeignAddressIsLeftAlone(t *testing.T) {
	families(t, func(t *testing.T, ip netip.Addr) {
		for _, dev := range []string{ifname, "lo"} {
			t.Run(dev, func(t *testing.T) {
				lb1 := newSegment(t, "lb1")[0]
				p := newProvider(t, Options{})
				l, err := lb1.nl.LinkByName(dev)
				must(t, err)
				addr, err := netlink.ParseAddr(netip.PrefixFrom(ip, ip.BitLen()).String())
				must(t, err)
				must(t, lb1.nl.AddrAdd(l, addr))
				t.Cleanup(func() { _ = lb1.nl.AddrDel(l, addr) })

				_, err = New(Options{Interface: ifname, IPs: []netip.Addr{ip}})
				if err == nil || !strings.Contains(err.Error(), "is configured on "+dev) {
					t.Errorf("New: %v; want that it is on %s", err, dev)
				}
				_, err = p.Claim(t.Context(), ip, func() error { t.Error("the right is used"); return nil })
				wantOwn(t, "Claim", err)
				wantOwn(t, "SelfTest", p.SelfTest(t.Context(), ip))
				must(t, p.Release(t.Context(), ip))
				p.Close()
				if !lb1.has(t, ip) {
					t.Errorf("it is gone from %s", dev)
				}
			})
		}
	})
}

// TestRemovedBySomebody: it is put back at once, announced again, and logged once.
func TestRemovedBySomebody(t *testing.T) {
	families(t, func(t *testing.T, ip netip.Addr) {
		hosts := newSegment(t, "lb1", "lb2")
		heard := hosts[1].hear(t, ip, hosts[0].mac)
		log, text := logged()
		p := newProvider(t, Options{Logger: log})
		claim(t, p, ip, 1)
		eventually(t, "the claim is heard", func() bool { return heard() > 0 })
		for round := range 3 {
			before := heard()
			hosts[0].del(t, ip)
			took := eventually(t, "it is back and announced", func() bool { return hosts[0].has(t, ip) && heard() > before })
			if took > tooLate {
				t.Errorf("round %d: after %v", round, took)
			}
		}
		if n := strings.Count(text.String(), "somebody has removed the address"); n != 1 {
			t.Errorf("logged %d times: %s", n, text)
		}
	})
}

func TestAnnouncementsAreRepeated(t *testing.T) {
	families(t, func(t *testing.T, ip netip.Addr) {
		hosts := newSegment(t, "lb1", "lb2")
		heard := hosts[1].hear(t, ip, hosts[0].mac)
		p := newProvider(t, Options{})
		claim(t, p, ip, 1)
		each := len(announcements(ourMAC, ip))
		for n, at := range []time.Duration{0, time.Second, 2 * time.Second} {
			eventually(t, "an announcement", func() bool { return heard() >= each*(n+1) })
			if age := boottime() - p.keeper(ip).claimed; age < at {
				t.Errorf("announcement %d after %v, want %v", n, age, at)
			}
		}
	})
}

// TestUnusableInterface: down, without a carrier, or gone, the node says that it is its own fault;
// once the cable is back the address is announced again.
func TestUnusableInterface(t *testing.T) {
	families(t, func(t *testing.T, ip netip.Addr) {
		hosts := newSegment(t, "lb1", "lb2")
		lb1 := hosts[0]
		heard := hosts[1].hear(t, ip, lb1.mac)
		log, text := logged()
		p := newProvider(t, Options{Logger: log})
		faulty := func(want string) {
			t.Helper()
			if here, err := p.Hint(t.Context()); len(here) > 0 || err != nil {
				t.Errorf("Hint = %v, %v; want nothing", here, err)
			}
			_, err := p.Holder(t.Context(), ip)
			wantOwn(t, "Holder", err)
			if !strings.Contains(err.Error(), want) {
				t.Errorf("Holder: %v; want %q", err, want)
			}
			_, err = p.Claim(t.Context(), ip, yes)
			wantOwn(t, "Claim", err)
			wantOwn(t, "SelfTest", p.SelfTest(t.Context(), ip))
		}
		claim(t, p, ip, 1)
		must(t, lb1.cable(false))
		eventually(t, "it is noticed", func() bool { return contains(text, "nobody can reach") })
		faulty("no carrier")
		before := heard()
		must(t, lb1.cable(true))
		eventually(t, "it is announced again", func() bool { return heard() > before })

		lb1.down(t)
		eventually(t, "it is noticed", func() bool { return strings.Count(text.String(), "nobody can reach") == 2 })
		faulty("is down")
		before = heard()
		lb1.up(t)
		eventually(t, "it is announced again", func() bool { return heard() > before && lb1.has(t, ip) })

		must(t, lb1.nl.LinkDel(lb1.link(t)))
		eventually(t, "it is given up", func() bool { return p.keeper(ip) == nil })
		_, err := p.Self(t.Context())
		wantOwn(t, "Self", err)
		if err := p.Release(t.Context(), ip); err == nil {
			t.Error("Release is content without an interface")
		}
	})
}

func TestIPv6Off(t *testing.T) {
	lb1 := newSegment(t, "lb1")[0]
	p := newProvider(t, Options{})
	must(t, lb1.do(func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/"+ifname+"/disable_ipv6", []byte("1"), 0o644)
	}))
	wantOwn(t, "SelfTest", p.SelfTest(t.Context(), ip6))
	_, err := p.Holder(t.Context(), ip6)
	wantOwn(t, "Holder", err)
	_, err = p.Claim(t.Context(), ip6, yes)
	wantOwn(t, "Claim", err)
	must(t, p.SelfTest(t.Context(), ip4))
	claim(t, p, ip4, 1)
}

// TestOnlyForWhatComesIn: the address can be used at once, although duplicate address detection is
// on, and this machine's own connections do not come from it.
func TestOnlyForWhatComesIn(t *testing.T) {
	families(t, func(t *testing.T, ip netip.Addr) {
		hosts := newSegment(t, "lb1", "lb2")
		for _, key := range []string{"all", ifname} {
			must(t, hosts[0].do(func() error {
				return os.WriteFile("/proc/sys/net/ipv6/conf/"+key+"/accept_dad", []byte("1"), 0o644)
			}))
		}
		p := newProvider(t, Options{})
		claim(t, p, ip, 1)
		found, err := p.link.find(ip)
		must(t, err)
		if len(found) != 1 || found[0].Flags&unix.IFA_F_TENTATIVE != 0 {
			t.Errorf("the address: %+v; want one that is not tentative", found)
		}
		ours, other := "192.0.2.11", "192.0.2.12"
		if ip.Is6() {
			ours, other = "2001:db8::11", "2001:db8::12"
		}
		conn, err := net.Dial("udp", net.JoinHostPort(other, "9"))
		must(t, err)
		defer conn.Close()
		if got := conn.LocalAddr().(*net.UDPAddr).IP.String(); got != ours {
			t.Errorf("a connection of our own comes from %s, want %s", got, ours)
		}
	})
}

func TestCloseTakesTheAddressesOff(t *testing.T) {
	lb1 := newSegment(t, "lb1")[0]
	p := newProvider(t, Options{})
	claim(t, p, ip4, 1)
	claim(t, p, ip6, 1)
	held, err := p.Hint(t.Context())
	must(t, err)
	slices.SortFunc(held, netip.Addr.Compare)
	if want := []netip.Addr{ip4, ip6}; !slices.Equal(held, want) {
		t.Errorf("Hint = %v; want %v", held, want)
	}
	p.Close()
	if lb1.has(t, ip4) || lb1.has(t, ip6) {
		t.Error("they are still there")
	}
	if _, err := p.Claim(t.Context(), ip4, yes); err == nil {
		t.Error("a closed provider claims")
	}
	if err := p.Release(t.Context(), ip4); err == nil {
		t.Error("a closed provider releases")
	}
	p.Close()
}

func TestNewRefuses(t *testing.T) {
	lb1 := newSegment(t, "lb1")[0]
	for name, c := range map[string]struct {
		options Options
		prepare func()
		setup   bool // no second try helps
		text    string
	}{
		"no interface": {Options{}, nil, true, "which one"},
		"missing":      {Options{Interface: "eth9"}, nil, false, "eth9"},
		"loopback":     {Options{Interface: "lo"}, nil, true, "no Ethernet"},
		"down":         {Options{Interface: ifname}, func() { lb1.down(t) }, false, "ip link set eth1 up"},
	} {
		if c.prepare != nil {
			c.prepare()
		}
		_, err := New(c.options)
		var s *SetupError
		if err == nil || errors.As(err, &s) != c.setup || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v; want %q, hopeless: %v", name, err, c.text, c.setup)
		}
	}
}

// TestCapabilities: an unprivileged user needs the two, and no more.
func TestCapabilities(t *testing.T) {
	lb2 := newSegment(t, "lb1", "lb2")[1]
	as := func(caps ...uintptr) *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: caps}
	}
	for _, c := range []struct {
		caps    []uintptr
		missing string
	}{
		{nil, "this process lacks CAP_NET_ADMIN and CAP_NET_RAW:"},
		{[]uintptr{unix.CAP_NET_RAW}, "this process lacks CAP_NET_ADMIN:"},
		{[]uintptr{unix.CAP_NET_ADMIN}, "this process lacks CAP_NET_RAW:"},
	} {
		p := lb2.startAs(t, as(c.caps...))
		if !p.out.Scan() || !strings.Contains(p.out.Text(), c.missing) {
			t.Errorf("%v: %q %s; want %q", c.caps, p.out.Text(), p.log, c.missing)
		}
	}
	p := lb2.startAs(t, as(unix.CAP_NET_ADMIN, unix.CAP_NET_RAW))
	for _, ip := range []netip.Addr{ip4, ip6} {
		p.must("claim", ip, 1)
		if got := p.order("holder", ip); !strings.Contains(got, lb2.mac) {
			t.Errorf("holder: %s", got)
		}
		p.must("release", ip, 0)
	}
}

// TestRenewalsGoOnUnderLoad: a holder that gets little of the processors is not one that has died.
func TestRenewalsGoOnUnderLoad(t *testing.T) {
	hosts := newSegment(t, "lb1", "lb2")
	load, nice := 2*time.Second, "-10"                                           // as in buoy.service
	if d, err := time.ParseDuration(os.Getenv("BUOY_LAYER2_LOAD")); err == nil { // to measure
		load, nice = d, os.Getenv(niceVar)
	}
	p := hosts[1].start(t, niceVar+"="+nice)
	for range 2 * runtime.NumCPU() {
		(&host{name: "spin", ns: hosts[0].ns}).start(t)
	}
	events := hosts[1].watch(t)
	p.must("claim", ip4, 1)
	begun := time.Now()
	eventuallyWithin(t, load+patience, "the time is over", func() bool { return time.Since(begun) > load })
	all := events()
	var longest time.Duration
	for i, e := range all {
		if !e.added {
			t.Errorf("the address was lost %v after the claim", e.at.Sub(begun))
		}
		if i > 0 {
			longest = max(longest, e.at.Sub(all[i-1].at))
		}
	}
	t.Logf("nice %s: %d renewals in %v, the longest pause %v; %s", nice, len(all), load, longest.Round(time.Millisecond), p.log)
	if want := int(load / tooLate); len(all) < want {
		t.Errorf("%d renewals in %v, want at least %d", len(all), load, want)
	}
}

// TestAllAtOnce is for the race detector.
func TestAllAtOnce(t *testing.T) {
	lb1 := newSegment(t, "lb1")[0]
	p := newProvider(t, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			ip := []netip.Addr{ip4, ip6}[i%2]
			for epoch := uint64(1); ctx.Err() == nil; epoch++ {
				_, _ = p.Claim(assigner.WithEpoch(ctx, epoch), ip, yes)
				_, _ = p.Holder(ctx, ip)
				_, _ = p.Hint(ctx)
				_ = p.Release(assigner.WithEpoch(ctx, epoch), ip)
			}
		})
	}
	wg.Wait()
	p.Close()
	if lb1.has(t, ip4) || lb1.has(t, ip6) {
		t.Error("an address is left")
	}
}
