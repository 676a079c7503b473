package digitalocean

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/buoy-lb/buoy/assigner"
	"github.com/buoy-lb/buoy/assigner/cloudhttp"
)

// countingListener counts the bytes that arrive on all its connections, below TLS.
type countingListener struct {
	net.Listener
	conns, bytes atomic.Int64
}

type countingConn struct {
	net.Conn
	bytes *atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.conns.Add(1)
	return countingConn{c, &l.bytes}, nil
}

func (c countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

// stubAPI serves handler, with or without TLS, and returns a provider for it.
func stubAPI(t testing.TB, secure bool, handler http.Handler) (*Provider, *countingListener) {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	l := &countingListener{Listener: s.Listener}
	s.Listener = l
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	p := stubProvider(t, s.URL)
	if secure {
		pool := x509.NewCertPool()
		pool.AddCert(s.Certificate())
		p.base.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return p, l
}

// stubProvider returns the provider of droplet 101 for the API at url.
func stubProvider(t testing.TB, url string) *Provider {
	t.Helper()
	path := t.TempDir() + "/do-token"
	writeToken(t, path, "secret")
	p, err := New(Options{TokenFile: path, APIURL: url, DropletID: lb1, Node: "lb1", Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	p.gap = 0
	return p
}

func answer(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodPost {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"action":{"id":7,"status":"in-progress"}}`)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/v2/droplets/") {
		_, _ = io.WriteString(w, `{"droplet":{"id":101,"region":{"slug":"nyc3"}}}`)
		return
	}
	// Longer than what godo drains by itself (2 KiB), as a real droplet object is.
	_, _ = io.WriteString(w, `{"reserved_ip":{"ip":"203.0.113.10","droplet":null,"locked":false}}`+strings.Repeat(" ", 8000))
}

func yes() error { return nil }

// TestNoRightNoByte is the reason for cloudhttp.Permit: when the right ends between building the request and
// writing it, nothing of the request leaves, not even a part of a TLS record.
func TestNoRightNoByte(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, warm := range []bool{true, false} {
			t.Run(map[bool]string{true: "https", false: "http"}[secure]+map[bool]string{true: " warm", false: " cold"}[warm], func(t *testing.T) {
				var posts atomic.Int32
				p, l := stubAPI(t, secure, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodPost {
						posts.Add(1)
					}
					answer(w, r)
				}))
				if warm {
					if _, err := p.Holder(t.Context(), ip); err != nil {
						t.Fatal(err)
					}
				}
				before := l.bytes.Load()
				expired := errors.New("expired")
				checks := 0
				_, err := p.Claim(t.Context(), ip, func() error { checks++; return expired })
				var e *assigner.Error
				if !errors.As(err, &e) || e.Class != assigner.NoRight || !errors.Is(err, expired) {
					t.Errorf("error %v; want the check's, classed as no right", err)
				}
				if checks != 1 {
					t.Errorf("the check ran %d times; its first refusal must stick", checks)
				}
				// A cold connection begins with a handshake; nothing follows it.
				if n := l.bytes.Load() - before; (warm || !secure) && n != 0 {
					t.Errorf("%d bytes reached the server", n)
				}
				if _, err := p.Claim(t.Context(), ip, yes); err != nil || posts.Load() != 1 {
					t.Errorf("the next claim: %v, %d POSTs; want 1", err, posts.Load())
				}
			})
		}
	}
}

func TestChangeWithoutPermitIsImpossible(t *testing.T) {
	p, l := stubAPI(t, false, http.HandlerFunc(answer))
	_, _, err := p.api.ReservedIPActions.Assign(t.Context(), ip.String(), lb1)
	if !errors.Is(err, cloudhttp.ErrUnarmed) || l.conns.Load() != 0 {
		t.Errorf("error %v, %d connections; want refused before a connection is opened", err, l.conns.Load())
	}
}

// TestReadsKeepTheConnectionWarm: the POST of a fresh leader must not wait for a handshake.
func TestReadsKeepTheConnectionWarm(t *testing.T) {
	p, l := stubAPI(t, true, http.HandlerFunc(answer))
	for range 5 {
		if _, err := p.Holder(t.Context(), ip); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Claim(t.Context(), ip, yes); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.conns.Load(); n != 1 {
		t.Errorf("%d connections for 10 requests; want 1", n)
	}
}

// TestOnePermitIsOneRequest: the server reads the POST and hangs up, as it would after a crash. Go's
// client repeats some requests then; this one must not be.
func TestOnePermitIsOneRequest(t *testing.T) {
	var posts atomic.Int32
	p, _ := stubAPI(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			posts.Add(1)
			panic(http.ErrAbortHandler)
		}
		answer(w, r)
	}))
	if _, err := p.Holder(t.Context(), ip); err != nil {
		t.Fatal(err)
	}
	_, err := p.Claim(t.Context(), ip, yes)
	var e *assigner.Error
	if !errors.As(err, &e) || e.Class != assigner.Shared || posts.Load() != 1 {
		t.Errorf("%v, %d POSTs; want a shared fault after exactly one", err, posts.Load())
	}
}

// TestUnansweredWriteIsRevoked: closing a connection whose write has no answer must reset it, or the
// kernel would go on delivering the request for minutes.
func TestUnansweredWriteIsRevoked(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := stubProvider(t, "http://"+l.Addr().String())
	ctx, deposed := context.WithCancel(t.Context())
	end := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			end <- err
			return
		}
		defer conn.Close()
		r := bufio.NewReader(conn)
		if _, err = http.ReadRequest(r); err == nil {
			deposed()
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			_, err = io.Copy(io.Discard, r)
		}
		end <- err
	}()
	if _, err := p.Claim(ctx, ip, yes); !errors.Is(err, context.Canceled) {
		t.Errorf("Claim: %v; want canceled", err)
	}
	if err := <-end; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server sees %v; want a reset", err)
	}
}
