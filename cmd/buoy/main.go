package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// Once the first signal has begun an orderly end, a second one ends it at once.
	context.AfterFunc(ctx, stop)
	root := newRootCommand()
	err := root.ExecuteContext(ctx)
	printError(root.ErrOrStderr(), err)
	os.Exit(exitCode(err))
}
