package dotest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

const maxBody = 64 << 10

// call is one request to the API on its way through the server.
type call struct {
	r      *http.Request
	id     string      // x-request-id
	header http.Header // of the answer
	token  *token      // never nil; without rights if it is not known
	rate   rate
	node   string

	body    requestBody
	bodyErr error
	write   *Write // the journal's entry, nil for a GET; guarded by Server.mu
	effect  Effect // of the fault that hit this call
}

// requestBody has the fields of all request bodies together.
type requestBody struct {
	Type       string     `json:"type"`
	DropletID  lenientInt `json:"droplet_id"`
	Region     string     `json:"region"`
	RegionSlug string     `json:"region_slug"`
}

// lenientInt takes 101 and "101": python-digitalocean sends what it was given.
type lenientInt int

func (n *lenientInt) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	if text == "null" {
		return nil
	}
	v, err := strconv.Atoi(text)
	*n = lenientInt(v)
	return err
}

// reply is the answer to a call. A nil body is sent as an empty one.
type reply struct {
	status   int
	body     any
	html     bool
	truncate bool
}

// handler computes the true answer; it takes the server's lock itself.
type handler func(*call) reply

// endpoint is the way of every request: journal, fault, rights, handler,
// spoiled answer.
func (s *Server) endpoint(scope string, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.begin() {
			panic(http.ErrAbortHandler)
		}
		defer s.work.Done()
		c, err := s.receive(w.Header(), r)
		if err != nil {
			panic(http.ErrAbortHandler) // the client went away while sending
		}
		fault := s.takeFault(c)
		if fault.Delay > 0 && !s.sleep(fault.Delay) {
			panic(http.ErrAbortHandler)
		}
		c.effect = fault.Effect
		var rep reply
		if fault.processes() {
			rep = s.process(c, scope, h)
		}
		switch fault.Effect {
		case Hang:
			s.note(c, 0, "left without an answer by a fault")
			select {
			case <-r.Context().Done():
			case <-s.ctx.Done():
			}
			panic(http.ErrAbortHandler)
		case Drop:
			s.note(c, 0, "connection dropped by a fault")
			panic(http.ErrAbortHandler)
		default:
			rep = fault.spoil(c, rep)
			s.note(c, rep.status, rep.outcome())
			c.send(w, rep)
		}
	})
}

// begin counts a request in, so that Close waits for it; false when closed.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Add(1)
	return true
}

// receive reads the request completely, so that from here on nothing depends
// on the client, and opens its journal entry.
func (s *Server) receive(header http.Header, r *http.Request) (*call, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return nil, err
	}
	c := &call{r: r, id: newUUID(), header: header}
	if len(body) > 0 {
		c.bodyErr = json.Unmarshal(body, &c.body)
	}
	var epoch uint64
	c.node, epoch = parseAgent(r.UserAgent())

	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	c.token = s.identifyLocked(r.Header.Get("Authorization"))
	c.rate = c.token.spend(now, s.opts.Limits)
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return c, nil
	}
	ip, _ := netip.ParseAddr(r.PathValue("ip")) // invalid where the path has none
	c.write = &Write{
		Seq:       len(s.writes) + 1,
		Arrived:   now,
		Method:    r.Method,
		Path:      r.URL.Path,
		Token:     c.token.label,
		IP:        ip,
		Droplet:   int(c.body.DropletID),
		UserAgent: r.UserAgent(),
		Node:      c.node,
		Epoch:     epoch,
		Outcome:   "in flight",
	}
	s.writes = append(s.writes, c.write)
	return c, nil
}

// process checks the rights of the caller, in the order of the real API, and
// then lets the handler answer.
func (s *Server) process(c *call, scope string, h handler) reply {
	switch {
	case !s.valid(c.token):
		return failure(http.StatusUnauthorized, "Unable to authenticate you")
	case c.rate.refused:
		if c.rate.retryAfter > 0 {
			c.header.Set("retry-after", strconv.Itoa(c.rate.retryAfter))
		}
		return failure(http.StatusTooManyRequests, "API rate limit exceeded.")
	case !c.token.may(scope):
		return failure(http.StatusForbidden, "You are not authorized to perform this operation")
	case c.bodyErr != nil:
		return failure(http.StatusBadRequest, "The request body is not valid JSON of the expected form: "+c.bodyErr.Error())
	}
	return h(c)
}

// acceptLocked records that the cloud has taken the change c asks for.
func (c *call) acceptLocked(a *action) {
	c.write.Accepted = time.Now()
	if a != nil {
		c.write.Action = a.id
	}
}

// note records how a request for change ended, before the client can know.
func (s *Server) note(c *call, status int, outcome string) {
	if c.write == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.write.Status = status
	if !c.write.Accepted.IsZero() {
		outcome = "accepted"
	}
	c.write.Outcome = outcome
}

func (rep reply) outcome() string {
	if e, ok := rep.body.(*apiError); ok {
		return "refused: " + e.Message
	}
	return "kept from the cloud by a fault"
}

// send writes the answer with the headers that the real API always sends.
func (c *call) send(w http.ResponseWriter, rep reply) {
	c.header.Set("x-request-id", c.id)
	c.rate.describe(c.header)
	if rep.status == http.StatusTooManyRequests {
		c.header.Set("ratelimit-remaining", "0")
	}
	if rep.html {
		c.header.Set("Content-Type", "text/html")
		w.WriteHeader(rep.status)
		_, _ = fmt.Fprintf(w, "<html><head><title>%d</title></head><body><center><h1>%[1]d %s</h1></center></body></html>\n",
			rep.status, http.StatusText(rep.status))
		return
	}
	if rep.body == nil {
		w.WriteHeader(rep.status)
		return
	}
	if e, ok := rep.body.(*apiError); ok {
		e.RequestID = c.id
	}
	text, err := json.Marshal(rep.body)
	if err != nil {
		panic(fmt.Sprintf("dotest: encode answer: %v", err)) // our own types always encode
	}
	if rep.truncate {
		text = text[:len(text)/2]
	}
	c.header.Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(rep.status)
	_, _ = w.Write(text) // a client that hung up is its own business
}

// apiError is the body of every refusal.
type apiError struct {
	ID        string `json:"id"`
	Message   string `json:"message"`
	RequestID string `json:"request_id"`
}

// errorIDs are the ids DigitalOcean uses with each status.
var errorIDs = map[int]string{
	http.StatusBadRequest:          "bad_request",
	http.StatusUnauthorized:        "unauthorized",
	http.StatusForbidden:           "forbidden",
	http.StatusNotFound:            "not_found",
	http.StatusConflict:            "conflict",
	http.StatusUnprocessableEntity: "unprocessable_entity",
	http.StatusTooManyRequests:     "too_many_requests",
	http.StatusServiceUnavailable:  "service_unavailable",
}

// failure is a refusal; an empty message stands for the status's own text.
func failure(status int, message string) reply {
	return reply{status: status, body: &apiError{
		ID:      cmp.Or(errorIDs[status], "server_error"),
		Message: cmp.Or(message, http.StatusText(status)),
	}}
}

func notFound() reply {
	return failure(http.StatusNotFound, "The resource you were accessing could not be found.")
}

func unprocessable(message string) reply {
	return failure(http.StatusUnprocessableEntity, message)
}
