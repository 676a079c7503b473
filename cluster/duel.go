package cluster

import "time"

const (
	// An address that was moved away is claimed back at once duelFree times within
	// duelQuiet. Then somebody else means it: a person, or a second cluster.
	duelFree  = 3
	duelQuiet = 5 * time.Minute
	// Each further claim waits, duelPause at first, twice as long each time.
	duelPause = 2 * time.Second
	duelMost  = time.Minute
)

// duel is the quarrel over one address with somebody else who writes to the cloud. It is
// forgotten when nobody has moved the address for duelQuiet.
type duel struct {
	repaired [duelFree]time.Time // the last claims back, oldest first
	times    int                 // claims back since the quarrel began
	pauses   int
	until    time.Time // not to be claimed back before
}

// repair notes that the address has been claimed back.
func (d *duel) repair(now time.Time) {
	if !d.quietAt().After(now) {
		*d = duel{}
	}
	d.repaired = [duelFree]time.Time{d.repaired[1], d.repaired[2], now}
	d.times++
}

// quietAt is when the quarrel is forgotten.
func (d *duel) quietAt() time.Time {
	if d.repaired[duelFree-1].IsZero() {
		return time.Time{}
	}
	return d.repaired[duelFree-1].Add(duelQuiet)
}

// on says that the address is not to be claimed back at once.
func (d *duel) on(now time.Time) bool {
	first, last := d.repaired[0], d.repaired[duelFree-1]
	begun := d.pauses > 0 || !first.IsZero() && last.Sub(first) <= duelQuiet
	return begun && d.quietAt().After(now)
}

// lost notes that the address has been found elsewhere again, and returns how long it is
// to be left there.
func (d *duel) lost(now time.Time) time.Duration {
	if !d.on(now) {
		return 0
	}
	pause := min(duelPause<<min(d.pauses, 10), duelMost)
	d.pauses++
	d.until = now.Add(pause)
	return pause
}

// claimAfter is until when the address may only be looked at; zero if it may be claimed.
// While it is here that is the end of the quarrel: a look finds out, and a pause follows.
func (d *duel) claimAfter(now time.Time, held bool) time.Time {
	switch {
	case !d.on(now):
		return time.Time{}
	case held:
		return d.quietAt()
	}
	return d.until
}
