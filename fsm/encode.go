package fsm

import (
	"encoding/json"
	"errors"
	"fmt"
)

// MaxCommand is the largest encoded Command, in bytes.
const MaxCommand = 1 << 20

// commandVersion is the version of the envelope. It rises only when an older version
// must not apply even the fields that it knows; a new kind of command does not raise it.
const commandVersion = 1

// ErrUnknownCommand is returned by DecodeCommand for what a newer version wrote. It is
// to be skipped, not to fail on.
var ErrUnknownCommand = errors.New("written by a newer version")

// envelope is a Command on the wire: {"v":1,"report":{...}}.
type envelope struct {
	V int `json:"v"`
	Command
}

// Encode returns c as it travels in the log: a JSON object with the version and the one
// field that is set, at most MaxCommand bytes.
func (c Command) Encode() ([]byte, error) {
	if n := c.set(); n != 1 {
		return nil, fmt.Errorf("encode command: %d fields are set, exactly one is allowed", n)
	}
	b, err := json.Marshal(envelope{commandVersion, c})
	if err != nil {
		return nil, fmt.Errorf("encode command: %w", err)
	}
	if len(b) > MaxCommand {
		return nil, fmt.Errorf("encode command: %d bytes, at most %d are allowed", len(b), MaxCommand)
	}
	return b, nil
}

// DecodeCommand is the reverse of Encode. What a newer version wrote is an error that
// wraps ErrUnknownCommand; fields inside a known command that are unknown are ignored.
// It never panics, whatever b holds.
func DecodeCommand(b []byte) (Command, error) {
	if len(b) > MaxCommand {
		return Command{}, fmt.Errorf("decode command: %d bytes, at most %d are allowed", len(b), MaxCommand)
	}
	// The version comes first: the rest of a newer envelope may have other types.
	var head struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return Command{}, fmt.Errorf("decode command: %w", err)
	}
	switch {
	case head.V < 1:
		return Command{}, fmt.Errorf("decode command: version %d, at least 1 is allowed", head.V)
	case head.V > commandVersion:
		return Command{}, fmt.Errorf("decode command: version %d, at most %d is known: %w", head.V, commandVersion, ErrUnknownCommand)
	}
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return Command{}, fmt.Errorf("decode command: %w", err)
	}
	switch n := e.set(); {
	case n == 0:
		return Command{}, fmt.Errorf("decode command: no known field is set: %w", ErrUnknownCommand)
	case n > 1:
		return Command{}, fmt.Errorf("decode command: %d fields are set, exactly one is allowed", n)
	}
	return e.Command, nil
}

// set counts the fields that are set.
func (c Command) set() int {
	n := 0
	for _, isSet := range []bool{
		c.Found != nil, c.Member != nil, c.Report != nil, c.Ticket != nil, c.Release != nil,
		c.Claim != nil, c.Handover != nil, c.Transition != nil, c.Leads != nil,
		c.Drain != nil, c.Undrain != nil, c.Pause != nil, c.Resume != nil,
	} {
		if isSet {
			n++
		}
	}
	return n
}
