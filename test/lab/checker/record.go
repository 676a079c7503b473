package checker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// head is what setup.json holds.
type head struct {
	Setup Setup
	End   time.Duration
}

// part is one file of a saved history.
type part struct {
	name string
	// encode gives the whole text, decode takes one line.
	encode func() ([]byte, error)
	decode func(line *json.Decoder) error
}

// partsOf are the lists of h, each a file with a line of JSON for each entry.
func partsOf(h *History) []part {
	return []part{
		partOf("truth", &h.Truth), partOf("writes", &h.Writes), partOf("holders", &h.Holders),
		partOf("tickets", &h.Tickets), partOf("roles", &h.Roles), partOf("requests", &h.Requests),
		partOf("samples", &h.Samples), partOf("acks", &h.Acks),
	}
}

func partOf[T any](name string, list *[]T) part {
	return part{
		name: name + ".jsonl",
		encode: func() ([]byte, error) {
			var text bytes.Buffer
			lines := json.NewEncoder(&text)
			lines.SetEscapeHTML(false) // people grep in it
			for _, entry := range *list {
				if err := lines.Encode(entry); err != nil {
					return nil, err
				}
			}
			return text.Bytes(), nil
		},
		decode: func(line *json.Decoder) error {
			var entry T
			err := line.Decode(&entry)
			*list = append(*list, entry)
			return err
		},
	}
}

// Save writes h to the folder dir, which is made if need be.
func Save(dir string, h History) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("save a history: %w", err)
	}
	text, err := json.MarshalIndent(head{h.Setup, h.End}, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "setup.json"), append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("save a history: %w", err)
	}
	for _, p := range partsOf(&h) {
		text, err := p.encode()
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, p.name), text, 0o644)
		}
		if err != nil {
			return fmt.Errorf("save a history: %s: %w", p.name, err)
		}
	}
	return nil
}

// Load reads what Save wrote. It takes nothing that it does not know: a misspelt word in
// a record made by hand would otherwise pass for a good run.
func Load(dir string) (History, error) {
	var h History
	var first head
	file := filepath.Join(dir, "setup.json")
	text, err := os.ReadFile(file)
	if err != nil {
		return h, fmt.Errorf("load a history: %w", err)
	}
	d := strict(text)
	if err := d.Decode(&first); err != nil {
		line := 1 + bytes.Count(text[:d.InputOffset()], []byte("\n"))
		return h, fmt.Errorf("load a history: %s:%d: %w", file, line, err)
	}
	h.Setup, h.End = first.Setup, first.End
	for _, p := range partsOf(&h) {
		if err := p.load(filepath.Join(dir, p.name)); err != nil {
			return h, fmt.Errorf("load a history: %w", err)
		}
	}
	return h, nil
}

func (p part) load(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if err := p.decode(strict(line)); err != nil {
			return fmt.Errorf("%s:%d: %w", file, number, err)
		}
	}
	return nil
}

func strict(text []byte) *json.Decoder {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d
}
