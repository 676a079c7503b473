package api

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
)

// TestLocalPermission: tests may run as root, whom no mode stops.
func TestLocalPermission(t *testing.T) {
	err := NewLocal("/run/buoy/buoy.sock").explain(fmt.Errorf("dial: %w", fs.ErrPermission))
	if !strings.Contains(err.Error(), "add yourself to group buoy, or use sudo") {
		t.Error(err)
	}
}
