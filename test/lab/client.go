package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/buoy-lb/buoy/cluster"
	"github.com/buoy-lb/buoy/cmd/buoy/sandbox"
	"github.com/buoy-lb/buoy/test/lab/checker"
	"github.com/buoy-lb/buoy/test/lab/wire"
)

// How the client behaves: impatient, so that an outage is seen sharply.
const (
	requestEvery   = 5 * time.Millisecond
	requestTimeout = 250 * time.Millisecond
)

// RunClient sends a request over a new connection every 5 ms, whether or not the ones
// before have been answered, until ctx ends, and writes a JSON line about each to out.
// It runs as a process of its own on the client's host.
func RunClient(ctx context.Context, out io.Writer) error {
	lines := json.NewEncoder(out)
	var mu sync.Mutex
	var wg sync.WaitGroup
	tick := time.NewTicker(requestEvery)
	defer tick.Stop()
	failed := make(chan error, 1)
	for {
		select {
		case <-tick.C:
		case err := <-failed:
			return err // the lab has gone
		case <-ctx.Done():
			wg.Wait()
			return nil
		}
		wg.Go(func() {
			q := request(net.JoinHostPort(FloatingIP.String(), "80"))
			mu.Lock()
			defer mu.Unlock()
			if err := lines.Encode(q); err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
}

// request asks for a page once.
func request(address string) checker.Request {
	q := checker.Request{Begun: cluster.Boottime()}
	by, err := get(address)
	q.Ended = cluster.Boottime()
	q.By, q.OK = by, err == nil
	if err != nil {
		q.Error = err.Error()
	}
	return q
}

func get(address string) (by string, err error) {
	deadline := time.Now().Add(requestTimeout)
	conn, err := (&net.Dialer{Deadline: deadline}).Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("answered %s", resp.Status)
	}
	return resp.Header.Get("X-Served-By"), nil
}

// client is RunClient in its process, as the world sees it.
type client struct {
	host    *wire.Host
	process *sandbox.Process
}

// start starts the client, whose requests go to the world's record.
func (c *client) start(w *World) error {
	if c.process.Running() {
		return nil
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	// At the lab's own priority: a late client would see outages that are not there.
	c.process, err = startMeasuring(c.host, write, w.opts.Self, "client")
	write.Close() // the child has its own
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer read.Close()
		lines := json.NewDecoder(bufio.NewReaderSize(read, 1<<16))
		for {
			var q checker.Request
			if lines.Decode(&q) != nil {
				return // the client has ended
			}
			w.Record.request(q)
		}
	}()
	w.onClose(func() {
		c.process.Kill()
		<-done
	})
	return nil
}

// awaitCalm waits until the client is served and nothing is left of what failed before.
func (c *client) awaitCalm(ctx context.Context, w *World) error {
	if err := c.awaitServed(ctx, w); err != nil {
		return err
	}
	return sandbox.Poll(ctx, "requests not to fail any more", func(context.Context) error {
		if _, failed := w.Record.newest(); cluster.Boottime()-failed < requestTimeout+50*time.Millisecond {
			return errors.New("one has just failed")
		}
		return nil
	})
}

// awaitServed waits until a request that begins from now on is served.
func (c *client) awaitServed(ctx context.Context, w *World) error {
	from := cluster.Boottime()
	return sandbox.Poll(ctx, "the client to be served", func(context.Context) error {
		if !c.process.Running() {
			return errors.New("the client has ended")
		}
		if served, _ := w.Record.newest(); served < from {
			return errors.New("no answer yet")
		}
		return nil
	})
}
