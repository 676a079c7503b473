package lab

import (
	"context"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// Hold keeps so many connections to address open, on which it says nothing, until ctx ends.
func Hold(ctx context.Context, network, address, connections string) error {
	n, err := strconv.Atoi(connections)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for ctx.Err() == nil {
				holdOne(ctx, network, address)
			}
		})
	}
	wg.Wait()
	return nil
}

// holdOne keeps one open until the other side closes it.
func holdOne(ctx context.Context, network, address string) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		_ = pause(ctx, 100*time.Millisecond) // ended
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	_, _ = io.Copy(io.Discard, conn)
}
