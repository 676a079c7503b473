package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// diskMB is the size of a balancer's disk: room for a daemon's data, quickly filled.
const diskMB = 24

// disk is a file system of a balancer's own, on the machine's real disk, so that a
// daemon's fsync costs what it costs.
type disk struct {
	path string // where it is mounted
}

func newDisk(ctx context.Context, path string) (*disk, error) {
	image, err := os.CreateTemp("", "buoy-lab-disk-")
	if err != nil {
		return nil, err
	}
	defer image.Close()
	// Gone by name: nothing is left of it once it is unmounted.
	defer func() { _ = os.Remove(image.Name()) }()
	if err := errors.Join(image.Truncate(diskMB<<20), os.Mkdir(path, 0o755)); err != nil {
		return nil, err
	}
	// mount(8) finds a loop device and has it freed with the mount, whatever way we end.
	for _, argv := range [][]string{{"mkfs.ext4", "-q", "-m", "0", image.Name()}, {"mount", "-o", "loop", image.Name(), path}} {
		if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", argv[0], err, out)
		}
	}
	return &disk{path}, nil
}

// fill takes all the space that is left.
func (d *disk) fill() error {
	f, err := os.Create(filepath.Join(d.path, "ballast"))
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for err == nil {
		if _, err = f.Write(block); errors.Is(err, syscall.ENOSPC) && len(block) > 1 {
			block, err = block[:len(block)/2], nil
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("fill the disk: %w", err)
	}
	return nil
}

// free gives back what fill took.
func (d *disk) free() error { return os.Remove(filepath.Join(d.path, "ballast")) }

// wipe removes everything, as a rebuilt machine has lost it.
func (d *disk) wipe() error {
	entries, err := os.ReadDir(d.path)
	for _, e := range entries {
		if e.Name() != "lost+found" {
			err = errors.Join(err, os.RemoveAll(filepath.Join(d.path, e.Name())))
		}
	}
	return err
}

func (d *disk) close() { unmount(d.path) }

// unmount does not wait for whoever still has a file open there.
func unmount(path string) { _ = unix.Unmount(path, unix.MNT_DETACH) }
