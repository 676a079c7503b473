// Package examples holds configurations to start from. It has no code: its tests load every
// file here with the program that it is meant for, so that none of them can go stale.
package examples
