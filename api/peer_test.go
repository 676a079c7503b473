package api_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buoy-lb/buoy/api"
	"github.com/buoy-lb/buoy/fsm"
)

// TestErrorsKeepTheirType sends errors across the wire and looks at what comes out.
func TestErrorsKeepTheirType(t *testing.T) {
	notLeader := &fsm.NotLeaderError{ID: "lb1-a", Name: "lb1", Address: "10.0.0.1:7400"}
	for name, tc := range map[string]struct {
		sent  error
		check func(error) bool
	}{
		"not the leader": {
			fmt.Errorf("receive: %w", notLeader),
			func(err error) bool { var e *fsm.NotLeaderError; return errors.As(err, &e) && *e == *notLeader },
		},
		"no leader": {
			&fsm.NotLeaderError{},
			func(err error) bool { var e *fsm.NotLeaderError; return errors.As(err, &e) && e.ID == "" },
		},
		"refused": {
			fmt.Errorf("admit: %w", fsm.Refusef("the name lb4 is taken")),
			func(err error) bool {
				var e *fsm.RefusedError
				return errors.As(err, &e) && e.Message == "the name lb4 is taken"
			},
		},
		"deadline": {
			fmt.Errorf("wait for the cloud: %w", context.DeadlineExceeded),
			func(err error) bool {
				return errors.Is(err, context.DeadlineExceeded) && strings.Contains(err.Error(), "wait for the cloud")
			},
		},
		"other": {
			errors.New("401: the token is not valid"),
			func(err error) bool {
				return err.Error() == "401: the token is not valid" && !errors.Is(err, context.DeadlineExceeded)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			node := &fakeNode{selfTest: func(context.Context) error { return tc.sent }}
			peers := peersOf(t, serve(t, api.PeerHandler(node, node, callerLB2)))
			if err := peers.SelfTest(t.Context(), "lb1-a", "10.0.0.1:7400"); err == nil || !tc.check(err) {
				t.Errorf("sent %v, got %T: %v", tc.sent, err, err)
			}
		})
	}
}

func TestPeersCalls(t *testing.T) {
	var report fsm.Report
	var joiner fsm.Contact
	node := &fakeNode{
		status:    sampleStatus(),
		contact:   fsm.Contact{ID: "lb1-a", Name: "lb1", Boot: "b7", Term: 9, Member: fsm.Member{PreemptDelay: time.Second}},
		receive:   func(r fsm.Report) error { report = r; return nil },
		admit:     func(c fsm.Contact) error { joiner = c; return nil },
		transfer:  func(target string) (string, error) { return "to-" + target, nil },
		suspected: fsm.Suspicion{Leader: "lb3-y", Term: 9},
		drain:     func(m string, d time.Duration, force bool) error { return fsm.Refusef("%s %v %v", m, d, force) },
		undrain:   func(m string) error { return fsm.Refusef("undrain %s", m) },
	}
	peers := peersOf(t, serve(t, api.PeerHandler(node, node, callerLB2)))
	ctx, id, address := t.Context(), "lb1-a", "10.0.0.1:7400"

	if c, err := peers.Probe(ctx, id, address); err != nil || !reflect.DeepEqual(c, node.contact) {
		t.Errorf("Probe = %+v, %v", c, err)
	}
	for term, want := range map[uint64]bool{9: true, 8: false} {
		got, err := peers.Confirm(ctx, id, address, fsm.Suspicion{Leader: "lb3-y", Term: term})
		if err != nil || got.Gone != want || got.Contact.ID != id {
			t.Errorf("Confirm of term %d = %+v, %v", term, got, err)
		}
	}
	sent := fsm.Report{Member: "lb2-x", Seq: 3, Health: fsm.HealthOK, Priority: 100}
	if err := peers.Forward(ctx, id, address, sent); err != nil || !reflect.DeepEqual(report, sent) {
		t.Errorf("Forward: %v, received %+v", err, report)
	}
	if err := peers.Join(ctx, id, address, fsm.Contact{ID: "lb2-x", Name: "lb2"}); err != nil || joiner.Name != "lb2" {
		t.Errorf("Join: %v, admitted %+v", err, joiner)
	}
	if to, err := peers.Transfer(ctx, id, address, "lb3"); err != nil || to != "to-lb3" {
		t.Errorf("Transfer = %q, %v", to, err)
	}
	if err := peers.Drain(ctx, id, address, "lb3", time.Hour, true); err == nil || err.Error() != "lb3 1h0m0s true" {
		t.Errorf("Drain: %v", err)
	}
	if err := peers.Undrain(ctx, id, address, "lb3"); err == nil || err.Error() != "undrain lb3" {
		t.Errorf("Undrain: %v", err)
	}
	if s, err := peers.Status(ctx, id, address); err != nil || !reflect.DeepEqual(s, node.status) {
		t.Errorf("Status = %+v, %v", s, err)
	}
}

