package variant

import "slices"

// Mutants are daemons that break one rule each, after "Teeth" in the notes on reliability.
//
// Most scenes use the product's defaults (timing lan: heartbeat 300 ms, lease 150 ms; a
// ticket lives 750 ms) and three balancers lb1, lb2, lb3, of which lb1 ranks highest and
// holds the address. To hang the POSTs keeps a ticket from being released: a claim gives
// its ticket back with the answer, or after 4 s.
func Mutants() []Variant {
	return slices.Concat(ticketMutants(), writeMutants(), cloudMutants(), rankMutants(), storeMutants())
}

// ticketMutants get the tickets themselves wrong.
func ticketMutants() []Variant {
	return []Variant{
		{
			Name:     "no-wait",
			Breaks:   "A new leader takes a ticket without waiting for its predecessor's to end.",
			Property: "P1",
			Scene: "timing {heartbeat: 150ms, election: 150ms, lease: 75ms}, so that an election is over before the " +
				"ticket is. Hang all POSTs. Move the address to an outsider. At lb1's \"ticket granted\", kill -9 its " +
				"daemon. The successor has a ticket 0.15 to 0.5 s later; it may have one after 798 ms only.",
			Edits: []Edit{{
				File: "cluster/ticket.go",
				Old:  "newest.Released || n.noTicketWait {",
				New:  "newest.Released || true {",
			}},
		},
		{
			Name:     "late-ticket",
			Breaks:   "A ticket counts from when its commit was answered, not from before it was proposed.",
			Property: "P1",
			Scene: "One priority for all, so that whom raft elects also claims. Delay what both others send to the holder by " +
				"80 ms (one way; at 150 ms its lease ends), and what the cloud sends to it by 150 ms, so that the look's " +
				"barrier is through before the ticket. Hang all POSTs. Move the address to an outsider. At the holder's " +
				"\"ticket granted\", kill -9 its daemon. The successor stored that ticket 80 ms before and has its own " +
				"798 ms after that, when the other has 30 ms left. Up to five rounds: in one of four the election is late.",
			Edits: []Edit{{
				File: "cluster/ticket.go",
				Old:  "\tif applied.Void {\n\t\treturn nil,",
				New:  "\ttk.t0 = n.now()\n\tif applied.Void {\n\t\treturn nil,",
			}},
		},
		{
			Name:     "early-release",
			Breaks:   "A ticket is given back before the write that it is for, so that a successor need not wait.",
			Property: "P1",
			Scene: "Any claim: its \"write begun\" comes after its \"ticket released\". To be compared with Ticket.End(), " +
				"not with Until: the rest of its life was given away.",
			Edits: []Edit{{
				File: "cluster/ticket.go",
				Old: "\t\tdone := func() {\n\t\t\tif tk.end() {\n\t\t\t\t<-n.turn\n\t\t\t\t// Beside the Claimer, which goes on to follow its write.\n" +
					"\t\t\t\twg.Go(tk.release)\n\t\t\t}\n\t\t}\n",
				New: "\t\ttk.release()\n\t\tdone := func() {\n\t\t\tif tk.end() {\n\t\t\t\t<-n.turn\n\t\t\t}\n\t\t}\n",
			}},
		},
		{
			Name:     "wall-clock",
			Breaks:   "The wait for a foreign ticket goes by the clock on the wall.",
			Property: "P2",
			Scene: "Its clocks can be stepped, as SteppedClock's. Hang all POSTs. Kill HAProxy on lb1. 50 ms after " +
				"lb2's \"ticket granted\", when lb1 and lb3 have surely stored it, step their clocks back by an hour; then " +
				"kill -9 lb2's daemon, and let the POSTs go. Whoever leads waits an hour for the ticket (\"waiting out a ticket\"), and lb3 could serve.",
			Edits: append(SteppedClock().Edits, Edit{
				File: "cluster/store.go",
				Old:  "\tnow := time.Now()\n\tfor _, l := range logs {",
				New:  "\tnow := time.Now().Round(0)\n\tfor _, l := range logs {",
			}),
			Add: SteppedClock().Add,
		},
	}
}

