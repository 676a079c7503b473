package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// The rules of output: what was asked for goes to stdout, alone, so that it can be
// piped; progress, warnings and errors go to stderr and begin with "buoy: ". Colours
// and redrawing are for terminals; NO_COLOR turns colours off (https://no-color.org).

// printError prints what a command failed with. Errors that say nothing speak through
// the exit code.
func printError(w io.Writer, err error) {
	switch {
	case err == nil || err.Error() == "":
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(w, "buoy: interrupted")
	default:
		fmt.Fprintf(w, "buoy: %v\n", err)
	}
}

// printProgress prints one step of a command that takes a while.
func printProgress(w io.Writer, format string, args ...any) {
	fmt.Fprintf(w, "buoy: "+format+"\n", args...)
}

// printJSON prints v, indented.
func printJSON(w io.Writer, v any) error {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("print: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s\n", body)
	return err
}

// cellWidth is how many letters of free text a column of a table shows: enough to tell
// what it is about. Whoever prints a table prints the whole text elsewhere.
const cellWidth = 40

// cell is text cut to fit a column.
func cell(text string) string {
	letters := []rune(text)
	if len(letters) <= cellWidth {
		return text
	}
	return strings.TrimSpace(string(letters[:cellWidth-1])) + "…"
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// palette colours words, or leaves them alone when it is off.
type palette struct{ on bool }

// paletteFor is on if w is a terminal and the user has not said NO_COLOR.
func paletteFor(w io.Writer) palette {
	return palette{on: isTerminal(w) && os.Getenv("NO_COLOR") == ""}
}

func (p palette) paint(code, s string) string {
	if !p.on || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p palette) bold(s string) string   { return p.paint("1", s) }
func (p palette) green(s string) string  { return p.paint("32", s) }
func (p palette) yellow(s string) string { return p.paint("33", s) }
func (p palette) red(s string) string    { return p.paint("31", s) }

// What a terminal is told to redraw a screen in place.
const (
	cursorHome  = "\x1b[H"
	clearScreen = "\x1b[2J"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)
