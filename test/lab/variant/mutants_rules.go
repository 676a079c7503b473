package variant

// cloudMutants do not take the cloud at its word, or take it too early.
func cloudMutants() []Variant {
	return []Variant{
		{
			Name:     "no-verify",
			Breaks:   "A claim that was accepted is believed, in this term for good.",
			Property: "P2",
			Scene: "The next action ends as errored. Kill HAProxy on lb1. lb2 says \"claim confirmed\" and \"holding the " +
				"address\", which stays on lb1.",
			Edits: []Edit{
				{
					File: "assigner/attempt.go",
					Old:  "\treturn a.verify(ctx)\n",
					New:  "\ta.out.Moved = true\n\ta.confirm()\n\treturn nil\n",
				},
				{
					File: "assigner/attempt.go",
					Old:  "\tcase h.Instance == a.out.Instance:\n\t\ta.out.From = h.Instance\n",
					New:  "\tcase h.Instance == a.out.Instance || a.last.atHome:\n\t\ta.out.From = h.Instance\n",
				},
			},
		},
		{
			Name:     "no-reconcile",
			Breaks:   "A leader that has claimed never looks again.",
			Property: "P4",
			Scene:    "Move the address to an outsider, 3 s after the last change or later. Nothing follows.",
			Edits: []Edit{
				{
					File: "cluster/claim.go",
					Old:  "\ta.due = l.nextLook(a, now)\n\tif !out.Unverified {",
					New:  "\ta.due = l.nextLook(a, now).Add(24 * time.Hour)\n\tif !out.Unverified {",
				},
				{
					File: "cluster/hint.go",
					Old:  "if !a.recheck.IsZero() && a.recheck.Before(a.due) {",
					New:  "if false {",
				},
			},
		},
		{
			Name:     "no-pending-check",
			Breaks:   "A leader posts again and again while the cloud is still at work on the address.",
			Property: "P4",
			Scene: "The cloud takes 6 s to move the address. Kill HAProxy on lb1, or move the address away. lb2 posts at " +
				"0, 0.3, 0.8, 1.8, 3.8 and 5.8 s, each with a ticket of its own; the cloud refuses all but the first " +
				"with 422. To be counted by arrival, not by acceptance: the product posts once, and not again by the " +
				"same node in the same epoch while its first is under way. (From 10 s on the node calls it its own " +
				"fault and hands over.)",
			Edits: []Edit{
				{
					File: "assigner/attempt.go",
					Old:  "\t\tif h.Unknown || !h.Locked {",
					New:  "\t\tif h.Unknown || !h.Locked || n == 0 {",
				},
				{
					File: "assigner/attempt.go",
					Old:  "\tif action != \"\" {\n",
					New:  "\tif action == \"none\" {\n",
				},
			},
		},
	}
}

