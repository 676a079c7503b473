package variant

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStepClockWritesTheOffset(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clock")
	for _, offset := range []time.Duration{0, time.Hour, -10 * 365 * 24 * time.Hour} {
		if err := StepClock(file, offset); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil || len(data) != 8 || time.Duration(binary.NativeEndian.Uint64(data)) != offset {
			t.Errorf("after StepClock(%v): % x, %v", offset, data, err)
		}
	}
	if err := os.WriteFile(file, []byte("not a clock"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := StepClock(file, time.Hour); err == nil || !strings.Contains(err.Error(), "11 bytes") {
		t.Errorf("StepClock of a stranger's file: %v", err)
	}
}

// The real daemon: its log and its certificate go by the stepped clock, its count of the
// time since boot and its timers do not.
func TestADaemonsWallClockCanBeStepped(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a daemon on a Go of its own")
	}
	d := startStepped(t)
	last, before := d.verdict(t, "ok"), time.Duration(0)
	if off := time.Since(last.wall); off.Abs() > time.Minute {
		t.Fatalf("the clock is off by %v from the start", off)
	}
	for i, offset := range []time.Duration{48 * time.Hour, -10 * 365 * 24 * time.Hour, -1500 * time.Millisecond, 0} {
		if err := StepClock(d.clock, offset); err != nil {
			t.Fatal(err)
		}
		health := []string{"fault", "ok"}[i%2]
		d.setHealth(t, health)
		at := d.verdict(t, health)
		boot := at.boot - last.boot
		if boot < 0 || boot > time.Minute {
			t.Errorf("step to %v: %v since boot have passed", offset, boot)
		}
		if wall := at.wall.Sub(last.wall) - (offset - before); (wall - boot).Abs() > 100*time.Millisecond {
			t.Errorf("step to %v: the wall clock went on by %v beside the step, the machine's by %v", offset, wall, boot)
		}
		if off := time.Until(d.certificate(t)) - offset; off < 7*time.Hour || off > 25*time.Hour {
			t.Errorf("step to %v: the certificate ends %v after the step's now, should in 24 h", offset, off)
		}
		last, before = at, offset
	}
}

// stepped is a running daemon, the only node of no cluster.
type stepped struct {
	clock  string
	listen string // the members' port
	web    string // what its check looks at
	server net.Listener
	log    *bufio.Scanner
}

// moment is when a line was logged, by two clocks.
type moment struct {
	wall time.Time
	boot time.Duration
}

func startStepped(t *testing.T) *stepped {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "buoy")
	if err := Build(t.Context(), SteppedClock(), root, program); err != nil {
		t.Fatal(err)
	}
	d := &stepped{clock: filepath.Join(dir, "clock"), listen: freeAddress(t), web: freeAddress(t)}
	if err := StepClock(d.clock, 0); err != nil {
		t.Fatal(err)
	}
	secret, err := exec.CommandContext(t.Context(), program, "keygen").Output()
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`cluster: lab
node: {id: lb1, listen: %q, data_dir: %[2]s/data}
secret_file: %[2]s/secret
socket: %[2]s/buoy.sock
http: off
floating_ips: [203.0.113.10]
provider: {command: {claim: ["/bin/true", "{ip}"]}}
checks: [{tcp: {address: %[3]q}, interval: 100ms, timeout: 100ms}]
log: {format: json}
`, d.listen, dir, d.web)
	for file, text := range map[string]string{"secret": string(secret), "buoy.yaml": config} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d.setHealth(t, "ok")
	d.run(t, program, filepath.Join(dir, "buoy.yaml"))
	return d
}

func (d *stepped) run(t *testing.T, program, config string) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "--config", config, "run")
	cmd.Env = append(os.Environ(), ClockVariable+"="+d.clock)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() }) // ends the log, and so the test
	t.Cleanup(func() {
		watchdog.Stop()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = d.server.Close()
	})
	d.log = bufio.NewScanner(stderr)
}

// setHealth makes what the daemon's check looks at answer, or not.
func (d *stepped) setHealth(t *testing.T, health string) {
	t.Helper()
	if health == "fault" {
		_ = d.server.Close()
		return
	}
	var err error
	if d.server, err = new(net.ListenConfig).Listen(t.Context(), "tcp", d.web); err != nil {
		t.Fatal(err)
	}
}

// verdict waits for the line in which the daemon says that its health is such.
func (d *stepped) verdict(t *testing.T, health string) moment {
	t.Helper()
	for d.log.Scan() {
		var l struct {
			Time    time.Time     `json:"@timestamp"`
			Message string        `json:"@message"`
			Health  string        `json:"health"`
			Boot    time.Duration `json:"boottime_ns"`
		}
		if err := json.Unmarshal(d.log.Bytes(), &l); err != nil {
			t.Logf("%s", d.log.Text())
			continue
		}
		if l.Message == "verdict" && l.Health == health {
			return moment{l.Time, l.Boot}
		}
	}
	t.Fatalf("the log ended before the health was %s: %v", health, d.log.Err())
	return moment{}
}

// certificate asks the daemon for its certificate, which it makes anew when the old one
// has run out or is from the future, and returns when it ends.
func (d *stepped) certificate(t *testing.T) time.Time {
	t.Helper()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"buoy-api/1"}}}
	conn, err := dialer.DialContext(t.Context(), "tcp", d.listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].NotAfter
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
