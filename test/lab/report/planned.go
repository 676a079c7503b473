package report

import "strconv"

// Planned is one kind of planned move, of buoy: nothing is wrong, and no request need fail.
type Planned struct {
	What  string `json:"what"`
	Times int    `json:"times"`
	Moves int    `json:"moves"`
	// Requests are the client's meanwhile. Cut of them were under way as the network turned
	// from the old holder to the new, which no daemon can help; Failed are all others that
	// failed.
	Requests int `json:"requests"`
	Cut      int `json:"cut"`
	Failed   int `json:"failed"`
	// Refused is how many did not succeed at once, and were tried again.
	Refused int `json:"refused"`
	// Decided and Asked are milliseconds until the new leader says that it leads: from the
	// old one's decision, and from the start of the operator's command, if there was one.
	Decided []float64 `json:"decided"`
	Asked   []float64 `json:"asked"`
}

func planned(r Results) []byte {
	g := plannedGrid(r, escape, "Planned move", "Times", "Moves", "Refused", "Requests", "Failed", "Cut by the move",
		"Decided until led, p50 / p99 / max", "Command until led, p50 / p99 / max")
	return g.bytes()
}

func plannedGrid(r Results, text func(string) string, head ...string) grid {
	g := grid{head: head, align: "lrrrrrrrr"}
	for _, p := range r.Planned {
		g.add(text(p.What), strconv.Itoa(p.Times), strconv.Itoa(p.Moves), strconv.Itoa(p.Refused), strconv.Itoa(p.Requests),
			strconv.Itoa(p.Failed), strconv.Itoa(p.Cut), times(p.Decided), times(p.Asked))
	}
	return g
}

// times writes p50 / p99 / max, or a dash for none.
func times(values []float64) string {
	if len(values) == 0 {
		return none
	}
	return triple(Summarise(values))
}
