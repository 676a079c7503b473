// Package notify tells the world outside what the cluster decides: hooks, which are programs of
// the operator, called as keepalived calls its notify scripts; and alerts, which are mails and
// webhooks for people.
//
// Telling never blocks whoever tells: hooks and alerts run on goroutines of their own, behind
// queues that are bounded and that log what they leave out.
package notify
