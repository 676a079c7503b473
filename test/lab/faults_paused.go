package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/buoy-lb/buoy/test/lab/wire"
)

// usualPauses are around what matters: a lease (150 ms), an election's timers (300 ms), a
// ticket (750 ms), and long enough for others to have done all.
var usualPauses = []time.Duration{
	100 * time.Millisecond, 300 * time.Millisecond, 700 * time.Millisecond, 800 * time.Millisecond,
	1500 * time.Millisecond, 5 * time.Second,
}

// longestPauses bounds what the pauses of one fault may take together.
const longestPauses = 4 * time.Minute

func pausedFaults() []Fault {
	return []Fault{{
		Key: "paused", Title: "claimant's daemon frozen (SIGSTOP) in the middle of a claim, 18 times, for 0.1 to 5 s",
		Touches: []string{Alone}, Hold: time.Second, Long: longestPauses + 2*restBound,
		Begin: func(ctx context.Context, s *Scene) error {
			pauses := s.opts.Pauses
			if pauses == nil {
				pauses = usualPauses
			}
			for _, d := range pauses {
				if err := errors.Join(s.pauseFailover(ctx, d), s.pauseRepair(ctx, d), s.pauseWrite(ctx, d)); err != nil {
					return fmt.Errorf("paused for %v: %w", d, err)
				}
			}
			return nil
		},
	}}
}

// pauseFailover freezes the next balancer while it takes over from one whose HAProxy died.
func (s *Scene) pauseFailover(ctx context.Context, d time.Duration) error {
	holder, claimant := s.Holder(), s.next()
	if holder == nil || claimant == nil {
		return errors.New("nobody to take over from, or to do it")
	}
	holder.KillHAProxy()
	if err := s.freeze(ctx, claimant, d); err != nil {
		return err
	}
	return errors.Join(s.awaitFit(ctx), holder.StartHAProxy(ctx), s.AwaitRest(ctx))
}

// pauseRepair freezes the holder while it takes the address back from a stranger.
func (s *Scene) pauseRepair(ctx context.Context, d time.Duration) error {
	holder := s.Holder()
	if holder == nil {
		return errors.New("nobody holds the address")
	}
	log, err := holder.followLog()
	if err != nil {
		return err
	}
	defer log.Close()
	if err := s.steal(); err != nil {
		return err
	}
	noticed, cancel := context.WithTimeout(ctx, restBound)
	defer cancel()
	for !log.said("drift found") {
		if now := s.Holder(); now != nil {
			return s.AwaitRest(ctx) // another has led meanwhile, on a busy machine
		}
		// What comes after it is over in a few ms.
		if err := pause(noticed, time.Millisecond); err != nil {
			return fmt.Errorf("nobody notices the drift: %w", err)
		}
	}
	if err := s.freeze(ctx, holder, d); err != nil {
		return err
	}
	return errors.Join(s.awaitFit(ctx), s.AwaitRest(ctx))
}

// pauseWrite freezes the next balancer between its ticket and the bytes of its request:
// the one moment in which a ticket that is checked but once would do harm. It is over in
// a fraction of a ms, unless a connection has to be made first, to a cloud far away.
func (s *Scene) pauseWrite(ctx context.Context, d time.Duration) error {
	holder, claimant := s.Holder(), s.next()
	if holder == nil || claimant == nil {
		return errors.New("nobody to take over from, or to do it")
	}
	log, err := claimant.followLog()
	if err != nil {
		return err
	}
	defer log.Close()
	s.Note("the cloud is far away", Cause{Rough: true})
	s.dropConnections()
	if err := pause(ctx, 100*time.Millisecond); err != nil { // that goes fast, still
		return err
	}
	for _, b := range s.Balancers {
		s.Switch.SpoilBoth(b.Name, s.cloudHost.Name, wire.Line{Delay: farAway})
	}
	holder.KillHAProxy()
	if err := log.await(ctx, "ticket granted"); err != nil {
		return err
	}
	// The cloud's last word before the request comes while the daemon is frozen, so that it
	// would go on with the request at once.
	if err := pause(ctx, 3*farAway+time.Duration(s.chance.Int64N(int64(farAway)))); err != nil {
		return err
	}
	claimant.HangDaemon()
	err = pause(ctx, d)
	claimant.ResumeDaemon()
	s.Switch.Heal()
	s.Smooth("the cloud is near", Cause{MayMove: true})
	return errors.Join(err, s.awaitFit(ctx), holder.StartHAProxy(ctx), s.AwaitRest(ctx))
}

// farAway is how long a frame takes to the cloud or back in pauseWrite: a connection and
// its handshake take four times that.
const farAway = 60 * time.Millisecond

// freeze stops a daemon for d at a random moment of the claim that begins now. The square
// makes early moments likelier: until the request is sent is the smaller part, and the one
// in which a pause can do harm.
func (s *Scene) freeze(ctx context.Context, b *Balancer, d time.Duration) error {
	at := s.chance.Float64()
	claim := 100*time.Millisecond + s.opts.Assign
	if err := pause(ctx, time.Duration(at*at*float64(claim))); err != nil {
		return err
	}
	b.HangDaemon()
	err := pause(ctx, d)
	b.ResumeDaemon()
	return err
}

// logFollower reads what is added to a daemon's log.
type logFollower struct {
	file *os.File
	seen []byte // the end of what was read, in case a line comes in two parts
	buf  [1 << 12]byte
}

// followLog begins at the log's end. The caller closes it.
func (b *Balancer) followLog() (*logFollower, error) {
	file, err := os.Open(filepath.Join(b.Dir, "daemon.log"))
	if err != nil {
		return nil, err
	}
	_, err = file.Seek(0, io.SeekEnd)
	return &logFollower{file: file}, err
}

func (f *logFollower) Close() { f.file.Close() }

// await waits until the log says text.
func (f *logFollower) await(ctx context.Context, text string) error {
	ctx, cancel := context.WithTimeout(ctx, restBound)
	defer cancel()
	for !f.said(text) {
		if err := pause(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("%s never says %q: %w", f.file.Name(), text, err)
		}
	}
	return nil
}

// said reads on, and reports whether text was among it.
func (f *logFollower) said(text string) bool {
	for {
		n, _ := f.file.Read(f.buf[:]) // nothing at the end
		if n == 0 {
			return false
		}
		f.seen = append(f.seen, f.buf[:n]...)
		if bytes.Contains(f.seen, []byte(text)) {
			return true
		}
		f.seen = f.seen[max(0, len(f.seen)-len(text)):]
	}
}
