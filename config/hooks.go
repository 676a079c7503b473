package config

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
	"unicode"

	"github.com/goccy/go-yaml/ast"
)

// Hooks are the programs to run when this node's state changes; each is an absolute path and
// arguments, nil for none.
type Hooks struct {
	OnMaster, OnBackup, OnFault, OnStop []string
	Notify                              []string // after each of the others, with four more arguments
	Timeout                             time.Duration
}

const (
	defaultHookTimeout  = 30 * time.Second
	shortestHookTimeout = 100 * time.Millisecond
	longestHookTimeout  = 5 * time.Minute
)

func (s *section) hooks() Hooks {
	h, given := s.child("hooks")
	if !given || h == nil {
		return Hooks{Timeout: defaultHookTimeout}
	}
	defer h.close()
	return Hooks{
		OnMaster: h.commandLine("on_master"),
		OnBackup: h.commandLine("on_backup"),
		OnFault:  h.commandLine("on_fault"),
		OnStop:   h.commandLine("on_stop"),
		Notify:   h.commandLine("notify"),
		Timeout:  h.duration("timeout", defaultHookTimeout, shortestHookTimeout, longestHookTimeout),
	}
}

// commandLine gives a command: a list, or a text as keepalived takes it.
func (s *section) commandLine(key string) []string {
	n := s.get(key)
	if list, ok := n.(*ast.SequenceNode); ok || n == nil {
		if ok && len(list.Values) == 0 {
			return nil // says the same as leaving it out
		}
		return s.argv(key)
	}
	text, ok := textOf(n)
	argv, err := splitCommand(text)
	switch {
	case !ok:
		s.wrong(key, "%s", commandAllowed)
	case err != nil:
		s.fail(at(n), "%s: found %s: %v; allowed: %s", s.name(key), describe(n), err, commandAllowed)
	case len(argv) == 0:
		return nil
	case !path.IsAbs(argv[0]):
		s.wrong(key, "%s", commandAllowed)
	default:
		return argv
	}
	return nil
}

const commandAllowed = `[/absolute/path/of/the/program, argument, ...], or the same as one text with spaces between; it runs without a shell`

// splitCommand cuts a line at its spaces, except within '...' and "..."; outside '...' a backslash
// takes away the meaning of what follows it. Nothing else has one: there is no shell.
func splitCommand(line string) ([]string, error) {
	var (
		argv    []string
		word    strings.Builder
		inside  bool // a word
		quote   rune // 0: none is open
		literal bool
	)
	for _, r := range line {
		switch {
		case literal:
			word.WriteRune(r)
			literal = false
		case r == '\\' && quote != '\'':
			literal, inside = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '"' || r == '\'':
			quote, inside = r, true
		case unicode.IsSpace(r):
			if inside {
				argv = append(argv, word.String())
			}
			word.Reset()
			inside = false
		default:
			word.WriteRune(r)
			inside = true
		}
	}
	if literal || quote != 0 {
		return nil, errors.New("it ends inside a quotation")
	}
	if inside {
		argv = append(argv, word.String())
	}
	return argv, nil
}

// alerts gives URLs that hold no secret, and file:PATH of files with URLs, which do.
func (s *section) alerts() []string {
	if n, ok := s.get("alerts").(ast.ScalarNode); ok {
		s.hidden = append(s.hidden, n.GetToken().Value)
	}
	nodes, _ := s.list("alerts")
	var entries []string
	for i, n := range nodes {
		text, _ := textOf(n)
		if !strings.HasPrefix(text, "file:") {
			s.hidden = append(s.hidden, n.GetToken().Value) // it is about to be quoted, perhaps
		}
		entry, problem := s.alert(text)
		if problem != "" {
			s.fail(at(n), "alerts[%d]: %s", i, problem)
			continue
		}
		entries = append(entries, entry)
	}
	return entries
}

// alert judges one entry; what is wrong with it is told without quoting it.
func (s *section) alert(text string) (entry, problem string) {
	const inFile = "write it into a file of mode 0600, one URL a line, and put file:/etc/buoy/alerts here"
	if file, ok := strings.CutPrefix(text, "file:"); ok {
		return s.alertFile(file)
	}
	scheme, rest, _ := strings.Cut(text, "://")
	host, _, _ := strings.Cut(rest, "/")
	switch scheme {
	case "smtp", "smtps":
		if strings.Contains(host, "@") {
			return "", "a URL with a password: " + inFile
		}
		return text, ""
	case "slack", "generic+https", "generic+http":
		return "", "the URL of a webhook is a secret: " + inFile
	}
	return "", "allowed: file:/absolute/path of a file of URLs, or the smtp URL of a mail server that wants no password"
}

func (s *section) alertFile(file string) (entry, problem string) {
	rest, found := strings.CutPrefix(file, "${"+credentials+"}/")
	dir := s.env.getenv(credentials)
	switch {
	case found && rest != "" && !strings.Contains(rest, "/"):
		if dir == "" {
			s.warn(s.at("alerts"), "alerts: %s is not set here, so %s stays as it is; systemd sets it for a unit with LoadCredential=", credentials, file)
			return "file:" + file, ""
		}
		return "file:" + path.Join(dir, rest), ""
	case !path.IsAbs(file):
		return "", fmt.Sprintf("found file:%s; allowed: file:/absolute/path or file:${%s}/name", file, credentials)
	}
	return "file:" + file, ""
}
