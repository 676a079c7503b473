package probe

import (
	"net/http"
	"time"
)

// observed is what was seen of one move. All times are when the answer was in.
type observed struct {
	to    int
	first bool // of all moves
	post  moved

	views     []seenView
	action    string    // its last status
	completed time.Time // when it was first seen as no longer in progress
	unknown   bool      // its ID answers 404 or 403
	arrived   time.Time // when the address was first seen at `to`, not locked, after having been away or locked
	looks     []look
	flipped   time.Time // when the metadata showed the change
}

// seenView is a state of the address while the move was under way.
type seenView struct {
	droplet     int
	locked      bool
	first, last time.Time
}

// saw notes what a GET of the address showed.
func (o *observed) saw(h holding) {
	if n := len(o.views) - 1; n >= 0 && o.views[n].droplet == h.droplet && o.views[n].locked == h.locked {
		o.views[n].last = h.at
	} else {
		o.views = append(o.views, seenView{h.droplet, h.locked, h.at, h.at})
	}
	if h.droplet == o.to && !h.locked {
		if o.arrived.IsZero() {
			o.arrived = h.at
		}
		return
	}
	o.arrived = time.Time{} // it had only been announced
}

// actionIs notes what a GET of the action answered.
func (o *observed) actionIs(answer Answer, state string) {
	switch {
	case answer.Status == http.StatusNotFound, answer.Status == http.StatusForbidden:
		// For a moment, or for ever (terraform-provider-digitalocean #1557), or for want of a scope.
		o.unknown = true
	case state == "":
	default:
		o.unknown, o.action = false, state
		if state != inFlight && o.completed.IsZero() {
			o.completed = time.Now()
		}
	}
}

// over says that the address is there and that the action, if it can be seen, has ended.
func (o *observed) over() bool {
	return !o.arrived.IsZero() && (o.post.action == 0 || o.unknown || !o.completed.IsZero())
}

func (o *observed) last() string {
	if len(o.views) == 0 {
		return "nothing"
	}
	v := o.views[len(o.views)-1]
	return holding{Answer: Answer{Status: http.StatusOK}, droplet: v.droplet, locked: v.locked}.String()
}
