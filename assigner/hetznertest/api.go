package hetznertest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Write is one request that asked for a change (any method but GET), whether or not it was granted.
type Write struct {
	Arrived  time.Time
	Accepted time.Time // zero if it never was

	Path   string
	Token  string     // label; "unknown"; never the token
	IP     netip.Addr // the address, or the network's first; invalid if there is none
	Server int64      // the target
	Node   string     // from a User-Agent like "buoy/1.0 (node=lb1; epoch=12)"
	Epoch  uint64     // likewise
	Action int64      // that it started, 0 if none
	Code   string     // of the refusal, "" if accepted or spoilt by a fault
}

// Writes returns, in order of arrival, the requests for change.
func (s *Server) Writes() []Write {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Write
	for _, w := range s.writes {
		out = append(out, *w)
	}
	return out
}

// Metadata is the handler for http://169.254.169.254/ as one server sees it.
func (s *Server) Metadata(server int64) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hetzner/v1/metadata/instance-id", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, strconv.FormatInt(server, 10))
	})
	return mux
}

// reply is an answer before a fault has spoilt it.
type reply struct {
	status int
	body   any
}

// API is the handler for https://api.hetzner.cloud/v1. A fault that drops a connection panics with
// http.ErrAbortHandler, which net/http's server understands.
func (s *Server) API() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, h func(*http.Request, *call) reply) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, h) })
	}
	handle("GET /floating_ips", s.list)
	handle("GET /floating_ips/{id}", s.get)
	handle("POST /floating_ips/{id}/actions/assign", s.assign)
	handle("GET /floating_ips/{id}/actions", s.listAddressActions)
	handle("GET /actions", s.listActions)
	handle("GET /actions/{id}", s.getAction)
	handle("GET /servers/{id}", s.getServer)
	handle("/", func(*http.Request, *call) reply { return notFound() })
	return mux
}

// call is what a handler needs besides the request.
type call struct {
	body  []byte
	fault Fault
	write *Write // nil for a GET
}

// serve is the way of every request: journal, fault, rights, handler, spoilt answer.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, h func(*http.Request, *call) reply) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	c := &call{body: body}
	s.process(w, r, c, h)
	if c.fault.Effect == Hang {
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
}

func (s *Server) process(w http.ResponseWriter, r *http.Request, c *call, h func(*http.Request, *call) reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	if r.Method != http.MethodGet {
		node, epoch := agent(r.UserAgent())
		c.write = &Write{Arrived: time.Now(), Path: r.URL.Path, Token: cmp.Or(t.label, "unknown"), Node: node, Epoch: epoch}
		s.writes = append(s.writes, c.write)
	}
	c.fault = s.takeFaultLocked(r)
	s.settleLocked()
	var rep reply
	switch {
	case !c.fault.processes():
	case !ok:
		rep = refuse("unauthorized", "unable to authenticate").reply()
	case !s.spendLocked():
		rep = refuse("rate_limit_exceeded", "limit of "+strconv.Itoa(s.perHour)+" requests per hour reached").reply()
	case t.readOnly && r.Method != http.MethodGet:
		rep = refuse("forbidden", "insufficient permissions for this request").reply()
	default:
		rep = h(r, c)
	}
	if e, ok := rep.body.(map[string]*apiError); ok && c.write != nil {
		c.write.Code = e["error"].Code
	}
	s.sendLocked(w, c.fault, rep)
}

