package report

import (
	"bytes"
	"fmt"
	"strings"
)

// Update replaces what stands between the lines <!-- begin NAME --> and <!-- end NAME -->
// of a Markdown document. All else stays as it is, so that prose survives a new run. It
// is an error if the document does not have both lines, once and in this order.
func Update(doc []byte, block string, body []byte) ([]byte, error) {
	if block == "" || strings.ContainsAny(block, " \t\r\n<>") || strings.Contains(block, "--") {
		return nil, fmt.Errorf("update: %q cannot name a block", block)
	}
	opening, closing := "<!-- begin "+block+" -->", "<!-- end "+block+" -->"
	if len(lines(body, opening))+len(lines(body, closing)) > 0 {
		return nil, fmt.Errorf("update block %s: the new text has a line that marks the block", block)
	}
	begin, end := lines(doc, opening), lines(doc, closing)
	switch {
	case len(begin) != 1:
		return nil, fmt.Errorf("update block %s: %d lines %s instead of one", block, len(begin), opening)
	case len(end) != 1:
		return nil, fmt.Errorf("update block %s: %d lines %s instead of one", block, len(end), closing)
	case end[0].start < begin[0].end:
		return nil, fmt.Errorf("update block %s: it ends before it begins", block)
	}
	var out bytes.Buffer
	out.Write(doc[:begin[0].end])
	out.WriteString("\n")
	out.Write(bytes.Trim(body, "\n"))
	out.WriteString("\n\n")
	out.Write(doc[end[0].start:])
	return out.Bytes(), nil
}

type span struct{ start, end int }

// lines finds the lines of doc that say just text; quoted within a sentence it is prose.
func lines(doc []byte, text string) []span {
	var found []span
	at := 0
	for line := range bytes.Lines(doc) {
		if string(bytes.TrimSpace(line)) == text {
			found = append(found, span{at, at + len(line)})
		}
		at += len(line)
	}
	return found
}

// Refresh puts new results into a document that Markdown made and people may have edited
// since. Every block must still be there: one left out would go stale unseen.
func Refresh(doc []byte, r Results) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	for _, b := range blocks(r) {
		var err error
		if doc, err = Update(doc, b.name, b.body); err != nil {
			return nil, err
		}
	}
	return doc, nil
}
