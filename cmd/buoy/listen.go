package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// socketMode lets root and the group of the daemon administer it.
	socketMode = 0o660
	// staleTimeout bounds the question whether a daemon still answers at a socket.
	staleTimeout = time.Second
)

// listenSocket listens on the unix socket at path. A socket that a dead daemon left
// behind is replaced; one where a daemon answers is not.
func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("socket: %w; name another place with socket: in the configuration", err)
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w; name another place with socket: in the configuration", path, err)
	}
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(fmt.Errorf("socket: %w", err), l.Close())
	}
	return l, nil
}

// removeStale removes the socket at path if nobody answers there.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("socket %s: something else is there (%s); move it away, or name another place with socket: in the configuration", path, info.Mode())
	}
	d := net.Dialer{Timeout: staleTimeout}
	c, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("socket %s: another buoy daemon answers there; stop it, or give this one a socket: of its own", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("socket %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove a stale socket: %w", err)
	}
	return nil
}

// listenHTTP listens for the read-only pages.
func listenHTTP(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("http: port in use: %s; set http: to another address, or to \"off\"", address)
	case err != nil:
		return nil, fmt.Errorf("http: %w; set http: to an address of this machine, or to \"off\"", err)
	}
	return l, nil
}
