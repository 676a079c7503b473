// Package report turns the results of a benchmark run into what people read: a Markdown
// document, a picture for it, and a table for the terminal while the run goes on. It
// measures nothing and judges nothing; what the results do not say, it leaves open.
package report
