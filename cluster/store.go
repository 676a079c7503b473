package cluster

import (
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/fsm"
)

// sightings notes when this node's disk last took something of another node's that
// time must be counted from. It is written by raft's goroutines and read by the loop.
type sightings struct {
	self string

	mu sync.Mutex
	// ticket is when the newest foreign ticket was stored: process start for one
	// found on disk, install time for one in a snapshot. It never goes back, not even
	// when the entry is truncated away.
	ticket time.Time
	// life is the longest life of the foreign tickets stored since process start.
	life time.Duration
	// handover is when the newest announcement of a hand-over to this node was stored.
	handover time.Time
}

func newSightings(self string, now time.Time) *sightings {
	return &sightings{self: self, ticket: now}
}

func (s *sightings) note(c fsm.Command, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case c.Ticket != nil && c.Ticket.Node != s.self:
		s.ticket, s.life = now, max(s.life, c.Ticket.Life)
	case c.Handover != nil && c.Handover.To == s.self:
		s.handover = now
	}
}

// restored notes that a snapshot has replaced the log.
func (s *sightings) restored(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ticket = now
}

func (s *sightings) foreignTicket() (at time.Time, life time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ticket, s.life
}

func (s *sightings) handoverAt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handover
}

// logStore is the outermost LogStore: it notes what the log takes in, once it is on
// disk. Storing comes before voting and before applying, which is why a successor's
// wait counted from here covers every right that its predecessor had.
type logStore struct {
	raft.LogStore
	seen *sightings
}

func (s *logStore) StoreLog(l *raft.Log) error {
	return s.StoreLogs([]*raft.Log{l})
}

func (s *logStore) StoreLogs(logs []*raft.Log) error {
	if err := s.LogStore.StoreLogs(logs); err != nil {
		return err
	}
	now := time.Now()
	for _, l := range logs {
		if l.Type != raft.LogCommand {
			continue
		}
		// What this version cannot read it cannot grant a right by either.
		if c, err := fsm.DecodeCommand(l.Data); err == nil {
			s.seen.note(c, now)
		}
	}
	return nil
}
