package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// none fills a place for which there is no figure.
const none = "–"

// grid is a table. In align, l and r stand for a column each.
type grid struct {
	head  []string
	align string
	rows  [][]string
}

func (g *grid) add(row ...string) { g.rows = append(g.rows, row) }

// escape keeps text that came from outside within its place in a Markdown document.
var escape = strings.NewReplacer("\n", " ", "|", `\|`, "<", "&lt;", ">", "&gt;", "`", "\\`", "*", `\*`, "_", `\_`).Replace

// markdown writes the table as GitHub reads it. Cells must have been escaped.
func (g *grid) markdown(b *bytes.Buffer) {
	if len(g.rows) == 0 {
		b.WriteString("Not measured in this run.\n")
		return
	}
	line := func(cells []string) { fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | ")) }
	line(g.head)
	rule := make([]string, len(g.head))
	for i := range rule {
		rule[i] = map[byte]string{'l': "---", 'r': "--:"}[g.align[i]]
	}
	line(rule)
	for _, row := range g.rows {
		line(row)
	}
}

// bytes is markdown, for a block that is nothing but a table.
func (g *grid) bytes() []byte {
	var b bytes.Buffer
	g.markdown(&b)
	return b.Bytes()
}

// text writes the table for a terminal: two spaces between columns, no more at the end.
func (g *grid) text(w io.Writer) {
	all := append([][]string{g.head}, g.rows...)
	width := make([]int, len(g.head))
	for _, row := range all {
		for i, c := range row {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	for _, row := range all {
		var line strings.Builder
		for i, c := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			if g.align[i] == 'r' {
				line.WriteString(pad + c + "  ")
			} else {
				line.WriteString(c + pad + "  ")
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}
