package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
)

// The colours of Okabe and Ito, which people tell apart however they see colours; in the
// dark the blue that is hard to see there is replaced by the lighter one of the set.
// The ground is painted: a reader's theme need not be that of the page around.
const style = `
text{font-family:system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif}
.title{font-weight:600}
.fault{font-weight:600}
.ground{fill:#ffffff}
.title,.fault,.fg{fill:#1f2328}
.mute{fill:#59636e}
.key{fill:#8c959f}
.grid{stroke:#d1d9e0}
line.ink{stroke:#1f2328;stroke-width:1.5}
path.ink{fill:#1f2328}
.s0{fill:#0072b2}
.s1{fill:#d55e00}
.s2{fill:#e69f00}
.s3{fill:#cc79a7}
.s4{fill:#009e73}
.s5{fill:#000000}
@media (prefers-color-scheme: dark){
.ground{fill:#0d1117}
.title,.fault,.fg{fill:#e6edf3}
.mute{fill:#9198a1}
.key{fill:#6e7681}
.grid{stroke:#3d444d}
line.ink{stroke:#e6edf3}
path.ink{fill:#e6edf3}
.s0{fill:#56b4e9}
.s5{fill:#f0e442}
}
`

// hue is the class of the i-th system.
func hue(i int) string { return fmt.Sprintf("s%d", i%6) }

func (p *picture) svg() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" role="img" aria-labelledby="title desc">`+"\n",
		picWidth, p.height, picWidth, p.height)
	b.WriteString("<title id=\"title\">How long a client was without service, for each fault and system</title>\n")
	fmt.Fprintf(&b, "<desc id=\"desc\">%s</desc>\n", quote(strings.Join(p.desc, " ")))
	fmt.Fprintf(&b, "<style>%s</style>\n", style)
	fmt.Fprintf(&b, `<rect class="ground" width="%.0f" height="%.0f"/>`+"\n", picWidth, p.height)
	for _, l := range p.lines {
		if l.class == "grid" { // below the bars
			l.svg(&b)
		}
	}
	for _, r := range slices.Concat(p.keys, p.bars) {
		fmt.Fprintf(&b, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`+"\n", r.class, r.x, r.y, r.w, r.h)
	}
	for _, l := range p.lines {
		if l.class != "grid" {
			l.svg(&b)
		}
	}
	for _, h := range p.heads {
		fmt.Fprintf(&b, `<path class="%s" d="M%.1f %.1fv%.1fL%.1f %.1fz"/>`+"\n", h.class, h.x-arrow, h.y-barHeight/2, barHeight, h.x, h.y)
	}
	for _, t := range p.labels {
		fmt.Fprintf(&b, `<text class="%s" x="%.1f" y="%.1f" font-size="%.0f" text-anchor="%s">%s</text>`+"\n",
			t.class, t.x, t.y, t.size, t.anchor, quote(t.text))
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (l line) svg(b *bytes.Buffer) {
	fmt.Fprintf(b, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", l.class, l.x1, l.y1, l.x2, l.y2)
}

func quote(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a Buffer takes everything
	return b.String()
}
