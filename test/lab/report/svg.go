package report

import (
	"fmt"
	"math"
	"strings"
)

// The picture's columns. It is as wide as GitHub shows a picture at least; each column
// has its own width, and text that does not fit is cut, so that none meets another.
const (
	picWidth   = 800.0
	nameLeft   = 16.0
	nameWidth  = 104.0
	plotLeft   = 128.0
	plotRight  = 600.0
	valueLeft  = 612.0
	valueWidth = picWidth - nameLeft - valueLeft
	barHeight  = 11.0
	rowHeight  = 16.0
	arrow      = 8.0  // an arrow head's length
	axisMin    = 10.0 // ms, at plotLeft
)

// The parts of a picture, in the order in which they are drawn. class names the style.
type (
	box struct {
		class      string
		x, y, w, h float64
	}
	line struct {
		class          string
		x1, y1, x2, y2 float64
	}
	head struct { // an arrow head that points to x, y from the left
		class string
		x, y  float64
	}
	label struct {
		class, anchor string
		x, y, size    float64 // y is the base line
		text          string
	}
)

type picture struct {
	height  float64
	axisMax float64 // ms, at plotRight
	lines   []line
	bars    []box // in the plot
	keys    []box // in the legend
	heads   []head
	labels  []label
	desc    []string
}

// SVG draws the outages: a group of bars for each fault, a bar for each system.
func SVG(r Results) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	p := layout(r)
	return p.svg(), nil
}

func layout(r Results) *picture {
	p := &picture{axisMax: axisEnd(r)}
	p.text("title", nameLeft, 28, 17, picWidth-2*nameLeft, "How long a client was without service")
	p.text("mute", nameLeft, 46, 12, picWidth-2*nameLeft, subtitle(r))
	y := p.legend(r, 58)
	p.ticks(y + 12)
	y += 18
	for _, f := range r.Faults {
		y = p.group(r, f, y)
	}
	if len(r.Faults) == 0 {
		p.text("mute", nameLeft, y+14, 12, plotRight-nameLeft, "Nothing was measured.")
		y += 24
	}
	p.height = y + 8
	return p
}

func subtitle(r Results) string {
	return fmt.Sprintf("buoy %s, %s, %s for each bar; the cloud takes %s to move the address",
		r.Version, r.Date.UTC().Format("2006-01-02"), r.perCell(), ms(r.AssignMS))
}

// legend names the systems, then what the shapes mean.
func (p *picture) legend(r Results, y float64) float64 {
	for i, s := range r.Systems {
		p.keys = append(p.keys, box{hue(i), nameLeft, y, 12, barHeight})
		text := r.name(s.Key)
		if s.Note != "" {
			text += ": " + s.Note
		}
		p.text("fg", nameLeft+20, y+10, 12, picWidth-2*nameLeft-20, text)
		y += 18
	}
	y += 2
	mid := y + barHeight/2
	p.keys = append(p.keys, box{"key", nameLeft, y, 28, barHeight})
	p.text("mute", nameLeft+36, y+10, 12, 30, "p50")
	p.whisker(nameLeft+84, nameLeft+112, mid)
	p.text("mute", nameLeft+120, y+10, 12, 120, "up to the longest")
	p.lines = append(p.lines, line{"ink", nameLeft + 254, mid, nameLeft + 282 - arrow, mid})
	p.heads = append(p.heads, head{"ink", nameLeft + 282, mid})
	p.text("mute", nameLeft+290, y+10, 12, picWidth-2*nameLeft-290, "not served again while it was waited for; the axis is logarithmic")
	return y + 22
}

func (p *picture) ticks(base float64) {
	for v := axisMin; v < p.axisMax*1.01; v *= 10 {
		p.center(p.x(v), base, seconds3(v))
		if v*3 < p.axisMax*1.01 {
			p.center(p.x(v*3), base, seconds3(v*3))
		}
	}
}

// group draws one fault: its title above, a row for each system below.
func (p *picture) group(r Results, f Fault, y float64) float64 {
	p.text("fault", nameLeft, y+16, 13, picWidth-2*nameLeft, f.Title)
	y += 24
	top := y
	var said []string
	for i, s := range r.Systems {
		trials := r.trials(f.Key, s.Key)
		if len(trials) == 0 && (!f.Shared || !r.measured(f.Key)) {
			continue
		}
		value, class := p.row(hue(i), measure(trials, outage), y), "fg"
		if len(trials) == 0 {
			class = "mute"
		}
		p.text("fg", nameLeft, y+barHeight-1, 12, nameWidth, r.name(s.Key))
		p.text(class, valueLeft, y+barHeight-1, 12, valueWidth, value)
		said = append(said, r.name(s.Key)+" "+value)
		y += rowHeight
	}
	if len(said) == 0 {
		p.text("mute", valueLeft, y+barHeight-1, 12, valueWidth, "not measured")
		said = append(said, "not measured")
		y += rowHeight
	}
	p.desc = append(p.desc, f.Title+": "+strings.Join(said, "; ")+".")
	p.rules(top-2, y-rowHeight+barHeight+2)
	return y + 6
}

