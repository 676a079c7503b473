package healthcheck

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxReply bounds what is read from the statistics socket: `show info` is
// 3 KB, a frontend in `show stat` up to 1 KB.
const maxReply = 1 << 20

// errReply marks an answer that is not HAProxy's.
var errReply = errors.New("not the answer of a HAProxy statistics socket")

// info is what `show info` says (HAProxy management guide, section 9.3).
type info struct {
	pid                int
	stopping           bool
	currConns, maxConn int
}

// full reports whether HAProxy accepts no further connection.
func (i info) full() bool { return i.maxConn > 0 && i.currConns >= i.maxConn }

// ask sends one line of commands to the statistics socket at path and returns
// the answers. One connection a line: an open session would keep the old
// worker alive after a reload and go on asking it.
func ask(ctx context.Context, path, commands string) (string, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, commands+"\n"); err != nil {
		return "", err
	}
	reply, err := io.ReadAll(io.LimitReader(conn, maxReply))
	if err == nil && len(reply) == 0 {
		err = io.ErrUnexpectedEOF // the process went away before it answered
	}
	return string(reply), err
}

// showInfo asks the process at the statistics socket for itself.
func showInfo(ctx context.Context, path string) (info, error) {
	reply, err := ask(ctx, path, "show info")
	if err != nil {
		return info{}, err
	}
	return parseInfo(reply)
}

// parseInfo reads the "Name: value" lines of `show info`.
func parseInfo(reply string) (info, error) {
	var in info
	numbers := map[string]*int{"Pid": &in.pid, "CurrConns": &in.currConns, "Maxconn": &in.maxConn}
	lines := bufio.NewScanner(strings.NewReader(reply))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		if key == "Stopping" {
			in.stopping = value != "0"
		}
		p, wanted := numbers[key]
		if !wanted {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil {
			return info{}, fmt.Errorf("show info, %s: %w: %w", key, err, errReply)
		}
		*p = n
	}
	if in.pid <= 0 {
		return info{}, fmt.Errorf("show info: %w: %q", errReply, oneLine(reply))
	}
	return in, nil
}

// showLoad asks whether the process or one of its frontends has no connection
// left to give, and says which.
func showLoad(ctx context.Context, path string) (string, bool) {
	reply, err := ask(ctx, path, "show info;show stat -1 1 -1") // -1 1 -1: all proxies, frontends, all servers
	if err != nil {
		return "", false
	}
	general, table, _ := strings.Cut(reply, "# ")
	if in, err := parseInfo(general); err == nil && in.full() {
		return fmt.Sprintf("%d of %d connections in use", in.currConns, in.maxConn), true
	}
	return fullFrontend(table)
}

// fullFrontend looks for a frontend at its own maxconn in the CSV of `show
// stat` (management guide, section 9.1: scur and slim).
func fullFrontend(table string) (string, bool) {
	r := csv.NewReader(strings.NewReader(table))
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	if err != nil || len(rows) == 0 {
		return "", false
	}
	column := make(map[string]int)
	for i, name := range rows[0] {
		column[name] = i
	}
	for _, row := range rows[1:] {
		field := func(name string) string {
			if i, ok := column[name]; ok && i < len(row) {
				return row[i]
			}
			return ""
		}
		used, err1 := strconv.Atoi(field("scur"))
		limit, err2 := strconv.Atoi(field("slim"))
		if err1 == nil && err2 == nil && limit > 0 && used >= limit && field("status") == "OPEN" {
			return fmt.Sprintf("frontend %s: %d of %d connections in use", field("pxname"), used, limit), true
		}
	}
	return "", false
}

// answer is how a look at a socket ended.
type answer int

// The answers. A refusal is any failure that does not take until the timeout:
// nothing listens, or it went away before it had answered.
const (
	refused answer = iota
	silent
	denied
	answered
)

// classify tells how a look ended. EAGAIN is a unix socket whose backlog is
// full: somebody listens, and does not accept.
func classify(err error) answer {
	var timeout net.Error
	switch {
	case err == nil:
		return answered
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, unix.EAGAIN), errors.As(err, &timeout) && timeout.Timeout():
		return silent
	case errors.Is(err, os.ErrPermission):
		return denied
	default:
		return refused
	}
}
