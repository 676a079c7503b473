package layer2

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/buoy-lb/buoy/assigner"
)

// niceVar is the nice value that a node gives itself.
const niceVar = "BUOY_LAYER2_NICE"

// node is a process that carries addresses. It does what it reads, a line an order, and answers with
// a line each:
//
//	claim IP EPOCH, release IP EPOCH, holder IP, close
func node() int {
	if os.Getenv(nodeVar) == "spin" {
		runtime.GOMAXPROCS(1)
		for {
			_ = unix.Getpid() // until killed
		}
	}
	if n, err := strconv.Atoi(os.Getenv(niceVar)); err == nil {
		if err := renice(n); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	p, err := New(Options{Interface: ifname, Logger: hclog.New(&hclog.LoggerOptions{Output: os.Stderr})})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		fmt.Println(obey(p, strings.Fields(in.Text())))
	}
	return 0
}

// renice applies to all threads there are; later ones inherit it.
func renice(n int) error {
	threads, err := os.ReadDir("/proc/self/task")
	for _, thread := range threads {
		tid, _ := strconv.Atoi(thread.Name())
		if err := unix.Setpriority(unix.PRIO_PROCESS, tid, n); err != nil {
			return err
		}
	}
	return err
}

func obey(p *Provider, words []string) string {
	if words[0] == "close" {
		p.Close()
		return "ok"
	}
	ip := netip.MustParseAddr(words[1])
	ctx := context.Background()
	if len(words) > 2 {
		epoch, _ := strconv.ParseUint(words[2], 10, 64)
		ctx = assigner.WithEpoch(ctx, epoch)
	}
	var err error
	switch words[0] {
	case "claim":
		_, err = p.Claim(ctx, ip, func() error { return nil })
	case "release":
		err = p.Release(ctx, ip)
	case "holder":
		var h assigner.Holding
		if h, err = p.Holder(ctx, ip); err == nil {
			return fmt.Sprintf("%q locked=%v", h.Instance, h.Locked)
		}
	}
	if err != nil {
		return err.Error()
	}
	return "ok"
}