// sendLocked answers, spoilt by the fault, with the headers of every answer.
func (s *Server) sendLocked(w http.ResponseWriter, f Fault, rep reply) {
	h := w.Header()
	h.Set("X-Correlation-Id", "c0ffee")
	h.Set("RateLimit-Limit", strconv.Itoa(s.perHour))
	h.Set("RateLimit-Remaining", strconv.Itoa(int(s.left)))
	full := time.Now().Add(time.Duration((float64(s.perHour) - s.left) / float64(s.perHour) * float64(time.Hour)))
	h.Set("RateLimit-Reset", strconv.FormatInt(full.Unix(), 10))
	switch f.Effect {
	case Hang:
		return
	case Drop:
		panic(http.ErrAbortHandler)
	case HTML:
		h.Set("Content-Type", "text/html")
		w.WriteHeader(cmp.Or(f.Status, http.StatusBadGateway))
		_, _ = io.WriteString(w, "<html><h1>Bad Gateway</h1></html>\n")
		return
	case Refuse:
		if secs := int(f.RetryAfter / time.Second); secs > 0 {
			h.Set("Retry-After", strconv.Itoa(secs))
		}
		rep = refuse(cmp.Or(f.Code, "server_error"), "by a fault").reply()
		rep.status = cmp.Or(f.Status, http.StatusInternalServerError)
	case Empty:
		rep = reply{http.StatusOK, struct{}{}}
	default:
	}
	text, err := json.Marshal(rep.body)
	if err != nil {
		panic(fmt.Sprintf("hetznertest: encode answer: %v", err)) // our own types always encode
	}
	if f.Effect == Truncate {
		text = text[:len(text)/2]
	}
	h.Set("Content-Type", "application/json")
	w.WriteHeader(cmp.Or(rep.status, http.StatusOK))
	_, _ = w.Write(text) // a client that hung up is its own business
}

// apiError is the body of every refusal.
type apiError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Details any    `json:"details"`
}

// statuses go with the codes. https://docs.hetzner.cloud/reference/cloud#description/errors
var statuses = map[string]int{
	"invalid_input": 422, "json_error": 400, "unauthorized": 401, "forbidden": 403, "not_found": 404,
	"locked": 423, "floating_ip_assigned": 422, "rate_limit_exceeded": 429,
}

func refuse(code, message string) *apiError { return &apiError{Code: code, Message: message} }

func (e *apiError) reply() reply {
	return reply{cmp.Or(statuses[e.Code], http.StatusInternalServerError), map[string]*apiError{"error": e}}
}

func notFound() reply { return refuse("not_found", "resource not found").reply() }

func (s *Server) list(r *http.Request, _ *call) reply {
	var all []any
	for _, f := range s.ips {
		if !f.deleted {
			all = append(all, s.show(f))
		}
	}
	return page(r, "floating_ips", all)
}

func (s *Server) listAddressActions(r *http.Request, _ *call) reply {
	f := s.byID(r)
	if f == nil {
		return notFound()
	}
	return s.actionsOf(r, func(a *action) bool { return a.ip == f })
}

// listActions insists on a list of numbers, as the API does since 2025.
func (s *Server) listActions(r *http.Request, _ *call) reply {
	ids := r.URL.Query()["id"]
	if len(ids) == 0 {
		return refuse("invalid_input", "invalid input in field 'id'").reply()
	}
	return s.actionsOf(r, func(a *action) bool { return slices.Contains(ids, strconv.FormatInt(a.id, 10)) })
}

func (s *Server) actionsOf(r *http.Request, wanted func(*action) bool) reply {
	status := r.URL.Query()["status"]
	var all []any
	for _, a := range s.actions {
		v := a.show()
		if wanted(a) && (len(status) == 0 || slices.Contains(status, v["status"].(string))) {
			all = append(all, v)
		}
	}
	return page(r, "actions", all)
}

// page is one page of a list.
func page(r *http.Request, key string, all []any) reply {
	number := func(name string, fallback int) int {
		n, err := strconv.Atoi(r.URL.Query().Get(name))
		if err != nil || n < 1 {
			return fallback
		}
		return n
	}
	n, size := number("page", 1), min(number("per_page", 25), 50)
	last := max(1, (len(all)+size-1)/size)
	pagination := map[string]any{
		"page": n, "per_page": size, "previous_page": nil, "next_page": nil, "last_page": last, "total_entries": len(all),
	}
	if n > 1 {
		pagination["previous_page"] = n - 1
	}
	if n < last {
		pagination["next_page"] = n + 1
	}
	items := append([]any{}, all[min((n-1)*size, len(all)):min(n*size, len(all))]...)
	return reply{http.StatusOK, map[string]any{key: items, "meta": map[string]any{"pagination": pagination}}}
}