// TestStrangersMayOnlyLookAndJoin: the secret alone is not membership.
func TestStrangersMayOnlyLookAndJoin(t *testing.T) {
	node := &fakeNode{}
	stranger := func(context.Context) (string, bool) { return "lb9-z", false }
	peers := peersOf(t, serve(t, api.PeerHandler(node, node, stranger)))
	ctx, id, address := t.Context(), "lb1-a", "10.0.0.1:7400"

	_, probe := peers.Probe(ctx, id, address)
	_, status := peers.Status(ctx, id, address)
	join := peers.Join(ctx, id, address, fsm.Contact{ID: "lb9-z"})
	if probe != nil || status != nil || join != nil {
		t.Errorf("refused: probe %v, status %v, join %v", probe, status, join)
	}
	_, transfer := peers.Transfer(ctx, id, address, "")
	_, confirm := peers.Confirm(ctx, id, address, fsm.Suspicion{})
	for what, err := range map[string]error{
		"report":               peers.Forward(ctx, id, address, fsm.Report{Member: "lb9-z"}),
		"self-test":            peers.SelfTest(ctx, id, address),
		"transfer":             transfer,
		"confirm":              confirm,
		"drain":                peers.Drain(ctx, id, address, "lb1", 0, false),
		"undrain":              peers.Undrain(ctx, id, address, "lb1"),
		"join as another node": peers.Join(ctx, id, address, fsm.Contact{ID: "lb2-x"}),
	} {
		var refused *fsm.RefusedError
		if !errors.As(err, &refused) {
			t.Errorf("%s of a stranger: %v, want a refusal", what, err)
		}
	}
}

func TestReportInAnotherNameIsRefused(t *testing.T) {
	node := &fakeNode{receive: func(fsm.Report) error { t.Error("received"); return nil }}
	peers := peersOf(t, serve(t, api.PeerHandler(node, node, callerLB2)))
	var refused *fsm.RefusedError
	if err := peers.Forward(t.Context(), "", "10.0.0.1:7400", fsm.Report{Member: "lb3-y"}); !errors.As(err, &refused) {
		t.Errorf("got %v, want a refusal", err)
	}
}

func TestPeerBodiesAreLimited(t *testing.T) {
	node := &fakeNode{}
	h := api.PeerHandler(node, node, callerLB2)
	for path, limit := range map[string]int{"/peer/join": 8 << 10, "/peer/report": 64 << 10, "/peer/drain": 1 << 10, "/peer/undrain": 1 << 10} {
		for what, want := range map[string]int{
			`{"x":"` + strings.Repeat("x", limit) + `"}`: http.StatusRequestEntityTooLarge,
			`{"id":`: http.StatusBadRequest,
			``:       http.StatusBadRequest,
		} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader(what)))
			if w.Code != want {
				t.Errorf("%s with %d bytes: %d, want %d", path, len(what), w.Code, want)
			}
		}
	}
}

// TestPeersKeepConnections: probes run every second, so they must not dial each time;
// and a connection opened for one ID must not serve another.
func TestPeersKeepConnections(t *testing.T) {
	node := &fakeNode{}
	p := serve(t, api.PeerHandler(node, node, callerLB2))
	var dialed []string
	peers := api.NewPeers(func(ctx context.Context, address, wantID string) (net.Conn, error) {
		dialed = append(dialed, wantID+"@"+address)
		return p.dial(ctx)
	})
	defer peers.Close()
	for _, id := range []string{"", "", "lb1-a", "lb1-a", "lb2-b"} {
		for _, address := range []string{"10.0.0.1:7400", "[fd00::1]:7400"} {
			if _, err := peers.Probe(t.Context(), id, address); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []string{
		"@10.0.0.1:7400", "@[fd00::1]:7400",
		"lb1-a@10.0.0.1:7400", "lb1-a@[fd00::1]:7400",
		"lb2-b@10.0.0.1:7400", "lb2-b@[fd00::1]:7400",
	}
	if !reflect.DeepEqual(dialed, want) {
		t.Errorf("dialed %v, want %v", dialed, want)
	}
}

// TestPeersShowTheDialError: the words are peernet's; they must arrive bare.
func TestPeersShowTheDialError(t *testing.T) {
	refused := errors.New("nothing answers at 10.0.0.9:7400")
	peers := api.NewPeers(func(context.Context, string, string) (net.Conn, error) { return nil, refused })
	defer peers.Close()
	if _, err := peers.Probe(t.Context(), "", "10.0.0.9:7400"); !errors.Is(err, refused) || err.Error() != refused.Error() {
		t.Errorf("got %v", err)
	}
}

// TestHungPeer: a call ends even if its context has no deadline.
func TestHungPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peers := api.NewPeers(func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe() // nobody reads it
			t.Cleanup(func() { _ = server.Close() })
			return client, nil
		})
		defer peers.Close()
		begin := time.Now()
		_, err := peers.Probe(context.Background(), "lb1-a", "10.0.0.1:7400")
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 2*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

// TestSelfTestIsCutShort: the provider may hang; the peer that asks must not.
func TestSelfTestIsCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &fakeNode{selfTest: func(ctx context.Context) error {
			<-ctx.Done()
			return fmt.Errorf("look at the address: %w", ctx.Err())
		}}
		peers := peersOf(t, serve(t, api.PeerHandler(node, node, callerLB2)))
		begin := time.Now()
		err := peers.SelfTest(t.Context(), "lb1-a", "10.0.0.1:7400")
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "look at the address") {
			t.Errorf("got %v, want the peer's own words", err)
		}
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("took %v", took)
		}
	})
}