// rankMutants hold, take or keep the address against the rules of rank and fitness.
func rankMutants() []Variant {
	return []Variant{
		{
			Name:     "stale-health",
			Breaks:   "FAULT keeps nobody from holding the address or from claiming it.",
			Property: "P3",
			Scene: "Kill HAProxy on lb1. When the times that P3 allows for are over (Detect, Assign), move the address to " +
				"an outsider. lb1, unfit, takes it back. P2 objects too, since lb2 could serve.",
			Edits: []Edit{{
				File: "fsm/priority.go",
				Old: "\tcase c.Report.Health == HealthFault:\n\t\twhy.Code, why.Detail = ReasonFault, c.Report.faults()\n" +
					"\tcase c.Report.Health != HealthOK && c.Report.Health != HealthDegraded:\n",
				New: "\tcase c.Report.Health == HealthUnknown:\n",
			}},
		},
		{
			Name:     "no-stepdown",
			Breaks:   "A leader in FAULT does not hand over.",
			Property: "P2",
			Scene:    "Kill HAProxy on lb1. The verdict is FAULT, and lb1 goes on leading, only looking.",
			Edits: []Edit{{
				File: "fsm/decide.go",
				Old:  "\tif len(r.targets) > 0 {\n\t\twhy.Code = ReasonSelfIneligible\n",
				New:  "\tif len(r.targets) > len(r.others) {\n\t\twhy.Code = ReasonSelfIneligible\n",
			}},
		},
		{
			Name:     "no-own-fault",
			Breaks:   "A leader whose own token no longer works does not hand over.",
			Property: "P2",
			Scene: "Revoke lb1's token, and wait. Its looks fail with 401 for ever; lb2, whose token works, is not asked. " +
				"(With the address moved away besides, it is P4.)",
			Edits: []Edit{{
				File: "fsm/decide.go",
				Old:  "\t\tif ip.OwnFaults > 0 && ip.OwnFaults >= r.p.OwnFaults {",
				New:  "\t\tif ip.OwnFaults < 0 && ip.OwnFaults >= r.p.OwnFaults {",
			}},
		},
		{
			Name:     "one-witness",
			Breaks:   "A follower that finds the leader gone stands for election without asking the others.",
			Property: "P5",
			Scene: "One priority for all, so that whom a wrong election makes leader also claims (else it would give the " +
				"lead back). Cut the holder and another from one another in both directions: a bridge partition. The other " +
				"one hears nothing, and stands past the third's loyalty to its leader. No daemon may do anything here.",
			Edits: []Edit{{
				File: "cluster/succession.go",
				Old:  "\tif witnesses < n.majority() {\n",
				New:  "\tif witnesses < 1 {\n",
			}},
		},
		{
			Name:     "eager-preempt",
			Breaks:   "A node with preempt: false takes the address from a healthy holder of lower rank.",
			Property: "P5",
			Scene: "preempt: false on all, lb1 ranks highest. Kill HAProxy on lb1; lb2 takes over. Start it again when " +
				"the time that P5 allows for (Cause, Assign) is over: lb1 takes the address back. Its return is no " +
				"reason for a move (MayMove false).",
			Edits: []Edit{{
				File: "fsm/decide.go",
				Old:  "\tcase !c.Member.Preempt:\n",
				New:  "\tcase !c.Member.Preempt && c.Member.Priority == 0:\n",
			}},
		},
		{
			Name:     "equal-moves",
			Breaks:   "Among equals the one with the higher address takes the floating IP from a healthy holder.",
			Property: "P5",
			Scene: "One priority for all, preempt true. The address comes to rest at lb3, if its listen address is the " +
				"highest. Kill HAProxy on lb3; lb2 takes over. Start it again when the time that P5 allows for (Cause, " +
				"Assign) is over: lb3 takes the address back. Its return is no reason for a move (MayMove false).",
			Edits: []Edit{{
				File: "fsm/decide.go",
				Old:  "{ return c.priority() <= r.self.priority() })",
				New:  "{ return !Outranks(c, r.self) })",
			}},
		},
	}
}

// storeMutants forget what they have promised when they are killed.
func storeMutants() []Variant {
	const (
		file  = "cluster/dir.go"
		disks = "logs: store, stable: store, snapshots: snapshots,"
	)
	return []Variant{
		{
			Name:     "forgetful-vote",
			Breaks:   "Term and vote do not outlive the process.",
			Property: "P7",
			Scene: "Let the term rise a little (kill the leader's daemon twice), then kill -9 all daemons at once and start " +
				"them. \"leading\" says a term that was there before. Every ticket is void then, for a smaller epoch is " +
				"never newer: no claim works, which P2 sees after a move.",
			Edits: []Edit{{File: file, Old: disks, New: "logs: store, stable: raft.NewInmemStore(), snapshots: snapshots,"}},
		},
		{
			Name:     "memory-log",
			Breaks:   "The log, and membership with it, does not outlive the process.",
			Property: "P2",
			Scene: "kill -9 all daemons at once and start them; kill HAProxy on the holder. No member knows the others, " +
				"nobody leads, nothing moves. (That the members are forgotten is P7, but no leader says so. One that is " +
				"killed alone gets the log from the others.)",
			Edits: []Edit{{File: file, Old: disks, New: "logs: raft.NewInmemStore(), stable: store, snapshots: snapshots,"}},
		},
		{
			Name:     "early-ack",
			Breaks:   "A join is acknowledged 5 s before it is proposed, so that a leader that dies meanwhile loses it.",
			Property: "P7",
			Scene: "Any join, the leader's status being sampled: `buoy join` has returned, and for 5 s the leader counts a " +
				"voter too few.",
			Edits: []Edit{
				{
					File: "cluster/membership.go",
					Old: "\tf := n.raft.AddVoter(raft.ServerID(c.ID), raft.ServerAddress(c.Member.Address), 0, applyTimeout)\n" +
						"\tif err := await(ctx, f, applyTimeout); err != nil {\n",
					New: "\ttime.AfterFunc(5*time.Second, func() {\n" +
						"\t\tn.raft.AddVoter(raft.ServerID(c.ID), raft.ServerAddress(c.Member.Address), 0, applyTimeout)\n\t})\n" +
						"\tif err := ctx.Err(); err != nil {\n",
				},
				{
					File: "cluster/membership.go",
					Old:  "\t\t\treturn entered && n.voter(n.cfg.Member.ID)\n",
					New:  "\t\t\treturn entered\n",
				},
			},
		},
	}
}
