package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/buoy-lb/buoy/fsm"
)

func openDir(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path, "web", "lb1")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func closeDir(t *testing.T, d *Dir) {
	t.Helper()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDirKeepsItsServerID(t *testing.T) {
	path := filepath.Join(t.TempDir(), "not", "there", "yet")
	d := openDir(t, path)
	id := d.ServerID()
	if !strings.HasPrefix(id, "lb1-") || len(id) != len("lb1-")+8 {
		t.Errorf("ServerID %q, want lb1- and eight random digits", id)
	}
	closeDir(t, d)
	d = openDir(t, path)
	if d.ServerID() != id {
		t.Errorf("ServerID %s after reopening, was %s", d.ServerID(), id)
	}
	closeDir(t, d)

	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	d = openDir(t, path)
	defer closeDir(t, d)
	if d.ServerID() == id {
		t.Errorf("a wiped directory came back as %s", id)
	}
}

func TestDirIsForOneDaemon(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, path)
	if _, err := OpenDir(path, "web", "lb1"); err == nil || !strings.Contains(err.Error(), "in use by another buoy daemon") {
		t.Errorf("opened twice: %v", err)
	}
	closeDir(t, d)
	closeDir(t, openDir(t, path)) // the refusal has left nothing locked
}

// TestDirRefusesWhatIsNotItsOwn damages a directory that was used, and expects an error
// that names the path and leaves everything as it was.
func TestDirRefusesWhatIsNotItsOwn(t *testing.T) {
	write := func(name, text string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			if err := os.Remove(filepath.Join(path, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tc := range map[string]struct {
		cluster, node string
		damage        func(t *testing.T, path string)
		want          string
	}{
		"another cluster's":   {"db", "lb1", nil, `belongs to cluster "web", the configuration says "db"`},
		"another node's":      {"web", "lb2", nil, `belongs to node "lb1", the configuration says "lb2"`},
		"a newer version's":   {"web", "lb1", write(identityFile, `{"format": 2, "who": "x"}`), "newer buoy (format 2, this one knows 1)"},
		"identity torn":       {"web", "lb1", write(identityFile, `{"format": 1, "clus`), "is damaged"},
		"identity empty":      {"web", "lb1", write(identityFile, ""), "is damaged"},
		"identity without ID": {"web", "lb1", write(identityFile, `{"format": 1, "cluster": "web", "name": "lb1"}`), "is damaged"},
		"identity gone":       {"web", "lb1", remove(identityFile), "has raft state but no " + identityFile},
		"database gone":       {"web", "lb1", remove(databaseFile), "has lost its " + databaseFile},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			d := openDir(t, path)
			if err := d.stable.SetUint64([]byte("CurrentTerm"), 7); err != nil { // as raft does
				t.Fatal(err)
			}
			closeDir(t, d)
			if tc.damage != nil {
				tc.damage(t, path)
			}
			before := files(t, path)
			for range 2 { // it does not mend itself either
				_, err := OpenDir(path, tc.cluster, tc.node)
				if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), path) {
					t.Fatalf("error %v, want %q and the path", err, tc.want)
				}
			}
			if after := files(t, path); after != before {
				t.Errorf("the refusal changed the directory from %s to %s", before, after)
			}
		})
	}
}

// files lists the files below path with their modes.
func files(t *testing.T, path string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(path, p)
		out = append(out, rel+" "+info.Mode().String())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, ", ")
}

