package dotest_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buoy-lb/buoy/assigner/dotest"
)

// post sends the assign over a real connection; the error is the transport's.
func post(ctx context.Context, url string) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(url, "/")+actions, strings.NewReader(assign102))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Authorization", "Bearer secret")
	r.Header.Set("User-Agent", agentLB2)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, header: resp.Header, text: string(text)}
	_ = json.Unmarshal(text, &a.body)
	return a, err
}

func start(t *testing.T, s *dotest.Server) *dotest.Endpoint {
	t.Helper()
	e, err := s.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestFaultsInTheAnswer(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fault  dotest.Fault
		status int // 0: no answer at all
		text   string
		header string // retry-after
		moves  bool
	}{
		{name: "refused", fault: dotest.Fault{Effect: dotest.Refuse, Status: 403}, status: 403, text: `"id":"forbidden"`},
		{name: "too many", fault: dotest.Fault{Effect: dotest.Refuse, Status: 429, RetryAfter: 29 * time.Second}, status: 429, text: "too_many", header: "29"},
		{name: "refused after acceptance", fault: dotest.Fault{Effect: dotest.Refuse, Status: 503, Accepted: true}, status: 503, text: `"id":"service_unavailable"`, moves: true},
		{name: "gateway page", fault: dotest.Fault{Effect: dotest.HTML}, status: 502, text: "<html>"},
		{name: "empty object", fault: dotest.Fault{Effect: dotest.Empty}, status: 200, text: "{}"},
		{name: "empty object after acceptance", fault: dotest.Fault{Effect: dotest.Empty, Accepted: true}, status: 200, text: "{}", moves: true},
		{name: "truncated", fault: dotest.Fault{Effect: dotest.Truncate}, status: 200, text: `{"action"`},
		{name: "truncated after acceptance", fault: dotest.Fault{Effect: dotest.Truncate, Accepted: true}, status: 201, text: `{"action":{`, moves: true},
		{name: "dropped", fault: dotest.Fault{Effect: dotest.Drop}},
		{name: "dropped after acceptance", fault: dotest.Fault{Effect: dotest.Drop, Accepted: true}, moves: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newCloud(t, dotest.Options{})
			tt.fault.Count = 1
			s.Inject(tt.fault)
			got, err := post(t.Context(), start(t, s).URL)
			if (err != nil) != (tt.status == 0) || got.status != tt.status || !strings.Contains(got.text, tt.text) {
				t.Fatalf("got %d %q %v, want %d %q", got.status, got.text, err, tt.status, tt.text)
			}
			if tt.fault.Effect == dotest.Truncate && got.body != nil {
				t.Errorf("not truncated: %s", got.text)
			}
			if got.status != 0 && got.header.Get("retry-after") != tt.header {
				t.Errorf("retry-after %q, want %q", got.header.Get("retry-after"), tt.header)
			}
			w := s.Writes(time.Time{})[0]
			if w.Accepted.IsZero() == tt.moves || w.Status != tt.status {
				t.Errorf("journal has %+v", w)
			}
			if tt.moves {
				waitHolder(t, s, ip, 102)
				return
			}
			wantStatus(t, ask(t, s.API(), "POST", actions, assign102), http.StatusCreated) // the rule is spent, nothing was locked
		})
	}
}

func TestFaultsInTheAction(t *testing.T) {
	for _, tt := range []struct {
		effect dotest.Effect
		status int
		word   any
		holder int
	}{
		{dotest.ActionErrored, 200, "errored", 101},
		{dotest.ActionGone, 404, nil, 102},
		{dotest.ActionDone, 200, "done", 102},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newCloud(t, dotest.Options{Latency: dotest.Fixed(time.Second)})
			s.Inject(dotest.Fault{Method: "POST", Effect: tt.effect})
			wantStatus(t, ask(t, s.API(), "POST", actions, assign102), http.StatusCreated)
			time.Sleep(2 * time.Second)
			id := s.Writes(time.Time{})[0].Action
			for _, path := range []string{actions, "/v2/actions"} {
				got := ask(t, s.API(), "GET", path+"/"+strconv.Itoa(id), "")
				if got.status != tt.status || got.at("action", "status") != tt.word {
					t.Errorf("effect %d: GET %s: %d %v", tt.effect, path, got.status, got.at("action", "status"))
				}
			}
			shown := ask(t, s.API(), "GET", "/v2/reserved_ips/203.0.113.10", "")
			if s.Holder(ip) != tt.holder || !shown.is(false, "reserved_ip", "locked") {
				t.Errorf("effect %d: holder %d, want %d; %s", tt.effect, s.Holder(ip), tt.holder, shown.text)
			}
		})
	}
}

func TestFaultMatching(t *testing.T) {
	s := newCloud(t, dotest.Options{Latency: dotest.Fixed(time.Hour)})
	broken := func() bool { return ask(t, s.API(), "POST", actions, assign102).status == 503 }
	for name, f := range map[string]dotest.Fault{
		"method": {Method: "GET"}, "path": {Path: "/v2/*/actions"}, "token": {Token: "lb1"},
		"node": {Node: "lb1"}, "droplet": {Droplet: 101},
	} {
		f.Effect, f.Status = dotest.Refuse, 503
		remove := s.Inject(f)
		if broken() {
			t.Errorf("a fault for another %s hit this request", name)
		}
		remove()
	}
	remove := s.Inject(dotest.Fault{
		Method: "POST", Path: "/v2/reserved_ips/*/actions", Token: "lb2", Node: "lb2", Droplet: 102,
		Effect: dotest.Refuse, Status: 503,
	})
	for range 2 {
		if !broken() {
			t.Error("a fault without a count did not hit, or did not last")
		}
	}
	remove()
	if broken() {
		t.Error("a removed fault goes on")
	}
}

// TestHeldWriteOutlivesItsClient is the steal of a deposed leader: its POST is
// accepted long after it gave up.
func TestHeldWriteOutlivesItsClient(t *testing.T) {
	s := newCloud(t, dotest.Options{})
	const delay = 300 * time.Millisecond
	s.Inject(dotest.Fault{Method: "POST", Delay: delay})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if got, err := post(ctx, start(t, s).URL); err == nil {
		t.Fatalf("answered %d before it was accepted", got.status)
	}
	for len(s.Writes(begun)) == 0 { // lost before it arrived, on a very slow machine
		_, _ = post(t.Context(), start(t, s).URL)
	}
	waitHolder(t, s, ip, 102)
	if w := s.Writes(begun)[0]; w.Accepted.Sub(w.Arrived) < delay {
		t.Errorf("accepted %v after it arrived, want at least %v", w.Accepted.Sub(w.Arrived), delay)
	}
}

func TestHangEndsWithTheServer(t *testing.T) {
	s := newCloud(t, dotest.Options{})
	s.Inject(dotest.Fault{Effect: dotest.Hang, Accepted: true})
	url := start(t, s).URL
	failed := make(chan error, 1)
	go func() {
		_, err := post(t.Context(), url)
		failed <- err
	}()
	waitHolder(t, s, ip, 102)
	s.Close()
	if err := <-failed; err == nil {
		t.Error("a hanging request was answered")
	}
}
