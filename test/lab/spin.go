package lab

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// Spin keeps so many processes busy with nothing until it is killed.
func Spin(loops string) error {
	n, err := strconv.Atoi(loops)
	if err != nil {
		return err
	}
	for range n {
		cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return err
		}
	}
	select {} // killed
}