func (s *Server) get(r *http.Request, _ *call) reply {
	f := s.byID(r)
	if f == nil {
		return notFound()
	}
	return reply{http.StatusOK, map[string]any{"floating_ip": s.show(f)}}
}

func (s *Server) assign(r *http.Request, c *call) reply {
	var body struct {
		Server int64 `json:"server"`
	}
	if err := json.Unmarshal(c.body, &body); err != nil {
		return refuse("json_error", "invalid JSON").reply()
	}
	c.write.Server = body.Server
	f := s.byID(r)
	if f == nil {
		return notFound()
	}
	c.write.IP = f.prefix.Addr()
	if refusal := s.refusalLocked(f, body.Server); refusal != nil {
		return refusal.reply()
	}
	a := s.startLocked(f, body.Server, c.fault.Effect)
	c.write.Accepted, c.write.Action = a.begun, a.id
	return reply{http.StatusCreated, map[string]any{"action": a.show()}}
}

func (s *Server) getAction(r *http.Request, _ *call) reply {
	i := pathID(r) - firstAction
	if i < 0 || i >= int64(len(s.actions)) || s.actions[i].fate == ActionGone {
		return notFound()
	}
	return reply{http.StatusOK, map[string]any{"action": s.actions[i].show()}}
}

func (s *Server) getServer(r *http.Request, _ *call) reply {
	id := pathID(r)
	if !s.servers[id] {
		return notFound()
	}
	return reply{http.StatusOK, map[string]any{"server": map[string]any{
		"id": id, "name": fmt.Sprintf("server-%d", id), "status": "running", "created": "2026-01-02T03:04:05+00:00",
	}}}
}

func (s *Server) byID(r *http.Request) *floatingIP {
	i := pathID(r) - firstIP
	if i < 0 || i >= int64(len(s.ips)) || s.ips[i].deleted {
		return nil
	}
	return s.ips[i]
}

// pathID is the number in the path, one that nothing has if it is none.
func pathID(r *http.Request) int64 {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return math.MaxInt64
	}
	return id
}

func (s *Server) show(f *floatingIP) map[string]any {
	kind, text := "ipv4", f.prefix.Addr().String()
	if f.prefix.Addr().Is6() {
		kind, text = "ipv6", f.prefix.String()
	}
	holder := f.holder
	if f.pending != nil && s.pendingNew {
		holder = f.pending.server
	}
	var server any
	if holder != 0 {
		server = holder
	}
	return map[string]any{
		"id": f.id, "name": fmt.Sprintf("ip-%d", f.id), "description": nil, "created": "2026-01-02T03:04:05+00:00",
		"ip": text, "type": kind, "server": server, "blocked": f.blocked,
		"dns_ptr": []any{}, "labels": map[string]string{}, "protection": map[string]bool{"delete": false},
		"home_location": map[string]any{"id": 1, "name": "fsn1", "network_zone": "eu-central"},
	}
}

func (a *action) show() map[string]any {
	v := map[string]any{
		"id": a.id, "command": "assign_floating_ip", "status": "running", "progress": 0,
		"started": a.begun.UTC().Format(time.RFC3339), "finished": nil, "error": nil,
		"resources": []any{
			map[string]any{"id": a.server, "type": "server"}, map[string]any{"id": a.ip.id, "type": "floating_ip"},
		},
	}
	if a.ip.pending == a {
		return v
	}
	v["status"], v["progress"], v["finished"] = "success", 100, a.ends.UTC().Format(time.RFC3339)
	if a.fate == ActionError {
		v["status"], v["error"] = "error", refuse("action_failed", "action failed")
	}
	return v
}

var (
	nodeInAgent  = regexp.MustCompile(`\bnode=([^;)\s]+)`)
	epochInAgent = regexp.MustCompile(`\bepoch=(\d+)`)
)

func agent(text string) (node string, epoch uint64) {
	if m := nodeInAgent.FindStringSubmatch(text); m != nil {
		node = m[1]
	}
	if m := epochInAgent.FindStringSubmatch(text); m != nil {
		epoch, _ = strconv.ParseUint(m[1], 10, 64) // absent is 0, and so is nonsense
	}
	return node, epoch
}
