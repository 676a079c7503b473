package digitalocean

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/buoy-lb/buoy/assigner"
)

// proxy is a forward proxy: CONNECT for https, plain requests for http.
type proxy struct {
	url              *url.URL
	tunnels, forward atomic.Int32
}

func newProxy(t *testing.T) *proxy {
	p := &proxy{}
	plain := &httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			p.forward.Add(1)
			plain.ServeHTTP(w, r)
			return
		}
		p.tunnels.Add(1)
		up, err := net.Dial("tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.WriteHeader(http.StatusOK)
		down, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		go func() { _, _ = io.Copy(up, buffered); up.Close() }()
		_, _ = io.Copy(down, up)
		down.Close()
	}))
	t.Cleanup(s.Close)
	p.url, _ = url.Parse(s.URL)
	return p
}

// TestWriteIsGuardedThroughAProxy: the right to write is asked for in the write to the proxy, whether
// it forwards the request or carries a tunnel.
func TestWriteIsGuardedThroughAProxy(t *testing.T) {
	for _, secure := range []bool{true, false} {
		t.Run(map[bool]string{true: "CONNECT", false: "plain"}[secure], func(t *testing.T) {
			var posts atomic.Int32
			p, _ := stubAPI(t, secure, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					posts.Add(1)
				}
				answer(w, r)
			}))
			proxy := newProxy(t)
			p.base.Proxy = http.ProxyURL(proxy.url)
			expired, checks := errors.New("expired"), 0
			for range 2 { // cold, then warm
				_, err := p.Claim(t.Context(), ip, func() error { checks++; return expired })
				var e *assigner.Error
				if !errors.As(err, &e) || e.Class != assigner.NoRight || !errors.Is(err, expired) || posts.Load() != 0 {
					t.Errorf("error %v, %d POSTs; want the check's and no POST", err, posts.Load())
				}
				if _, err := p.Holder(t.Context(), ip); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := p.Claim(t.Context(), ip, yes); err != nil || posts.Load() != 1 || checks != 2 {
				t.Errorf("with the right: %v, %d POSTs, %d checks before", err, posts.Load(), checks)
			}
			if n := proxy.tunnels.Load(); (n > 0) != secure {
				t.Errorf("%d tunnels", n)
			}
			if n := proxy.forward.Load(); (n > 0) == secure {
				t.Errorf("%d forwarded requests", n)
			}
		})
	}
}

// TestProxyComesFromTheEnvironment, but not for the metadata service: a proxy's answer would be about
// the proxy's droplet.
func TestProxyComesFromTheEnvironment(t *testing.T) {
	p := stubProvider(t, "https://api.example/")
	if p.base.Proxy == nil {
		t.Error("HTTPS_PROXY is not looked at")
	}
	if p.metadata.client.Transport.(*http.Transport).Proxy != nil {
		t.Error("the metadata service may be asked through a proxy")
	}
}
