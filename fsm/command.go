package fsm

import "time"

// Command is one change of State. Exactly one field is set. Encoded it travels in a
// versioned envelope; a field that this version does not know is skipped with a
// warning, so that versions N-1 and N can share a cluster.
type Command struct {
	// Found names the cluster; only the first one counts.
	Found *Found `json:"found,omitempty"`
	// Member adds or replaces a member's entry.
	Member *Member `json:"member,omitempty"`
	// Report replaces a member's report unless it is older than the one stored.
	Report *Report `json:"report,omitempty"`
	// Ticket takes the right to write to the cloud.
	Ticket *Ticket `json:"ticket,omitempty"`
	// Release gives the ticket with this Epoch, Node and Seq back.
	Release *Ticket `json:"release,omitempty"`
	// Claim records the holder of a floating IP.
	Claim *Holding `json:"claim,omitempty"`
	// Handover announces a planned change of leader.
	Handover *Handover `json:"handover,omitempty"`
	// Transition appends to the history.
	Transition *Transition `json:"transition,omitempty"`
	// Leads says that a member has become leader: Preferred ends if it is another.
	Leads *Leads `json:"leads,omitempty"`
	// Drain marks a member as drained; a new mark replaces the old one.
	Drain *Drain `json:"drain,omitempty"`
	// Undrain ends a member's mark.
	Undrain *Undrain `json:"undrain,omitempty"`
	// Pause forbids all writes to the cloud; the first of several counts.
	Pause *Pause `json:"pause,omitempty"`
	// Resume ends a pause.
	Resume *Resume `json:"resume,omitempty"`
}

// Resume ends State.Paused, if there is a pause.
type Resume struct{}

// Found names a new cluster.
type Found struct {
	ClusterID string `json:"cluster_id"`
}

// Leads is committed by a leader at the start of its term when State.Preferred names
// somebody else: the operator's wish has been overtaken by events.
type Leads struct {
	Member string `json:"member"`
}

// Undrain ends the mark of a member, if it has one.
type Undrain struct {
	Member string `json:"member"`
	// Until, unless zero, is the Until of the only mark that is meant: the end of one that
	// has run out must not end the one that has just replaced it.
	Until time.Time `json:"until,omitzero"`
}
