package probe

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	webPeriod  = 50 * time.Millisecond
	webTimeout = time.Second
	webAtOnce  = 25 // looks that hang while the address is on its way
	restLooks  = 5
)

// clocks are headers that may stand still for a few looks and say nothing of who answers.
var clocks = []string{"Date", "Age", "Expires"}

// look is one request to the service behind the address, on a connection of its own.
type look struct {
	begun, ended time.Time
	traits       map[string]string
}

// traitAnswer is the HTTP status, or in a word why there is none. Every look has it.
const traitAnswer = "answer"

// served says that it was answered with HTTP.
func (l look) served() bool {
	_, err := strconv.Atoi(l.traits[traitAnswer])
	return err == nil
}

// web asks the service.
type web struct {
	url    string
	client *http.Client
}

func newWeb(url string) *web {
	return &web{url: url, client: &http.Client{
		Timeout: webTimeout,
		// No proxy: it is the way of the packets that counts. Nobody is trusted with anything, so
		// the certificate of a service that is asked by its address need not fit.
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// look asks once.
func (w *web) look(ctx context.Context) look {
	l := look{begun: time.Now()}
	l.traits = w.ask(ctx)
	l.ended = time.Now()
	return l
}

func (w *web) ask(ctx context.Context) map[string]string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url, nil)
	if err != nil {
		return map[string]string{traitAnswer: "no URL"}
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return map[string]string{traitAnswer: reasonOf(err)}
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return map[string]string{traitAnswer: reasonOf(err)}
	}
	sum := sha256.Sum256(content)
	traits := map[string]string{traitAnswer: strconv.Itoa(resp.StatusCode), "body": hex.EncodeToString(sum[:8])}
	for name, values := range resp.Header {
		if !slices.Contains(clocks, name) {
			traits["header "+name] = values[0]
		}
	}
	return traits
}

func reasonOf(err error) string {
	var network net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return "timeout"
	}
	return "cut off"
}

// rest asks a few times while nothing moves.
func (w *web) rest(ctx context.Context) []look {
	var looks []look
	for range restLooks {
		looks = append(looks, w.look(ctx))
		if sleep(ctx, webPeriod) != nil {
			break
		}
	}
	return looks
}

// watch asks every 50 ms, whether or not the last look has ended, until ctx ends.
func (w *web) watch(ctx context.Context) func() []look {
	var (
		mu    sync.Mutex
		looks []look
		all   sync.WaitGroup
	)
	slots := make(chan struct{}, webAtOnce)
	all.Go(func() {
		tick := time.NewTicker(webPeriod)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			select {
			case slots <- struct{}{}:
			default:
				continue
			}
			all.Go(func() {
				defer func() { <-slots }()
				l := w.look(ctx)
				if ctx.Err() != nil {
					return // cut off by us
				}
				mu.Lock()
				defer mu.Unlock()
				looks = append(looks, l)
			})
		}
	})
	return func() []look {
		all.Wait()
		return looks
	}
}

// sign is how the two droplets' answers differ.
type sign struct {
	trait  string
	values map[int]string // by droplet
}

// tell finds what every answer at rest of one droplet has in common and the other's have not: the
// status or its absence first, then the body, then the headers by name. nil if there is nothing.
func tell(a int, atA []look, b int, atB []look) *sign {
	names := map[string]bool{}
	for _, l := range slices.Concat(atA, atB) {
		for name := range l.traits {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) { // answer, body, header …
		va, okA := constant(atA, name)
		vb, okB := constant(atB, name)
		if okA && okB && va != vb {
			return &sign{name, map[int]string{a: va, b: vb}}
		}
	}
	return nil
}

// constant is the value that a trait has in all looks; "" where all lack it.
func constant(looks []look, trait string) (string, bool) {
	for _, l := range looks {
		if l.traits[trait] != looks[0].traits[trait] {
			return "", false
		}
	}
	if len(looks) == 0 {
		return "", false
	}
	return looks[0].traits[trait], true
}

// of is the droplet that a look was answered by; 0 if that cannot be told.
func (s *sign) of(l look) int {
	for droplet, value := range s.values {
		if l.traits[s.trait] == value && (s.trait == traitAnswer || l.served()) {
			return droplet
		}
	}
	return 0
}
