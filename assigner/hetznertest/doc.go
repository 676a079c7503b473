// Package hetznertest is a stateful fake of the Hetzner Cloud API and of its metadata service, as
// far as floating IPs need them.
//
// An assign is accepted or refused for the documented reasons, runs for a while, and only then
// changes the holder. Every request for change is written down ([Server.Writes]): that record, not
// the client's own belief, is what tests judge by. [Fault] makes the API as unkind as a real one is
// on a bad day.
//
//	cloud := hetznertest.New()
//	cloud.AddToken("lb1", "secret")
//	cloud.AddServer(101)
//	cloud.AddFloatingIP(netip.MustParsePrefix("203.0.113.10/32"), 0)
//	api := httptest.NewServer(cloud.API()) // api_url is api.URL
//
// It has handlers and no listeners, its clock is package time, and it starts no goroutine: an action
// is finished by whoever looks after its time.
//
// Sources: https://docs.hetzner.cloud/reference/cloud and the schema of hcloud-go v2.52.0. What no
// public source settles is a knob ([Server.SetPendingNew]) or a guess that is marked as one.
package hetznertest
