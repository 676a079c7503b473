package healthcheck

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestKilled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		who  func(*haproxy) int
	}{
		"single": {[]string{"-db"}, (*haproxy).worker},
		"worker": {[]string{"-W"}, (*haproxy).worker},
		"master": {[]string{"-W"}, func(h *haproxy) int { return h.cmd.Process.Pid }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := startHAProxy(t, "", c.args...)
			o := h.observe()
			h.signal(c.who(h), syscall.SIGKILL)
			o.dies()
			h.run(c.args...)
			o.becomes("ok after a restart", ok)
		})
	}
}

func TestHungAndAwake(t *testing.T) {
	t.Parallel()
	h := startHAProxy(t, "", "-W")
	o := h.observe()
	worker := h.worker()

	// A master that stands still serves nothing and harms nothing.
	o.undisturbed(func() { h.signal(h.cmd.Process.Pid, syscall.SIGSTOP) })
	h.signal(h.cmd.Process.Pid, syscall.SIGCONT)

	h.signal(worker, syscall.SIGSTOP)
	o.failsBy(causeHung)
	h.signal(worker, syscall.SIGCONT)
	o.becomes("ok", ok)
	if n := o.count(certain); n > 0 {
		t.Errorf("%d looks were certain of a death that was none", n)
	}
}

func TestSoftStop(t *testing.T) {
	t.Parallel()
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		h := startHAProxy(t, "", "-db")
		o := h.observe()
		h.signal(h.worker(), syscall.SIGUSR1)
		o.dies()
	})
	t.Run("draining", func(t *testing.T) {
		t.Parallel()
		h := startHAProxy(t, "", "-db")
		o := h.observe()
		h.hold(1, "tcp", h.host+":8080", "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n")
		h.waitGood()
		h.signal(h.cmd.Process.Pid, syscall.SIGUSR1)
		o.failsBy(causeGone)
		if err := syscall.Kill(h.cmd.Process.Pid, 0); err != nil {
			t.Errorf("the process was to drain, not to end: %v", err)
		}
	})
	t.Run("with grace it says so", func(t *testing.T) {
		t.Parallel()
		h := startHAProxy(t, "grace 60s", "-db")
		o := h.observe()
		h.signal(h.cmd.Process.Pid, syscall.SIGUSR1)
		o.failsBy(causeStopping)
	})
}

func TestFrontendTakenDown(t *testing.T) {
	t.Parallel()
	h := startHAProxy(t, "", "-W")
	o := h.observe()
	h.admin("disable frontend www") // refuses
	o.failsBy(causeDataPath)
	h.admin("enable frontend www")
	o.becomes("ok", ok)
	h.admin("shutdown frontend www") // the master holds the listener: nobody answers
	o.failsBy(causeDataPath)
}

// reload makes a new worker take over and returns its number.
func (h *haproxy) reload(start func()) int {
	h.t.Helper()
	var old, now int
	h.eventually("a worker answers", func() bool { old = h.worker(); return old != 0 }) // one that is leaving may still hold the socket
	start()
	h.eventually("a new worker answers", func() bool {
		now = h.worker()
		return now != 0 && now != old
	})
	return now
}

// reloadMaster signals the master once it turns over: one that comes while it
// starts is lost.
func (h *haproxy) reloadMaster() {
	h.t.Helper()
	h.eventually("the master answers", func() bool {
		conn, err := net.Dial("unix", h.masterSocket())
		if err != nil {
			return false
		}
		defer conn.Close()
		_, err = io.WriteString(conn, "show proc\n")
		n, _ := conn.Read(make([]byte, 100))
		return err == nil && n > 0
	})
	h.signal(h.cmd.Process.Pid, syscall.SIGUSR2)
}

func TestSixtyReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	h := startHAProxy(t, "", "-W")
	o := h.observe()
	var served, failed atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := client.Get("http://" + h.host + ":8080/")
				if err != nil {
					failed.Add(1)
					continue
				}
				resp.Body.Close()
				served.Add(1)
			}
		})
	}
	var last int
	o.undisturbed(func() {
		for range 60 {
			last = h.reload(h.reloadMaster)
		}
		close(stop)
		clients.Wait()
	})
	t.Logf("%d requests served, %d failed", served.Load(), failed.Load())
	if served.Load() == 0 {
		t.Error("there was no load")
	}
	h.signal(last, syscall.SIGKILL) // the check has followed
	o.dies()
}

