package fsm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// snapshotVersion rises when an older version could not make sense of a snapshot.
const snapshotVersion = 1

// MaxSnapshot is the largest snapshot that Restore reads, in bytes. A real one has some
// ten kilobytes.
const MaxSnapshot = 64 << 20

// FSM is the raft.FSM: State, and the Commands that change it. Safe for concurrent use.
type FSM struct {
	mu    sync.RWMutex
	state State
}

var _ raft.FSM = (*FSM)(nil)

// New returns the FSM of a node that has joined nothing yet.
func New() *FSM {
	f := &FSM{}
	f.state.fill()
	return f
}

// State returns a deep copy of what is replicated.
func (f *FSM) State() State {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.state.clone()
}

// Apply changes State by one committed entry and returns an Applied. An entry that this
// version cannot read is skipped with a warning: a newer member may have written it.
func (f *FSM) Apply(l *raft.Log) any {
	c, err := DecodeCommand(l.Data)
	if err != nil {
		return warn("entry %d skipped: %v", l.Index, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state.apply(c, l.Term)
}

// snapshot is State on disk and on its way to a follower: {"v":1,"state":{...}}.
type snapshot struct {
	V     int    `json:"v"`
	State *State `json:"state"`
}

// Snapshot returns a copy of State that Persist can write while Apply goes on.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) {
	s := f.State()
	return snapshot{snapshotVersion, &s}, nil
}

// Persist writes the snapshot to sink, or cancels it.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if err := json.NewEncoder(sink).Encode(s); err != nil {
		return errors.Join(fmt.Errorf("write snapshot: %w", err), sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("close snapshot: %w", err)
	}
	return nil
}

// Release has nothing to free.
func (s snapshot) Release() {}

// Restore replaces State by a snapshot. On an error State is as before; a snapshot of a
// newer version is one. The caller, raft, closes in.
func (f *FSM) Restore(in io.ReadCloser) error {
	s, err := decodeSnapshot(in)
	if err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state = s
	return nil
}

func decodeSnapshot(in io.Reader) (State, error) {
	b, err := io.ReadAll(io.LimitReader(in, MaxSnapshot+1))
	if err != nil {
		return State{}, err
	}
	if len(b) > MaxSnapshot {
		return State{}, fmt.Errorf("more than %d bytes", MaxSnapshot)
	}
	var head struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return State{}, err
	}
	if head.V != snapshotVersion {
		return State{}, fmt.Errorf("version %d, this release reads %d: install the release that wrote it, or a newer one", head.V, snapshotVersion)
	}
	var s snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		return State{}, err
	}
	if s.State == nil {
		return State{}, errors.New("no state in it")
	}
	s.State.fill()
	return *s.State, nil
}