func TestDirSurvivesACrashWhileItIsMade(t *testing.T) {
	for name, crash := range map[string]func(path string) error{
		"a torn new database": func(path string) error {
			return os.WriteFile(filepath.Join(path, databaseFile+".new"), make([]byte, 8192), 0o600)
		},
		"no identity yet": func(path string) error { return createBolt(filepath.Join(path, databaseFile)) },
		"a torn new identity": func(path string) error {
			return os.WriteFile(filepath.Join(path, identityFile+".new"), []byte("{"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			if err := crash(path); err != nil {
				t.Fatal(err)
			}
			closeDir(t, openDir(t, path))
			for _, f := range []string{databaseFile, identityFile} {
				if _, err := os.Stat(filepath.Join(path, f+".new")); err == nil {
					t.Errorf("%s.new is still there", f)
				}
			}
		})
	}
}

// TestDirIsPrivate: a directory made by somebody else may be open to all (systemd's
// StateDirectory= is); what is in it is not.
func TestDirIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made")
	closeDir(t, openDir(t, path))
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	closeDir(t, openDir(t, path))
	want := ". drwxr-xr-x, identity.json -rw-------, lock -rw-------, raft.db -rw-------, snapshots drwx------"
	if got := files(t, path); got != want {
		t.Errorf("modes are\n%s, want\n%s", got, want)
	}
	fresh := filepath.Join(t.TempDir(), "fresh")
	closeDir(t, openDir(t, fresh))
	if got := files(t, fresh); !strings.HasPrefix(got, ". drwx------") {
		t.Errorf("a directory that buoy made: %s", got)
	}
}

// solo is a cluster of one on a real directory, in real time.
type solo struct {
	dir  *Dir
	node *Node
	stop context.CancelFunc
	done chan error
}

func startSolo(t *testing.T, path string) *solo {
	t.Helper()
	d := openDir(t, path)
	member := fsm.Member{ID: d.ServerID(), Name: "lb1", Address: "10.0.0.1:7400", Instance: "101", Role: fsm.RoleBalancer, Priority: 100}
	_, trans := raft.NewInmemTransport(raft.ServerAddress(member.Address))
	node, err := Open(Config{
		Cluster: "web", Member: member, Dir: d, Timing: testLAN,
		Transport: func(raft.ServerAddressProvider) Carrier { return trans }, Linked: func(string) bool { return false },
		FloatingIPs: []netip.Addr{testIP}, VerifyInterval: time.Minute, Claimer: heldClaimer{},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &solo{dir: d, node: node, stop: stop, done: make(chan error, 1)}
	go func() { s.done <- node.Run(ctx) }()
	node.SetHealth(nil, 0)
	return s
}

func (s *solo) close(t *testing.T) {
	t.Helper()
	s.stop()
	if err := <-s.done; err != nil {
		t.Fatal(err)
	}
	closeDir(t, s.dir)
}

// heldClaimer finds the address here, always.
type heldClaimer struct{}

func (heldClaimer) Ensure(context.Context, Ensure, Fence) (Outcome, error) {
	return Outcome{Instance: "101", Confirmed: time.Now()}, nil
}
func (heldClaimer) Holder(context.Context, netip.Addr) (string, error) { return "1", nil }

func (heldClaimer) SelfTest(context.Context) error { return nil }

func (heldClaimer) Hint(context.Context) ([]netip.Addr, error) { return nil, errors.ErrUnsupported }

func (heldClaimer) Release(context.Context, uint64) error { return nil }

func TestMembershipOutlivesTheDaemon(t *testing.T) {
	path := t.TempDir()
	s := startSolo(t, path)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.node.Init(ctx); err != nil {
		t.Fatal(err)
	}
	first := s.node.fsm.State()
	s.close(t)

	s = startSolo(t, path)
	defer s.close(t)
	if err := s.node.Init(ctx); err == nil || !strings.Contains(err.Error(), "already a member") {
		t.Errorf("second init after a restart: %v", err)
	}
	if err := s.node.until(ctx, "waiting to lead again", func() bool { return s.node.Status().Leads() && s.node.fsm.State().ClusterID != "" }); err != nil {
		t.Fatal(err)
	}
	again := s.node.fsm.State()
	if again.ClusterID != first.ClusterID || len(again.Members) != 1 || len(s.node.servers()) != 1 {
		have, _ := json.Marshal(again)
		t.Errorf("cluster %s was %s before the restart: %s", again.ClusterID, first.ClusterID, have)
	}
}
