package probe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

const (
	postGap     = 2 * time.Second // between two POSTs (flipop PR #11: a quick second move may go wrong)
	slowDown    = 5 * time.Second // after a 429
	moveWait    = 3 * time.Minute // the longest that a move is followed
	restoreWait = 3 * time.Minute // the longest that the way back is tried
	// lostWait is how long a POST without an answer may still surface: the client gave up on it
	// after requestTimeout, the cloud may not have.
	lostWait = 10 * time.Second
	inFlight = "in-progress"
)

// Options say what to measure. IP, Between, Token and APIURL are required.
type Options struct {
	IP          netip.Addr
	Between     [2]int // droplet IDs, both of which serve
	Rounds      int    // there and back; at least 1
	URL         string // of the service behind the address
	APIURL      string
	MetadataURL string
	Token       string
	UserAgent   string
	Poll        time.Duration // between two reads of the API: address and action in turn
	Patience    time.Duration // how long after a move its effects are waited for
	Version     string
	Progress    func(format string, args ...any)
}

// Probe is one run. Not safe for concurrent use.
type Probe struct {
	o        Options
	api      *api
	web      *web
	metadata *metadata
	report   *Report

	home int            // where the address was and ends
	here int            // the droplet that the probe runs on, 0 if it is none of the two
	rest map[int][]look // answers of the service while nothing moved, by droplet
	lost time.Time      // when a POST was sent that has no answer

	restoreWait, lostWait time.Duration
}

// New makes a Probe and asks nobody. An error is one of the options.
func New(o Options) (*Probe, error) {
	api, err := newAPI(o)
	if err != nil {
		return nil, err
	}
	metadata, err := newMetadata(o.MetadataURL, o.IP)
	if err != nil {
		return nil, err
	}
	return &Probe{
		o: o, api: api, web: newWeb(o.URL), metadata: metadata, rest: map[int][]look{}, restoreWait: restoreWait, lostWait: lostWait,
		report: &Report{Version: o.Version, IP: o.IP, Between: o.Between, Rounds: o.Rounds, Poll: o.Poll.String(), URL: o.URL},
	}, nil
}

// Close ends connections.
func (p *Probe) Close() { p.api.close() }

// Check looks, without changing anything, where the address is; it has to be at one of the two
// droplets and at rest.
func (p *Probe) Check(ctx context.Context) (holder int, err error) {
	h := p.api.get(ctx)
	switch {
	case !h.good():
		return 0, fmt.Errorf("look up %s: %s", p.o.IP, h.Answer)
	case h.locked:
		return 0, fmt.Errorf("%s is locked: an action is under way", p.o.IP)
	case h.droplet != p.o.Between[0] && h.droplet != p.o.Between[1]:
		return 0, fmt.Errorf("%s is held by %s, which is none of the two", p.o.IP, nameOf(h.droplet))
	}
	p.home = h.droplet
	if droplet, _, err := p.metadata.ask(ctx); err == nil && (droplet == p.o.Between[0] || droplet == p.o.Between[1]) {
		p.here = droplet
	}
	p.report.Home, p.report.Here = p.home, p.here
	return h.droplet, nil
}

func nameOf(droplet int) string {
	if droplet == 0 {
		return "nobody"
	}
	return fmt.Sprintf("droplet %d", droplet)
}

func (p *Probe) other(droplet int) int {
	if droplet == p.o.Between[0] {
		return p.o.Between[1]
	}
	return p.o.Between[0]
}

// Run measures, after Check, and brings the address back to where Check found it, also when ctx
// ends. The report holds what was measured, also beside an error.
func (p *Probe) Run(ctx context.Context) (*Report, error) {
	p.report.Begun = time.Now().UTC()
	err := p.measure(ctx)
	back := p.restore(ctx)
	p.report.Restored = back == nil
	p.report.Limits = p.api.used()
	if s := p.sign(); s != nil {
		p.report.ToldBy = s.trait
	}
	p.report.finish()
	switch {
	case back == nil:
		return p.report, err
	case err == nil || ctx.Err() != nil: // an interrupt is no news beside this
		return p.report, back
	}
	return p.report, fmt.Errorf("%w; and %w", err, back)
}

func (p *Probe) measure(ctx context.Context) error {
	p.rest[p.home] = p.web.rest(ctx)
	if err := p.sameHolder(ctx); err != nil {
		return err
	}
	for round := range p.o.Rounds {
		for _, to := range []int{p.other(p.home), p.home} {
			p.o.Progress("round %d of %d: moving %s to droplet %d", round+1, p.o.Rounds, p.o.IP, to)
			if err := p.move(ctx, to); err != nil {
				return fmt.Errorf("round %d, to droplet %d: %w", round+1, to, err)
			}
		}
	}
	return nil
}

// sameHolder asks to assign the address to the droplet that has it: what does the refusal say?
func (p *Probe) sameHolder(ctx context.Context) error {
	p.o.Progress("asking for the droplet that holds the address already")
	m, err := p.post(ctx, p.home)
	if err != nil {
		return err
	}
	p.report.SameHolder = &m.Answer
	if !m.good() {
		return nil
	}
	return p.follow(ctx, &observed{to: p.home, post: m})
}

func (p *Probe) post(ctx context.Context, droplet int) (moved, error) {
	m, err := p.api.assign(ctx, droplet)
	if err == nil && m.Status == 0 {
		p.lost = m.at
	}
	return m, err
}

