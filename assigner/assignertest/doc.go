// Package assignertest is the conformance suite that every assigner.Provider must pass. It drives
// the provider through an assigner.Claimer, as the daemon does, and judges by what the cloud behind
// it saw. It also checks the fence: no write without a right, each right given back exactly once.
package assignertest
