package config

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// Error says everything that is wrong with one configuration file. It is the only type of
// error that [Load] and [Parse] return; commands exit with status 2 on it.
type Error struct {
	File     string
	Problems []Problem // in the order of the file
	Err      error     // the file could not be read at all; Problems is then empty
}

// Problem is one mistake and its place.
type Problem struct {
	Line, Column int    // from 1; 0 = the file as a whole
	Source       string // the offending line
	Message      string // key, what was found, what is allowed
}

// Error gives "file:line:column: message" and the offending line for each problem.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("configuration %s: %v", e.File, e.Err)
	}
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		if p.Line == 0 {
			fmt.Fprintf(&b, "%s: %s", e.File, p.Message)
			continue
		}
		fmt.Fprintf(&b, "%s:%d:%d: %s\n%5d | %s\n      | %s^",
			e.File, p.Line, p.Column, p.Message, p.Line, p.Source, strings.Repeat(" ", p.Column-1))
	}
	return b.String()
}

// Unwrap gives the cause when the file could not be read.
func (e *Error) Unwrap() error { return e.Err }

// secrets matches what people paste where a file name belongs: a cluster secret (32 bytes
// in base64), a cloud token, a password in a URL, a webhook. Errors end up in logs, so it must
// not stand in them.
var secrets = regexp.MustCompile(`[A-Za-z0-9+/]{43}=|[A-Za-z0-9_-]{48,}|(?:slack|smtps?|generic\+https?)://[^\s"',]*|hooks\.slack\.com/[^\s"',]*|://[^/\s]*@`)

// printable removes secrets, and whatever could steer a terminal.
func printable(text string) string {
	text = secrets.ReplaceAllString(text, "[redacted]")
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case r == '\t':
			return ' '
		}
		return '?'
	}, text)
}

// nearest is the one of names that word was most likely meant to be, or "".
func nearest(word string, names []string) string {
	best, bestDistance := "", 3
	for _, name := range names {
		distance := editDistance(word, name)
		if len(word) >= 3 && strings.HasPrefix(name, word) {
			distance = min(distance, 1)
		}
		if distance < bestDistance && distance < len(name) {
			best, bestDistance = name, distance
		}
	}
	return best
}

// editDistance counts the letters to insert, delete or replace between a and b (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