// move moves the address and watches.
func (p *Probe) move(ctx context.Context, to int) error {
	o := &observed{to: to, first: len(p.report.Moves) == 0}
	err := p.atRest(ctx)
	if err == nil {
		err = p.api.gap(ctx)
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	looks := p.web.watch(watching)
	flipped := func() time.Time { return time.Time{} }
	if p.here != 0 {
		flipped = p.metadata.flip(watching, p.here == to)
	}
	if err == nil {
		o.post, err = p.post(ctx, to)
	}
	if err == nil && !o.post.good() {
		err = fmt.Errorf("the API does not accept it: %s", o.post.Answer)
	}
	if err == nil {
		err = p.follow(ctx, o)
	}
	if err == nil {
		err = p.aftermath(ctx, to, flipped)
	}
	stop()
	o.looks, o.flipped = looks(), flipped()
	if err == nil {
		p.report.Moves = append(p.report.Moves, p.judge(o))
	}
	return err
}

// atRest waits until the address is unlocked: a second assign may have been queued.
func (p *Probe) atRest(ctx context.Context) error {
	deadline := time.Now().Add(moveWait)
	for {
		h := p.api.get(ctx)
		if h.good() && !h.locked {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not at rest: %s", p.o.IP, h.String())
		}
		if err := sleep(ctx, max(p.o.Poll, 500*time.Millisecond)); err != nil {
			return err
		}
	}
}

// aftermath waits until the new holder answers and the metadata has flipped, for Patience at
// most. Only the first time at each droplet its answers are learned.
func (p *Probe) aftermath(ctx context.Context, to int, flipped func() time.Time) error {
	deadline := time.Now().Add(p.o.Patience)
	for {
		at := p.web.rest(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		answers := false
		switch known := p.rest[to]; {
		case known != nil:
			answers = p.sign() == nil || p.allOf(at, to)
		default:
			// What does not answer with HTTP may still be on its way, unless it lasts.
			answers = allServed(at) && tell(p.home, p.rest[p.home], to, at) != nil
			if answers || time.Now().After(deadline) {
				p.rest[to] = at
			}
		}
		if answers && (p.here == 0 || !flipped().IsZero()) || time.Now().After(deadline) {
			return nil
		}
	}
}

func allServed(looks []look) bool {
	return !slices.ContainsFunc(looks, func(l look) bool { return !l.served() })
}

func (p *Probe) allOf(looks []look, droplet int) bool {
	for _, l := range looks {
		if p.sign().of(l) != droplet {
			return false
		}
	}
	return true
}

// sign is what tells the two droplets' answers apart; nil if nothing does, or not yet.
func (p *Probe) sign() *sign {
	a, b := p.o.Between[0], p.o.Between[1]
	return tell(a, p.rest[a], b, p.rest[b])
}

// follow reads address and action in turn until both say that the move is over.
func (p *Probe) follow(ctx context.Context, o *observed) error {
	deadline := time.Now().Add(moveWait)
	for turn := 0; ; turn++ {
		if err := sleep(ctx, p.o.Poll); err != nil {
			return err
		}
		answer := p.read(ctx, o, turn)
		switch answer.Status {
		case http.StatusTooManyRequests:
			_ = sleep(ctx, slowDown) // its end shows above
		case http.StatusUnauthorized:
			return fmt.Errorf("the token is no longer accepted: %s", answer)
		}
		if o.over() {
			return nil
		}
		if o.action == "errored" {
			return errors.New("the action has ended as errored")
		}
		if err := p.second(ctx, o); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not over after %v; the action is %q, the last look says %s", moveWait, o.action, o.last())
		}
	}
}

// read makes one read for follow.
func (p *Probe) read(ctx context.Context, o *observed, turn int) Answer {
	if turn%2 == 0 || !o.completed.IsZero() || o.post.action == 0 {
		h := p.api.get(ctx)
		if h.good() {
			o.saw(h)
		}
		return h.Answer
	}
	answer, state := p.api.action(ctx, o.post.action)
	o.actionIs(answer, state)
	return answer
}

// second asks again while the first move of all is under way: refused, or queued? It asks for
// the same droplet, so that it does no harm.
func (p *Probe) second(ctx context.Context, o *observed) error {
	if !o.first || p.report.Second != nil || time.Since(o.post.at) < postGap {
		return nil
	}
	m, err := p.post(ctx, o.to)
	if err == nil {
		p.report.Second = &m.Answer
	}
	return err
}

// restore brings the address back, whatever ctx says.
func (p *Probe) restore(ctx context.Context) error {
	if ctx.Err() != nil {
		p.o.Progress("interrupted: making sure that %s is at droplet %d, where it was; a second interrupt leaves it where it is", p.o.IP, p.home)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.restoreWait)
	defer cancel()
	for {
		h := p.api.get(ctx)
		settled := p.lost.IsZero() || time.Since(p.lost) > p.lostWait
		switch {
		case !h.good() || h.locked || !settled:
		case h.droplet == p.home:
			p.o.Progress("%s is at droplet %d, where it was", p.o.IP, p.home)
			return nil
		default:
			p.o.Progress("%s is at %s: moving it back to droplet %d", p.o.IP, nameOf(h.droplet), p.home)
			if m, err := p.post(ctx, p.home); err == nil && !m.good() {
				p.o.Progress("not accepted: %s", m.Answer)
			}
		}
		if sleep(ctx, max(p.o.Poll, 500*time.Millisecond)) != nil {
			return fmt.Errorf("%s IS NOT BACK at droplet %d within %v (last seen: %s); move it: buoy assign %[1]s %[2]d",
				p.o.IP, p.home, p.restoreWait, h.String())
		}
	}
}

// String is where the address is, in words.
func (h holding) String() string {
	switch {
	case !h.good():
		return h.Answer.String()
	case h.locked:
		return nameOf(h.droplet) + ", locked"
	}
	return nameOf(h.droplet)
}
