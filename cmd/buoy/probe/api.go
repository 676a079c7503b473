package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	requestTimeout = 4 * time.Second
	maxAnswer      = 1 << 20 // bytes
)

// api makes single requests; safe for concurrent use.
type api struct {
	base    *url.URL
	token   string
	agent   string
	address string        // path of the address
	between time.Duration // from the answer to one POST to the next POST
	client  *http.Client

	mu     sync.Mutex
	limits Limits
	posted time.Time // the last POST
}

func newAPI(o Options) (*api, error) {
	base, err := url.Parse(o.APIURL)
	if err != nil || (base.Scheme != "http" && base.Scheme != "https") || base.Host == "" || base.User != nil {
		return nil, fmt.Errorf("want http(s)://HOST[:PORT]/ as the API's address")
	}
	kind := "v2/reserved_ips/"
	if o.IP.Is6() {
		kind = "v2/reserved_ipv6/"
	}
	return &api{between: postGap, base: base, token: o.Token, agent: o.UserAgent, address: kind + o.IP.String(), client: &http.Client{
		Timeout:       requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (a *api) close() { a.client.CloseIdleConnections() }

// Answer is what the API answered to a request.
type Answer struct {
	Status  int    `json:"status"` // 0: no answer
	ID      string `json:"id,omitempty"`
	Message string `json:"message,omitempty"`
}

// String is the answer in a line.
func (a Answer) String() string {
	switch {
	case a.Status == 0:
		return "no answer: " + a.Message
	case a.ID == "" && a.Message == "":
		return strconv.Itoa(a.Status)
	}
	return fmt.Sprintf("%d %s %q", a.Status, a.ID, a.Message)
}

func (a Answer) good() bool { return a.Status/100 == 2 }

// holding is where the address is, as one GET shows it.
type holding struct {
	Answer
	asked, at time.Time // when the request began and its answer was in
	droplet   int       // 0: null
	locked    bool
}

// moved is an accepted or refused POST.
type moved struct {
	Answer
	asked, at time.Time
	action    int
	state     string
}

type body struct {
	ID      string `json:"id"`
	Message string `json:"message"`
	IP4     *where `json:"reserved_ip"`
	IP6     *where `json:"reserved_ipv6"`
	Action  *struct {
		ID     int    `json:"id"`
		Status string `json:"status"`
	} `json:"action"`
}

type where struct {
	IP      netip.Addr `json:"ip"`
	Locked  bool       `json:"locked"`
	Droplet *struct {
		ID int `json:"id"`
	} `json:"droplet"`
}

// do makes one request; what failed is told in the Answer.
func (a *api) do(ctx context.Context, method, path string, content any) (Answer, body) {
	var text []byte
	if content != nil {
		text, _ = json.Marshal(content) // of strings and numbers
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base.JoinPath(path).String(), bytes.NewReader(text))
	if err != nil {
		return Answer{Message: err.Error()}, body{}
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", a.agent)
	resp, err := a.client.Do(req)
	if err != nil {
		return Answer{Message: err.Error()}, body{}
	}
	defer resp.Body.Close()
	a.note(resp.Header, resp.StatusCode)
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return Answer{Message: err.Error()}, body{}
	}
	var b body
	if err := json.Unmarshal(raw, &b); err != nil {
		return Answer{Status: resp.StatusCode, ID: "not JSON", Message: short(string(raw))}, body{}
	}
	return Answer{Status: resp.StatusCode, ID: short(b.ID), Message: short(b.Message)}, b
}

// note keeps the limits of the newest answer.
func (a *api) note(h http.Header, status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.limits.Requests++
	number := func(name string) int {
		n, err := strconv.Atoi(h.Get(name))
		if err != nil {
			return -1
		}
		return n
	}
	a.limits.Limit, a.limits.Remaining = number("Ratelimit-Limit"), number("Ratelimit-Remaining")
	if reset := number("Ratelimit-Reset"); reset > 0 {
		a.limits.ResetIn = time.Until(time.Unix(int64(reset), 0)).Round(time.Second).String()
	}
	if status == http.StatusTooManyRequests {
		a.limits.Refused++
		a.limits.RetryAfter = h.Get("Retry-After")
	}
}

func (a *api) get(ctx context.Context) holding {
	h := holding{asked: time.Now()}
	var b body
	h.Answer, b = a.do(ctx, http.MethodGet, a.address, nil)
	h.at = time.Now()
	found := b.IP4
	if found == nil {
		found = b.IP6
	}
	switch {
	case !h.good():
	case found == nil:
		h.Answer = Answer{Message: "the answer is not about an address: " + h.Answer.String()}
	default:
		h.locked = found.Locked
		if found.Droplet != nil {
			h.droplet = found.Droplet.ID
		}
	}
	return h
}

// gap waits until the next POST may be made.
func (a *api) gap(ctx context.Context) error {
	a.mu.Lock()
	wait := a.between - time.Since(a.posted)
	a.mu.Unlock()
	return sleep(ctx, wait)
}

// assign makes one POST, not earlier than the gap after the last one.
func (a *api) assign(ctx context.Context, droplet int) (moved, error) {
	if err := a.gap(ctx); err != nil {
		return moved{}, err
	}
	// Once begun the request is not cut off: whether it was accepted must be known. It ends with
	// the client's timeout.
	ctx = context.WithoutCancel(ctx)
	m := moved{asked: time.Now()}
	var b body
	m.Answer, b = a.do(ctx, http.MethodPost, a.address+"/actions", map[string]any{"type": "assign", "droplet_id": droplet})
	m.at = time.Now()
	a.mu.Lock()
	a.posted = m.at
	a.mu.Unlock()
	if b.Action != nil {
		m.action, m.state = b.Action.ID, b.Action.Status
	}
	return m, nil
}

// action gets the status of an action.
func (a *api) action(ctx context.Context, id int) (Answer, string) {
	path := fmt.Sprintf("%s/actions/%d", a.address, id)
	if strings.HasPrefix(a.address, "v2/reserved_ipv6/") {
		path = fmt.Sprintf("v2/actions/%d", id) // IPv6 addresses have no list of their own
	}
	answer, b := a.do(ctx, http.MethodGet, path, nil)
	if !answer.good() || b.Action == nil {
		return answer, ""
	}
	return answer, b.Action.Status
}

func (a *api) used() Limits {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.limits
}

// short makes a stranger's text fit for a line.
func short(s string) string {
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)), " ")
	if r := []rune(s); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return s
}

// sleep waits for d or until ctx ends, whose cause it then returns.
func sleep(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
