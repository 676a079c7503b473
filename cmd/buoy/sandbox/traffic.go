package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// How the client of a Traffic behaves: impatient, so that an outage is seen sharply.
const (
	requestInterval = 10 * time.Millisecond
	requestTimeout  = 250 * time.Millisecond
)

// Traffic is a client that sends one request after another, each over a new
// connection. Safe for concurrent use.
type Traffic struct {
	url    string
	client *http.Client

	mu     sync.Mutex
	since  Outage
	last   time.Time // when the last request that succeeded had begun
	broken time.Time // last, while requests fail; else zero
}

// Outage is what the users of the service noticed over some time.
type Outage struct {
	Requests int
	Failed   int
	// Down is how long nobody was served: from the last request that succeeded to the
	// first that did again, summed over all breaks that have ended.
	Down time.Duration
	// LastError is the newest failure; nil without one.
	LastError error
}

// NewTraffic returns a client of the floating IP, idle until Run.
func (w *World) NewTraffic() *Traffic {
	return &Traffic{url: w.URL, client: &http.Client{
		Timeout:   requestTimeout,
		Transport: &http.Transport{DisableKeepAlives: true},
	}}
}

// Run sends requests until ctx ends.
func (t *Traffic) Run(ctx context.Context) {
	tick := time.NewTicker(requestInterval)
	defer tick.Stop()
	for {
		begun := time.Now()
		err := t.request(ctx)
		if ctx.Err() != nil {
			return
		}
		t.note(begun, err)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (t *Traffic) request(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func (t *Traffic) note(begun time.Time, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.since.Requests++
	if err != nil {
		t.since.Failed++
		t.since.LastError = err
		if t.broken.IsZero() {
			t.broken = t.last
		}
		return
	}
	if !t.broken.IsZero() {
		t.since.Down += begun.Sub(t.broken)
		t.broken = time.Time{}
	}
	t.last = begun
}

// Reset begins a new count and returns the old one.
func (t *Traffic) Reset() Outage {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.since
	t.since = Outage{}
	return o
}

// WaitServed waits until a request that began after the call has succeeded.
func (t *Traffic) WaitServed(ctx context.Context) error {
	begun := time.Now()
	return Poll(ctx, "a request to be served", func(context.Context) error {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.last.After(begun) {
			return nil
		}
		if t.since.LastError == nil {
			return errors.New("no answer yet")
		}
		return t.since.LastError
	})
}