// writeMutants write without the right to.
func writeMutants() []Variant {
	return []Variant{
		{
			Name:     "no-write-guard",
			Breaks:   "The ticket is not checked again when the request's bytes go to the socket.",
			Property: "P1",
			Scene: "lb2 must have no idle connection to the cloud: drop what it asks there, unanswered, restart its daemon, " +
				"wait 2 s. Cut its way to the cloud, end the drop, and kill HAProxy on lb1, all before its self-test is " +
				"repeated 15 s later. lb2 gets the lead and a ticket, skips the first look, and must connect. 0.5 s after " +
				"its \"ticket granted\", heal. The kernel repeats the lost SYN 1 s after the first: \"write begun\" comes " +
				"0.25 s after the ticket's end. The product says \"write refused\" instead. (Healed much later, the dial " +
				"times out.)",
			Edits: []Edit{{
				File: "cluster/ticket.go",
				Old:  "\tif err := tk.valid(0); err != nil {",
				New:  "\tif err := error(nil); err != nil {",
			}},
		},
		{
			Name:     "blind-retry",
			Breaks:   "A request that failed is repeated under the same ticket, without a look.",
			Property: "P1",
			Scene: "One POST is accepted and its connection closed without an answer, at once (not hung: after 4 s the " +
				"ticket is over). Kill HAProxy on lb1. Two POSTs of lb2 arrive with one ticket between them; the second " +
				"is refused with 422, and \"write begun\" is said once.",
			Edits: []Edit{{
				File: "assigner/attempt.go",
				Old:  "\taction, err = a.p.Claim(ctx, a.IP, check)\n",
				New:  "\tif action, err = a.p.Claim(ctx, a.IP, check); err != nil {\n\t\taction, err = a.p.Claim(ctx, a.IP, check)\n\t}\n",
			}},
		},
		{
			Name:     "claim-without-ticket",
			Breaks:   "A leader writes without taking a ticket.",
			Property: "P1",
			Scene:    "Any claim, such as the first. It logs neither \"ticket granted\" nor \"write begun\".",
			Edits: []Edit{{
				File: "cluster/ticket.go",
				Old:  "\t\ttk, err := n.takeTicket(ctx, t)\n",
				New:  "\t\tif t != nil {\n\t\t\treturn func() error { return nil }, func() {}, nil\n\t\t}\n\t\ttk, err := n.takeTicket(ctx, t)\n",
			}},
		},
		{
			Name:     "minority-writes",
			Breaks:   "A leader that has lost its majority goes on, with tickets that never committed.",
			Property: "P6",
			Scene: "Cut lb1 from both others in both directions, not from the cloud, for 15 s; and kill HAProxy there or not. " +
				"lb2 takes the address; lb1's next look, a verify_interval later at most, finds it gone and takes it " +
				"back, which is P1 too: an old epoch after a new one. It logs " +
				"\"ticket granted\" (after \"ticket not committed\") and \"write begun\", but no \"no longer leading\", and " +
				"goes on after the cut has healed.",
			Edits: []Edit{
				{
					File: "cluster/loop.go",
					Old:  "\tif l.tenure != nil {\n\t\tl.endTenure()\n\t}\n\tif leads {",
					New:  "\tif l.tenure != nil && (leads || l.busy() == fsm.ActionTransfer) {\n\t\tl.endTenure()\n\t}\n\tif leads {",
				},
				{
					File: "cluster/ticket.go",
					Old:  "\t\treturn nil, fmt.Errorf(\"%w: commit the ticket: %w\", errNoTicket, err)\n",
					New:  "\t\tn.log.Warn(\"ticket not committed\", \"error\", err)\n",
				},
				{
					File: "cluster/ticket.go",
					Old:  "\tcase tk.node.raft.State() != raft.Leader || tk.node.raft.CurrentTerm() != tk.Epoch:\n",
					New:  "\tcase tk.node.raft.State() == raft.Shutdown:\n",
				},
			},
		},
	}
}
