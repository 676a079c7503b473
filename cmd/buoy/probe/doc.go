// Package probe measures what DigitalOcean does not document about moving a reserved IP: it
// moves one to and fro between two droplets and notes when what became visible where.
//
// It talks to the API with requests of its own, not through package assigner: what is measured
// is the API's raw answers (status, the body's id, headers), and one client that could hide or
// repeat a request would spoil that. It never repeats a POST by itself and leaves at least two
// seconds between two of them.
//
// Whatever happens, the address ends where it began; Run says so if it could not bring it back.
package probe