func TestReloadsInOtherModes(t *testing.T) {
	t.Parallel()
	t.Run("-sf", func(t *testing.T) {
		t.Parallel()
		h := startHAProxy(t, "", "-db")
		o := h.observe()
		o.undisturbed(func() {
			for range 5 {
				old := fmt.Sprint(h.worker())
				h.reload(func() { h.run("-db", "-x", h.socket, "-sf", old) })
			}
		})
		h.signal(h.worker(), syscall.SIGKILL)
		o.dies()
	})
	t.Run("-Ws", func(t *testing.T) {
		t.Parallel()
		h := startHAProxy(t, "", "-Ws")
		o := h.observe()
		o.undisturbed(func() {
			for range 5 {
				h.reload(h.reloadMaster)
			}
		})
	})
	t.Run("broken configuration", func(t *testing.T) {
		t.Parallel()
		h := startHAProxy(t, "", "-W")
		o := h.observe()
		worker := h.worker()
		o.undisturbed(func() {
			h.configure("no such keyword")
			h.reloadMaster()
			h.eventually("HAProxy complains", func() bool {
				return strings.Contains(h.log.String(), "no such keyword") || strings.Contains(h.log.String(), "unknown keyword")
			})
		})
		if h.worker() != worker {
			t.Error("the old worker was to serve on")
		}
		o.undisturbed(func() {
			h.configure("")
			h.reload(h.reloadMaster)
		})
	})
}

// Load alone never moves the address, and a busy socket is no failure.
func TestExhaustion(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limit, cause string
		sessions     int
		network      string
	}{
		"global maxconn":     {"set maxconn global 10", causeSaturated, 12, "tcp"},
		"frontend maxconn":   {"set maxconn frontend www 10", causeSaturated, 12, "tcp"},
		"stats socket slots": {"", causeSocket, 10, "unix"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := startHAProxy(t, "", "-db")
			o := h.observe()
			address := h.socket
			if c.network == "tcp" {
				address = h.host + ":8080"
				h.admin(c.limit)
			}
			o.undisturbed(func() {
				h.hold(c.sessions, c.network, address, "")
				h.eventually("the condition is seen", func() bool { return o.count(because(c.cause)) > 2 })
			})
			if n := o.count(isHard); n > 1 { // one: between the first connection and the last
				t.Errorf("%d hard looks", n)
			}
		})
	}
}

// Without a monitor URL nothing tells taken slots from a hang; the verdict
// must then be on the side of the clients.
func TestTakenSlotsWithoutMonitorCountAsHung(t *testing.T) {
	t.Parallel()
	h := startHAProxy(t, "", "-db")
	h.monitor = ""
	o := h.observe()
	h.hold(10, "unix", h.socket, "")
	o.failsBy(causeHung)
}

func TestNoBackendsLowersTheWeightAfterAWhile(t *testing.T) {
	t.Parallel()
	h := startHAProxy(t, "", "-db")
	o := h.observe()
	h.backend.Close()
	s := o.becomes("degraded", func(s Status) bool { return !s.OK })
	if s.Fault || !s.Warn || s.Weight != -20 || s.Detect < SoftDelay {
		t.Errorf("got %+v, want weight -20 after %s, no fault", s, SoftDelay)
	}
	h.startBackend()
	if s := o.becomes("ok", ok); s.Warn || s.Weight != 0 {
		t.Errorf("got %+v", s)
	}
}

// BenchmarkDetection measures, for each fault, from the signal to the verdict
// of a monitor with the default rules. Run with -benchtime 20x.
func BenchmarkDetection(b *testing.B) {
	for _, c := range []struct {
		name string
		sig  syscall.Signal
		args []string
	}{
		{"kill single", syscall.SIGKILL, []string{"-db"}},
		{"kill worker", syscall.SIGKILL, []string{"-W"}},
		{"hang", syscall.SIGSTOP, []string{"-db"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var took []time.Duration
			for range b.N {
				h := startHAProxy(b, "", c.args...)
				o := h.observe()
				worker := h.worker()
				<-time.After(rand.N(200 * time.Millisecond)) // anywhere between two looks
				start := time.Now()
				h.signal(worker, c.sig)
				took = append(took, o.becomes("fault", fault).Since.Sub(start))
				_ = syscall.Kill(worker, syscall.SIGKILL) // a hung one; else it is gone already
			}
			report(b, took)
		})
	}
}

// report gives the median and the maximum in milliseconds.
func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(took[len(took)/2]), "p50-ms")
	b.ReportMetric(ms(took[len(took)-1]), "max-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkLook is the cost of one passing look.
func BenchmarkLook(b *testing.B) {
	h := startHAProxy(b, "", "-db")
	c := NewHAProxy(h.socket, h.monitor, 0)
	defer c.Close()
	for b.Loop() {
		if r := c.Check(b.Context()); r.State != Good {
			b.Fatal(r)
		}
	}
}
