package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"
)

// Local asks the daemon on this machine through its unix socket. Every call has a
// deadline of its own besides that of its context. Safe for concurrent use.
type Local struct {
	socket string
	client *http.Client
}

// NewLocal returns a client of the daemon at socket. It connects with the first call.
func NewLocal(socket string) *Local {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &Local{socket: socket, client: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Status is the cluster at a glance.
func (l *Local) Status(ctx context.Context) (Status, error) {
	var s Status
	err := do(ctx, l.client, l.call(http.MethodGet, "/status", nil), &s)
	return s, l.explain(err)
}

// Leader is who leads; *fsm.NotLeaderError when nobody does.
func (l *Local) Leader(ctx context.Context) (Leader, error) {
	var leader Leader
	err := do(ctx, l.client, l.call(http.MethodGet, "/leader", nil), &leader)
	return leader, l.explain(err)
}

// Init makes the daemon the first member of a new cluster; *fsm.RefusedError if it is
// a member already.
func (l *Local) Init(ctx context.Context) error {
	c := l.call(http.MethodPost, "/init", nil)
	c.timeout = initTimeout + grace
	return l.explain(do(ctx, l.client, c, &struct{}{}))
}

// Transfer moves leadership to target, or to the best other member if target is
// empty, and returns the new leader's name.
func (l *Local) Transfer(ctx context.Context, target string) (string, error) {
	c := l.call(http.MethodPost, "/transfer", transferRequest{Target: target})
	c.timeout = transferTimeout + 2*grace // the daemon may have to ask the leader's
	var answer transferAnswer
	err := do(ctx, l.client, c, &answer)
	return answer.To, l.explain(err)
}

// Drain marks the member called member, or the daemon's own node if that is empty, as
// drained for d, 1 s to 30 days, or until undrained if d is 0. It returns when the mark is
// committed; *fsm.RefusedError if nobody would be eligible, unless force is set.
func (l *Local) Drain(ctx context.Context, member string, d time.Duration, force bool) error {
	c := l.call(http.MethodPost, "/drain", drainRequest{member, d, force})
	c.timeout = drainTimeout + 2*grace // the daemon may have to ask the leader's
	return l.explain(do(ctx, l.client, c, &struct{}{}))
}

// Undrain ends the mark of the member called member, or of the daemon's own node if that
// is empty; without one it changes nothing.
func (l *Local) Undrain(ctx context.Context, member string) error {
	c := l.call(http.MethodPost, "/undrain", undrainRequest{member})
	c.timeout = drainTimeout + 2*grace
	return l.explain(do(ctx, l.client, c, &struct{}{}))
}

// Pause forbids all members to write to the cloud until Resume. It returns when that is
// committed and no claim is in flight. A pause that is in force stays as it is.
func (l *Local) Pause(ctx context.Context) error {
	c := l.call(http.MethodPost, "/pause", pauseRequest{})
	c.timeout = pauseTimeout + 2*grace // the daemon may have to ask the leader's
	return l.explain(do(ctx, l.client, c, &struct{}{}))
}

// Resume ends a pause; without one it changes nothing.
func (l *Local) Resume(ctx context.Context) error {
	c := l.call(http.MethodPost, "/resume", nil)
	c.timeout = pauseTimeout + 2*grace
	return l.explain(do(ctx, l.client, c, &struct{}{}))
}

// Join makes the daemon a member of the cluster at address and calls progress with
// each line that the daemon tells. Cancelling ctx makes the daemon give up as well.
func (l *Local) Join(ctx context.Context, address string, progress func(string)) error {
	c := l.call(http.MethodPost, "/join", joinRequest{Address: address})
	c.timeout = localJoinTimeout + grace
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := send(ctx, l.client, c)
	if err != nil {
		return l.explain(err)
	}
	defer finish(resp)
	if resp.StatusCode != http.StatusOK {
		return readError(resp)
	}
	return followJoin(resp.Body, progress)
}

// followJoin reads lines until the one that ends the stream.
func followJoin(r io.Reader, progress func(string)) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var line joinLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("read the daemon's progress: %w", err)
		}
		switch {
		case line.Error != "":
			return line.toError()
		case line.Done:
			return nil
		default:
			progress(line.Progress)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the daemon's progress: %w", err)
	}
	return errors.New("the daemon stopped before the join was complete; see its log, then try again")
}

func (l *Local) call(method, path string, body any) call {
	return call{method: method, url: "http://buoy" + path, host: "buoy", body: body, timeout: quickTimeout}
}

// explain says what to do when no daemon can be reached.
func (l *Local) explain(err error) error {
	var silent *silentError
	switch {
	case errors.As(err, &silent):
		return fmt.Errorf("the buoy daemon at %s hangs: %w; see its log (journalctl -u buoy)", l.socket, err)
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission to use %s: add yourself to group buoy, or use sudo: %w", l.socket, err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no buoy daemon answers at %s: is it running? (systemctl status buoy): %w", l.socket, err)
	default:
		return err
	}
}
