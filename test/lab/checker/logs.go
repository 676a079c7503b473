package checker

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// signs are found in the log of a daemon that crashed, or raced.
var signs = []string{"DATA RACE", "panic: ", "fatal error: "}

// logLine is a line of a daemon's log, as far as it matters here.
type logLine struct {
	Message string        `json:"@message"`
	Epoch   uint64        `json:"epoch"`
	Seq     uint64        `json:"seq"`
	At      time.Duration `json:"boottime_ns"`
	T0      time.Duration `json:"t0_boottime_ns"`
	Until   time.Duration `json:"until_boottime_ns"`
	State   string        `json:"state"`
	Term    uint64        `json:"term"`
}

// ReadLog finds in the JSON log of node's daemon, over all its starts, the tickets, what
// it has become, and complaints: the lines with signs of a crash or a data race. What is
// no JSON is else left out, such as the rest of a trace and a line torn by kill -9. The
// error is that of r.
func ReadLog(r io.Reader, node string) (tickets []Ticket, roles []Role, complaints []string, err error) {
	lines := bufio.NewReader(r)
	for {
		text, err := lines.ReadBytes('\n')
		for _, sign := range signs {
			if bytes.Contains(text, []byte(sign)) {
				complaints = append(complaints, strings.TrimSpace(string(text)))
				break
			}
		}
		var l logLine
		if json.Unmarshal(text, &l) == nil {
			tickets = l.ticket(tickets, node)
			roles = l.role(roles, node)
		}
		if errors.Is(err, io.EOF) {
			return tickets, roles, complaints, nil
		}
		if err != nil {
			return tickets, roles, complaints, fmt.Errorf("read the log of %s: %w", node, err)
		}
	}
}

// ticket enters what l says of a ticket.
func (l logLine) ticket(tickets []Ticket, node string) []Ticket {
	if l.Message == "ticket granted" {
		return append(tickets, Ticket{Node: node, Epoch: l.Epoch, Seq: l.Seq, T0: l.T0, Until: l.Until, Granted: l.At})
	}
	for i := len(tickets) - 1; i >= 0; i-- {
		t := &tickets[i]
		if t.Epoch != l.Epoch || t.Seq != l.Seq {
			continue
		}
		switch {
		case l.Message == "write begun" && t.Begun == 0:
			t.Begun = l.At
		case (l.Message == "ticket given back" || l.Message == "ticket released" || l.Message == "ticket expired") && t.Ended == 0:
			t.Ended = l.At
		}
		break
	}
	return tickets
}

// role enters what l says the daemon has become.
func (l logLine) role(roles []Role, node string) []Role {
	state := ""
	switch l.Message {
	case "role":
		state = l.State
	case "leading":
		state = "LEADING"
	case "no longer leading":
		state = "FOLLOWING"
	default:
		return roles
	}
	return append(roles, Role{At: l.At, Node: node, State: state, Term: l.Term})
}
