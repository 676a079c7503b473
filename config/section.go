package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// environment is what a configuration may depend on besides its text.
type environment struct {
	hostname func() (string, error)
	getenv   func(string) string
}

// document is one file while it is read. Reading goes on after a mistake, with the
// default in the wrong value's place, so that all mistakes are found in one pass.
type document struct {
	name     string
	lines    []string
	env      environment
	problems []Problem
	warnings []string
	hidden   []string // values that no error may quote
}

// fail records a mistake at pos; nil means the file as a whole.
func (d *document) fail(pos *token.Position, format string, args ...any) {
	p := Problem{Message: printable(fmt.Sprintf(format, args...))}
	if pos != nil && pos.Line >= 1 && pos.Line <= len(d.lines) {
		p.Line, p.Column = pos.Line, max(pos.Column, 1)
		p.Source = printable(d.lines[pos.Line-1])
	}
	d.problems = append(d.problems, p)
}

func (d *document) warn(pos *token.Position, format string, args ...any) {
	d.warnings = append(d.warnings,
		fmt.Sprintf("%s:%d:%d: ", d.name, pos.Line, pos.Column)+printable(fmt.Sprintf(format, args...)))
}

// err gives all mistakes in the order of the file, or nil.
func (d *document) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	for i := range d.problems {
		p := &d.problems[i]
		p.Message, p.Source = d.hide(p.Message), d.hide(p.Source)
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int { return cmp.Or(a.Line-b.Line, a.Column-b.Column) })
	return &Error{File: d.name, Problems: d.problems}
}

