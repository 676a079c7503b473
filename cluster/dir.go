package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

const (
	dirFormat    = 1
	identityFile = "identity.json"
	databaseFile = "raft.db"
	lockFile     = "lock"
	snapshotsDir = "snapshots" // raft's choice
	// boltLockTimeout bounds the wait for bbolt's own file lock.
	boltLockTimeout = time.Second
	snapshotsKept   = 2
)

// identity is written last, once everything else in the data directory is complete: a
// directory without it has never been used.
type identity struct {
	Format   int       `json:"format"`
	Cluster  string    `json:"cluster"`
	Name     string    `json:"name"`
	ServerID string    `json:"server_id"`
	Created  time.Time `json:"created"`
}

// Dir is a node's data directory, locked against a second daemon. It holds the raft
// log, the votes, the snapshots and the ServerID that was made with it.
type Dir struct {
	identity
	logs      raft.LogStore
	stable    raft.StableStore
	snapshots raft.SnapshotStore
	close     func() error
}

// ServerID is the node's raft.ServerID: its name plus a random suffix made with the
// directory, so that a wiped disk never votes under its old identity.
func (d *Dir) ServerID() string { return d.identity.ServerID }

// Close unlocks the directory. It must come after Node.Run has returned.
func (d *Dir) Close() error { return d.close() }

// OpenDir opens the data directory at path, or makes it, for the node called name in
// the cluster called clusterName. It refuses a directory that another daemon uses, that
// belongs to another node or cluster, or that a newer version wrote.
func OpenDir(path, clusterName, name string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := lockDir(path)
	if err != nil {
		return nil, err
	}
	d, err := openLocked(path, clusterName, name)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	closeStores := d.close
	d.close = func() error { return errors.Join(closeStores(), lock.Close()) }
	return d, nil
}

// lockDir takes an advisory lock that ends with the process, however it ends.
func lockDir(path string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(path, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("data directory %s is in use by another buoy daemon; give each its own data_dir", path)
	}
	return f, nil
}

func openLocked(path, clusterName, name string) (*Dir, error) {
	id, err := readIdentity(path, clusterName, name)
	if err != nil {
		return nil, err
	}
	if id.ServerID != "" {
		if _, err := os.Stat(filepath.Join(path, databaseFile)); errors.Is(err, fs.ErrNotExist) {
			// A new one would forget the votes that were given under this ServerID.
			return nil, fmt.Errorf("data directory %s has lost its %s: restore that file, or move the directory away and join anew under another node.id", path, databaseFile)
		}
	}
	store, err := openBolt(filepath.Join(path, databaseFile))
	if err != nil {
		return nil, err
	}
	snapshots, err := openSnapshots(path)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	if id.ServerID == "" {
		if err := refuseOrphan(path, store, snapshots); err != nil {
			return nil, errors.Join(err, store.Close())
		}
		id = newIdentity(clusterName, name)
		if err := writeIdentity(path, id); err != nil {
			return nil, errors.Join(err, store.Close())
		}
	}
	return &Dir{identity: id, logs: store, stable: store, snapshots: snapshots, close: store.Close}, nil
}

// openSnapshots keeps the snapshots from other users, which raft's store does not when
// the data directory itself is open to them.
func openSnapshots(path string) (raft.SnapshotStore, error) {
	store, err := raft.NewFileSnapshotStoreWithLogger(path, snapshotsKept, hclog.NewNullLogger())
	if err != nil {
		return nil, fmt.Errorf("snapshots in %s: %w", path, err)
	}
	if err := os.Chmod(filepath.Join(path, snapshotsDir), 0o700); err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	return store, nil
}

// refuseOrphan keeps a directory that lost its identity from voting under a new one.
func refuseOrphan(path string, store *raftboltdb.BoltStore, snapshots raft.SnapshotStore) error {
	used, err := raft.HasExistingState(store, store, snapshots)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if used {
		return fmt.Errorf("data directory %s has raft state but no %s: restore that file, or move the directory away and join anew under another node.id", path, identityFile)
	}
	return nil
}

// openBolt opens the database. A new one is made under a temporary name and renamed
// when its first write is on disk: a full disk at the first open leaves a file that
// bbolt cannot survive (it dies of SIGBUS at every later open).
func openBolt(path string) (*raftboltdb.BoltStore, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := createBolt(path); err != nil {
			return nil, fmt.Errorf("create %s: %w", path, err)
		}
	}
	store, err := raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{Timeout: boltLockTimeout}})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return store, nil
}

func createBolt(path string) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	store, err := raftboltdb.New(raftboltdb.Options{Path: tmp, BoltOptions: &bbolt.Options{Timeout: boltLockTimeout}})
	if err != nil {
		return err
	}
	// Any first write will do; this key is ours, raft does not know it.
	if err := store.SetUint64([]byte("buoy-format"), dirFormat); err != nil {
		return errors.Join(err, store.Close())
	}
	if err := store.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func newIdentity(clusterName, name string) identity {
	var suffix [4]byte
	_, _ = rand.Read(suffix[:]) // crypto/rand.Read never fails since Go 1.24
	return identity{
		Format: dirFormat, Cluster: clusterName, Name: name,
		ServerID: name + "-" + hex.EncodeToString(suffix[:]), Created: time.Now().UTC(),
	}
}

// readIdentity returns a zero identity for a directory that was never used.
func readIdentity(path, clusterName, name string) (identity, error) {
	file := filepath.Join(path, identityFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return identity{}, nil
	}
	if err != nil {
		return identity{}, fmt.Errorf("data directory: %w", err)
	}
	var id identity
	err = json.Unmarshal(data, &id)
	switch {
	case err != nil, id.Format <= dirFormat && id.ServerID == "":
		return identity{}, fmt.Errorf("%s is damaged: restore it, or move %s away and join anew under another node.id", file, path)
	case id.Format > dirFormat:
		return identity{}, fmt.Errorf("data directory %s was written by a newer buoy (format %d, this one knows %d): install that version", path, id.Format, dirFormat)
	case id.Cluster != clusterName:
		return identity{}, fmt.Errorf("data directory %s belongs to cluster %q, the configuration says %q: use another data_dir or mend the configuration", path, id.Cluster, clusterName)
	case id.Name != name:
		return identity{}, fmt.Errorf("data directory %s belongs to node %q, the configuration says %q: use another data_dir or mend node.id", path, id.Name, name)
	}
	return id, nil
}

func writeIdentity(path string, id identity) error {
	data, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	file := filepath.Join(path, identityFile)
	if err := writeSynced(file+".new", append(data, '\n')); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return syncDir(path)
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// syncDir makes a rename in path survive a power cut.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// MemoryDir is a data directory in memory, for tests: what it holds outlives the Node
// that uses it, as a disk outlives a daemon.
func MemoryDir(clusterName, name string) *Dir {
	store := raft.NewInmemStore()
	return &Dir{
		identity: newIdentity(clusterName, name),
		logs:     store, stable: store, snapshots: raft.NewInmemSnapshotStore(),
		close: func() error { return nil },
	}
}
