package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// quickTimeout bounds every call that names no other bound. Calls with a bound of
// their own wait grace longer than the server, whose answer says more.
const (
	quickTimeout = 2 * time.Second
	grace        = time.Second
)

// call is one request and what it is allowed to cost.
type call struct {
	method, url string
	host        string // of the Host header
	body        any    // nil: none
	timeout     time.Duration
}

// do sends c and decodes a 200 answer into out. Errors come without the URL, which
// means nothing to an operator: callers say whom they asked.
func do(ctx context.Context, client *http.Client, c call, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := send(ctx, client, c)
	if err != nil {
		return err
	}
	defer finish(resp)
	if resp.StatusCode != http.StatusOK {
		return readError(resp)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

// send sends c and returns the response, whose body the caller must close.
func send(ctx context.Context, client *http.Client, c call) (*http.Response, error) {
	var body io.Reader
	if c.body != nil {
		encoded, err := json.Marshal(c.body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, c.method, c.url, body)
	if err != nil {
		return nil, fmt.Errorf("build the request: %w", err)
	}
	req.Host = c.host
	begun := time.Now()
	resp, err := client.Do(req)
	var withURL *url.Error
	if errors.As(err, &withURL) {
		err = withURL.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, &silentError{time.Since(begun)}
	}
	return resp, err
}

// silentError is a request that nobody answered in time.
type silentError struct{ waited time.Duration }

func (e *silentError) Error() string {
	return fmt.Sprintf("no answer within %v", e.waited.Round(100*time.Millisecond))
}

func (e *silentError) Unwrap() error { return context.DeadlineExceeded }

// finish reads what is left of a small body, so that the connection can be used again.
func finish(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxProblem)
	_ = resp.Body.Close()
}
