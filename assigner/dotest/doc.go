// Package dotest is a stateful fake of the DigitalOcean API and of the
// metadata service, as far as reserved (floating) IPs need them.
//
// It stands in for the cloud in tests, in the demo and in the lab, so it is
// strict where the real API is: an assign is accepted or refused for the
// documented reasons, locks the address, takes time, and only then changes the
// holder; the metadata of both droplets follows later still. It can also be as
// unkind as the real API is on a bad day: see [Fault].
//
// Everything that asks for a change is written down ([Server.Journal]),
// together with every change of holder. That record, not the clients' own
// belief, is what tests judge by.
//
//	cloud := dotest.New(dotest.Options{Latency: dotest.Fixed(50 * time.Millisecond)})
//	defer cloud.Close()
//	cloud.AddToken("lb1", "secret")
//	cloud.AddDroplet(dotest.Droplet{ID: 101, Name: "lb1", Region: "nyc3"})
//	err := cloud.AddReservedIP(netip.MustParseAddr("203.0.113.10"), "nyc3", 0)
//	api, err := cloud.Start("127.0.0.1:0") // api.URL
//
// The package uses nothing but package time for its clock, so a server that is
// made, used (through its handlers) and closed inside a testing/synctest bubble
// runs on the bubble's time. It does not import package testing: the demo runs
// it inside the product's binary.
//
// Sources: the API reference at https://docs.digitalocean.com/reference/api/,
// DigitalOcean's OpenAPI description (github.com/digitalocean/openapi), and,
// for what neither says, the issues of terraform-provider-digitalocean and
// doctl that are named beside the code. What no public source settles is a
// knob: what a GET shows while an assign runs ([PendingView]), for one.
package dotest
