package layer2

import (
	"net/netip"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

const (
	// renewEvery leaves four failed or late renewals before the address expires.
	renewEvery = 200 * time.Millisecond
	// tooLate is the age of the last renewal at which the address is given up. The kernel's count
	// is 20 ms fast (HZ/50), so what is gone before that did not expire.
	tooLate = lifetime - 100*time.Millisecond
	// announceEvery repeats the announcement while the address is held.
	announceEvery = time.Minute
	// sameTrouble is how often what keeps happening is logged.
	sameTrouble = time.Minute
)

// earlyAnnouncements are when the first are made after the address came here: frames get lost, a
// switch may just be learning, and a former holder's kernel may answer for another second.
var earlyAnnouncements = []time.Duration{0, time.Second, 2 * time.Second, 5 * time.Second}

// keeper keeps one address alive and announced, from its claim until end, or until it has slept for
// so long that the address may be somebody else's.
type keeper struct {
	ip    netip.Addr
	epoch uint64
	link  *link
	send  *sender
	log   hclog.Logger

	claimed time.Duration // boot time
	quit    chan struct{} // closed by end
	done    chan struct{} // closed when run has returned

	// Of run alone:
	renewed  time.Duration // boot time before the last renewal that worked
	arrived  time.Duration // boot time of what the announcements are about
	sent     int           // announcements since then
	cut      bool          // the interface was not usable at the last look
	readded  time.Time     // when it was last logged that somebody had removed the address
	troubled time.Time     // when it was last logged that a renewal or an announcement failed
}

// keep takes charge of an address that was put on at the boot time put, and announces it.
func (p *Provider) keep(ip netip.Addr, epoch uint64, put time.Duration) *keeper {
	k := &keeper{
		ip: ip, epoch: epoch, link: p.link, send: p.send, log: p.log,
		claimed: put, renewed: put, arrived: put,
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	k.announce() // before the claim returns, not whenever a goroutine gets to run
	go k.run()
	return k
}

// end stops the renewals and waits until nothing can put the address on any more. It is still on
// the interface then.
func (k *keeper) end() {
	close(k.quit)
	<-k.done
}

// alive reports whether the address is being kept.
func (k *keeper) alive() bool {
	select {
	case <-k.done:
		return false
	default:
		return true
	}
}

func (k *keeper) run() {
	defer close(k.done)
	renewal := time.NewTicker(renewEvery)
	defer renewal.Stop()
	for {
		select {
		case <-k.quit:
			return
		case <-renewal.C:
			if !k.renew() {
				k.giveUp()
				return
			}
		}
	}
}

// renew is one round: another lifetime, and an announcement if one is due. False means that the
// last renewal was too long ago: this process was stopped or starved, the address has expired or is
// about to, and somebody else may have claimed it. Putting it back would need a new right.
func (k *keeper) renew() bool {
	if k.age() > tooLate {
		return false
	}
	now := boottime()
	added, err := k.prolong()
	if k.age() > tooLate {
		return false // stopped in between: what was put back just now goes again
	}
	if err != nil {
		k.complain("the address is not renewed", err)
		return true
	}
	k.renewed = now
	if added {
		k.arrive(now)
		if time.Since(k.readded) > sameTrouble {
			k.log.Warn("somebody has removed the address: put back", "ip", k.ip, "interface", k.link.name)
			k.readded = time.Now()
		}
	}
	if now >= k.due() {
		k.announce()
	}
	return true
}

// prolong gives the address another lifetime, with or without a carrier.
func (k *keeper) prolong() (added bool, err error) {
	a, err := k.link.attrs()
	if err != nil {
		k.look(err)
		return false, err
	}
	k.look(fault(a))
	return k.link.put(a.Index, k.ip)
}

// look notices a cable that was out and is back, or an interface that was down: the neighbours and
// the switches are told anew. Moving the address away meanwhile is not decided here: Hint is a
// reason to look, and Holder says what is wrong.
func (k *keeper) look(err error) {
	switch {
	case err != nil && !k.cut:
		k.log.Warn("holding an address that nobody can reach", "ip", k.ip, "error", err)
	case err == nil && k.cut:
		k.log.Info("the interface is usable again", "ip", k.ip, "interface", k.link.name)
		k.arrive(boottime())
	}
	k.cut = err != nil
}

// arrive begins a new series of announcements.
func (k *keeper) arrive(now time.Duration) { k.arrived, k.sent = now, 0 }

// due is the boot time of the next announcement.
func (k *keeper) due() time.Duration {
	if k.sent < len(earlyAnnouncements) {
		return k.arrived + earlyAnnouncements[k.sent]
	}
	last := len(earlyAnnouncements) - 1
	return k.arrived + earlyAnnouncements[last] + time.Duration(k.sent-last)*announceEvery
}

func (k *keeper) announce() {
	a, err := k.link.usable()
	if err == nil {
		err = k.send.announce(a.Index, a.HardwareAddr, k.ip)
	}
	if err != nil {
		k.complain("the address is not announced", err)
	}
	k.sent++
}

// giveUp takes the address off, should it still be there.
func (k *keeper) giveUp() {
	age := k.age()
	if _, err := k.link.takeOff(k.ip); err != nil {
		k.complain("the address expires by itself", err)
	}
	k.log.Warn("the address could not be renewed in time and is given up: it takes a new claim",
		"ip", k.ip, "interface", k.link.name, "renewed", age.Round(time.Millisecond).String()+" ago")
}

// age is how long ago the address was last given another lifetime.
func (k *keeper) age() time.Duration { return boottime() - k.renewed }

func (k *keeper) complain(what string, err error) {
	if k.cut || time.Since(k.troubled) < sameTrouble {
		return // said already
	}
	k.log.Warn(what, "ip", k.ip, "interface", k.link.name, "error", err)
	k.troubled = time.Now()
}

// boottime is a clock that also counts while the machine is suspended.
func boottime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // fails for an unknown clock only
	return time.Duration(ts.Nano())
}
