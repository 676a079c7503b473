package report

import "bytes"

// block is a part of the document that a new run replaces.
type block struct {
	name string
	body []byte
}

// The document as it is made the first time: prose, and a pair of markers for each
// block. Afterwards it belongs to its editors; see Refresh.
const document = `# Benchmarks

The parts between the markers of this file are written by the benchmark, from the results
of one run. The prose around them is not.

{method}

![For each fault a bar for each system: how long a client was without service, on a
logarithmic axis. The figures are in the second table below.](benchmarks.svg)

## What ran

{systems}

{machine}

## How much of it is noise

The same client, the same load balancers, and nothing done to them. What a client misses
here no fault has caused, and a difference of this size means nothing.

{noise}

## From the fault until the cloud is asked

What a daemon can be quick at: to notice, to agree on who takes over, and to ask the cloud
to move the address. What the cloud then takes is not in it.

{asked}

{slower}

## The outage, as a client saw it

From a client's last success before the fault's effect to the first one after it. The
cloud's time to move the address is in it. 0 means that no request failed.

{outage}

## Where buoy's time goes

{stages}

## Planned moves

An operator's doing, or the return of a balancer: nothing is wrong, the old holder serves
until the cloud has moved the address, and no request need fail. A request that is under
way at that very moment is cut with any system: a TCP connection does not follow an address.

{planned}

## Moves without cause

Nothing here is a reason to move the address.

{moves}

## What was odd

{odd}

## The faults

{faults}

## Repeat it

{repeat}
`

// Markdown writes the whole document, with prose of its own. A document that exists is
// better brought up to date with Refresh.
func Markdown(r Results) ([]byte, error) {
	doc := []byte(document)
	for _, b := range blocks(r) {
		markers := "<!-- begin " + b.name + " -->\n<!-- end " + b.name + " -->"
		doc = bytes.Replace(doc, []byte("{"+b.name+"}"), []byte(markers), 1)
	}
	return Refresh(doc, r)
}

func blocks(r Results) []block {
	return []block{
		{"method", method(r)},
		{"systems", systems(r)},
		{"machine", machine(r)},
		{"noise", noise(r)},
		{"asked", askedTable(r)},
		{"slower", slower(r)},
		{"outage", outageTable(r)},
		{"stages", stages(r)},
		{"planned", planned(r)},
		{"moves", moves(r)},
		{"odd", odd(r)},
		{"faults", faults(r)},
		{"repeat", repeat(r)},
	}
}