// hide takes out what was found to be secret while reading.
func (d *document) hide(text string) string {
	for _, secret := range d.hidden {
		if len(secret) > len("smtp://") { // or it would be found in plain words
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	return text
}

// root parses the text and gives its top-level mapping, or nil after recording why not.
func (d *document) root(data []byte) *section {
	if len(data) > maxFile {
		d.fail(nil, "is larger than %d KiB; this is not a buoy configuration", maxFile>>10)
		return nil
	}
	if !utf8.Valid(data) {
		d.fail(nil, "is not UTF-8 text; save it as UTF-8")
		return nil
	}
	// Windows editors add a byte order mark and carriage returns; neither carries meaning.
	text := strings.ReplaceAll(strings.TrimPrefix(string(data), "\ufeff"), "\r\n", "\n")
	d.lines = strings.Split(text, "\n")
	// Duplicate keys are found in section, in our words and together with everything else.
	file, err := parser.ParseBytes([]byte(text), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.failSyntax(err)
		return nil
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if _, directive := doc.Body.(*ast.DirectiveNode); !directive && notNull(doc.Body) != nil {
			bodies = append(bodies, doc.Body)
		}
	}
	switch {
	case len(bodies) == 0:
		d.fail(nil, "is empty; cluster, node, floating_ips and provider are required: start from examples/buoy.yaml")
		return nil
	case len(bodies) > 1:
		d.fail(at(bodies[1]), "a second YAML document; only one is allowed")
		return nil
	}
	return d.section("", bodies[0], at(bodies[0]))
}

func (d *document) failSyntax(err error) {
	var syntax yaml.Error
	if errors.As(err, &syntax) && syntax.GetToken() != nil {
		d.fail(syntax.GetToken().Position, "not valid YAML: %s", syntax.GetMessage())
		return
	}
	d.fail(nil, "not valid YAML: %v", err)
}

// section is one mapping. The getters of values.go each name a key once, with its default
// and range; close then knows which keys exist.
type section struct {
	*document
	path    string          // "checks[0].haproxy"; "" = top level
	start   *token.Position // where what is missing is reported
	entries map[string]entry
	order   []string // keys as given
	known   []string // keys asked for
}

type entry struct {
	key   *token.Position
	value ast.Node // nil = no value
}

// section reads n as a mapping; nil (and a problem) if it is not one. A value left out
// (`digitalocean:`) is an empty mapping: all defaults.
func (d *document) section(path string, n ast.Node, start *token.Position) *section {
	s := &section{document: d, path: path, start: start, entries: map[string]entry{}}
	if n == nil {
		return s
	}
	m, ok := n.(*ast.MappingNode)
	if !ok {
		d.fail(at(n), "%sfound %s; allowed: a mapping (key: value)", prefix(path), describe(n))
		return nil
	}
	for _, pair := range m.Values {
		key := pair.Key.GetToken()
		if first, twice := s.entries[key.Value]; twice {
			d.fail(key.Position, "%s: given twice, first on line %d; keep one", s.name(key.Value), first.key.Line)
			continue
		}
		s.entries[key.Value] = entry{key.Position, notNull(pair.Value)}
		s.order = append(s.order, key.Value)
	}
	return s
}

func (s *section) name(key string) string {
	if s.path == "" {
		return key
	}
	return s.path + "." + key
}

// get gives the value of key, nil if it is absent, and makes the key a known one.
func (s *section) get(key string) ast.Node {
	if !slices.Contains(s.known, key) {
		s.known = append(s.known, key)
	}
	return s.entries[key].value
}

// has says whether key is given a value other than "" and [].
func (s *section) has(key string) bool {
	n := s.entries[key].value
	if list, ok := n.(*ast.SequenceNode); ok {
		return len(list.Values) > 0
	}
	return n != nil && n.GetToken().Value != ""
}

// at is where key stands, or where the section starts if it is absent.
func (s *section) at(key string) *token.Position {
	if e, ok := s.entries[key]; ok {
		return e.key
	}
	return s.start
}

// wrong records that the value of key is not what is allowed.
func (s *section) wrong(key, allowed string, args ...any) {
	n := s.entries[key].value
	s.fail(at(n), "%s: found %s; allowed: %s", s.name(key), describe(n), fmt.Sprintf(allowed, args...))
}

// missing records that a required key is absent or empty; of one that is given but wrong,
// its getter has said so.
func (s *section) missing(key, allowed string) {
	if !s.has(key) {
		s.fail(s.at(key), "%s: missing; required: %s", s.name(key), allowed)
	}
}

// child gives the mapping under key; nil if it is absent (and not given) or wrong.
func (s *section) child(key string) (child *section, given bool) {
	n := s.get(key)
	e, given := s.entries[key]
	if !given {
		return nil, false
	}
	return s.section(s.name(key), n, e.key), true
}

// list gives the elements under key; given is false if the key is absent or has no value.
func (s *section) list(key string) (nodes []ast.Node, given bool) {
	n := s.get(key)
	if n == nil {
		return nil, false
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		s.wrong(key, "a list")
		return nil, true
	}
	return seq.Values, true
}

// unsupported refuses a key that a later release will understand, unless it says nothing:
// ignoring it would promise protection that is not there.
func (s *section) unsupported(key string) {
	switch n := s.get(key).(type) {
	case nil:
	case *ast.MappingNode:
		if len(n.Values) > 0 {
			s.fail(s.at(key), "%s: not supported by this release; remove it", s.name(key))
		}
	case *ast.SequenceNode:
		if len(n.Values) > 0 {
			s.fail(s.at(key), "%s: not supported by this release; remove it", s.name(key))
		}
	default:
		if n.GetToken().Value != "0" {
			s.fail(s.at(key), "%s: not supported by this release; remove it (found %s)", s.name(key), describe(n))
		}
	}
}

// close refuses the keys that nobody asked for. It comes after the last getter.
func (s *section) close() {
	for _, key := range s.order {
		if slices.Contains(s.known, key) {
			continue
		}
		hint := "allowed here: " + strings.Join(s.known, ", ")
		if near := nearest(key, s.known); near != "" {
			hint = fmt.Sprintf("did you mean %s?", near)
		}
		s.fail(s.at(key), "%s: unknown key; %s", s.name(key), hint)
	}
}

func prefix(path string) string {
	if path == "" {
		return ""
	}
	return path + ": "
}

// notNull makes a key without a value look like an absent one.
func notNull(n ast.Node) ast.Node {
	if _, null := n.(*ast.NullNode); null {
		return nil
	}
	return n
}

// at is where n starts. A block mapping's own token is the colon after its first key.
func at(n ast.Node) *token.Position {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return m.Values[0].Key.GetToken().Position
	}
	return n.GetToken().Position
}

// describe names what was found in an operator's words.
func describe(n ast.Node) string {
	tk := n.GetToken()
	switch n.(type) {
	case *ast.StringNode:
		return fmt.Sprintf("%q", tk.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "the number " + tk.Value
	case *ast.BoolNode:
		return tk.Value
	case *ast.SequenceNode:
		return "a list"
	case *ast.LiteralNode:
		return "a block of text"
	case *ast.MappingNode:
		return "a mapping"
	case *ast.NullNode:
		return "nothing"
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return fmt.Sprintf("%q (anchors, aliases and tags are not supported: write the value out)", n.String())
	}
	return fmt.Sprintf("%q", tk.Value)
}
