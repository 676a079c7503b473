// Package checker judges a History, the record of a run: what the lab did, what the
// cloud saw, what the daemons logged and what the client got. It knows nothing of how
// the record came about, so that a saved one can be judged again and a broken one can
// be made up to see that the judge objects.
package checker
