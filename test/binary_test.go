package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// binDir holds what the tests build; TestMain makes and removes it.
var binDir string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if binDir, err = os.MkdirTemp("", "buoy-bin-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(binDir)
	return m.Run()
}

// raceBinary is buoy built with the race detector, so that every daemon of the tests
// looks for races while it works.
var raceBinary = sync.OnceValues(func() (string, error) { return build("buoy-race", "-race") })

// releaseBinary is buoy as `make build` makes it.
var releaseBinary = sync.OnceValues(func() (string, error) {
	return build("buoy", "-trimpath", "-ldflags", "-s -w")
})

func build(name string, flags ...string) (string, error) {
	path := filepath.Join(binDir, name)
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), "../cmd/buoy")...)
	if name == "buoy" {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build buoy: %w\n%s", err, out)
	}
	return path, nil
}