// rules draws the lines of the axis through a group.
func (p *picture) rules(top, bottom float64) {
	for v := axisMin; v < p.axisMax*1.01; v *= 10 {
		p.lines = append([]line{{"grid", p.x(v), top, p.x(v), bottom}}, p.lines...)
	}
}

// row draws a bar with what belongs to it, and returns its figures in words.
func (p *picture) row(class string, s spread, y float64) string {
	mid := y + barHeight/2
	if s.N == 0 {
		return "not measured"
	}
	if math.IsInf(s.P50, 1) {
		p.bars = append(p.bars, box{class, plotLeft, y, plotRight - arrow - plotLeft, barHeight})
		p.heads = append(p.heads, head{class, plotRight, mid})
		if s.never == s.N {
			return s.bounded()
		}
		return s.failures()
	}
	end := max(p.x(s.P50), plotLeft+2) // 2: what is short, or 0, is still there to see
	p.bars = append(p.bars, box{class, plotLeft, y, end - plotLeft, barHeight})
	if s.never > 0 {
		if from := min(end, plotRight-arrow); from < plotRight-arrow {
			p.lines = append(p.lines, line{"ink", from, mid, plotRight - arrow, mid})
		}
		p.heads = append(p.heads, head{"ink", plotRight, mid})
		return ms(s.P50) + ", " + s.failures()
	}
	if to := p.x(s.Max); to > end+1 {
		p.whisker(end, to, mid)
	}
	if ms(s.Max) == "0 ms" {
		return "0, no request failed"
	}
	return ms(s.P50) + ", max " + ms(s.Max)
}

func (p *picture) whisker(from, to, mid float64) {
	p.lines = append(p.lines, line{"ink", from, mid, to, mid}, line{"ink", to, mid - 3.5, to, mid + 3.5})
}

// x is where a time lies in the plot; what is off the axis lies at its end.
func (p *picture) x(v float64) float64 {
	v = min(max(v, axisMin), p.axisMax)
	return plotLeft + (plotRight-plotLeft)*math.Log(v/axisMin)/math.Log(p.axisMax/axisMin)
}

// axisEnd is 10 s, or 100 or 1000 if an outage was longer.
func axisEnd(r Results) float64 {
	end := 10_000.0
	for _, c := range r.Cells {
		for _, t := range c.Trials {
			for t.Outage != nil && *t.Outage > end && end < 1_000_000 {
				end *= 10
			}
		}
	}
	return end
}

func (p *picture) text(class string, x, y, size, room float64, s string) {
	p.labels = append(p.labels, label{class, "start", x, y, size, fit(oneLine(s), size, room/boldness(class))})
}

func (p *picture) center(x, y float64, s string) {
	p.labels = append(p.labels, label{"mute", "middle", x, y, 11, s})
}

// seconds3 writes a tick: 10 ms, 300 ms, 1 s.
func seconds3(v float64) string {
	if v < 1000 {
		return fmt.Sprintf("%.0f ms", v)
	}
	return seconds(v)
}

// fit cuts a text to the room that it has.
func fit(s string, size, room float64) string {
	if textWidth(s, size) <= room {
		return s
	}
	runes := []rune(s)
	for len(runes) > 0 && textWidth(string(runes)+"…", size) > room {
		runes = runes[:len(runes)-1]
	}
	return strings.TrimSpace(string(runes)) + "…"
}

// boldness is how much wider than others the letters of a class are.
func boldness(class string) float64 {
	if class == "title" || class == "fault" {
		return 1.1
	}
	return 1
}

// textWidth estimates, rather too much: readers bring their own sans-serif. The figures
// are those of DejaVu Sans, one of the widest.
func textWidth(s string, size float64) float64 {
	em := 0.0
	for _, c := range s {
		switch {
		case strings.ContainsRune(" ijlI.,:;|'!", c):
			em += 0.36
		case strings.ContainsRune("mwMW%@…", c) || c > 0x2000:
			em++
		case c >= 'A' && c <= 'Z':
			em += 0.78
		default:
			em += 0.64
		}
	}
	return em * size
}
