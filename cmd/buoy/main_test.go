package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/buoy-lb/buoy/assigner/dotest"
	"github.com/buoy-lb/buoy/assigner/hetznertest"
	"github.com/buoy-lb/buoy/cluster/peernet"
	"github.com/buoy-lb/buoy/config"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"buoy": main})
}

// TestScripts types commands as an operator does, at real daemons whose cloud is a fake.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit": cmdExit, "until": cmdUntil, "get": cmdGet, "sub": cmdSub,
			"world": cmdWorld, "service": cmdService, "notify": cmdNotify,
			"account": cmdAccount, "holder": cmdHolder, "writes": cmdWrites, "refuse": cmdRefuse, "busy": cmdBusy,
			"hcloud":  cmdHcloud,
			"webhook": cmdWebhook, "appendto": cmdAppend,
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
}

// cmdExit runs a command and wants an exit code: exit 2 buoy nonsense.
func cmdExit(ts *testscript.TestScript, _ bool, args []string) {
	got, err := 0, ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

// cmdUntil repeats a command until its stdout has each of the texts before it, whatever
// its exit code, or until it succeeds if there are none: until MASTER -- buoy status.
func cmdUntil(ts *testscript.TestScript, _ bool, args []string) {
	split := slices.Index(args, "--")
	texts, command := args[:split], args[split+1:]
	deadline := time.Now().Add(60 * time.Second)
	for {
		err := ts.Exec(command[0], command[1:]...)
		out := ts.ReadFile("stdout")
		if len(texts) > 0 {
			err = missing(out, texts)
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("still: %v\n%s%s", err, out, ts.ReadFile("stderr"))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func missing(out string, texts []string) error {
	for _, text := range texts {
		if !strings.Contains(out, text) {
			return fmt.Errorf("no %q in stdout", text)
		}
	}
	return nil
}

// cmdGet wants a status code and a prefix of the body: get 200 http://... prefix.
func cmdGet(ts *testscript.TestScript, _ bool, args []string) {
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get(args[1])
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if strconv.Itoa(resp.StatusCode) != args[0] || !strings.HasPrefix(string(body), strings.Join(args[2:], " ")) {
		ts.Fatalf("%s: %s %q, want %q", args[1], resp.Status, body, args[0])
	}
}

// cmdSub replaces text in a file: sub FILE OLD NEW. \n in NEW begins a line.
func cmdSub(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("no %q in %s", args[1], args[0])
	}
	text = strings.ReplaceAll(text, args[1], strings.ReplaceAll(args[2], `\n`, "\n"))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// cmdAppend adds files to the end of the first: appendto FILE MORE.
func cmdAppend(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	for _, more := range args[1:] {
		text += ts.ReadFile(more)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// cmdWebhook takes what is posted to the URL in the variable WEBHOOK and adds it, a line each, to
// the file webhook.log.
func cmdWebhook(ts *testscript.TestScript, _ bool, _ []string) {
	log, err := os.Create(ts.MkAbs("webhook.log"))
	ts.Check(err)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(log, "%s\n", body)
	}))
	ts.Defer(func() { s.Close(); _ = log.Close() })
	ts.Setenv("WEBHOOK", s.URL)
}

// world is a fake cloud and the folders of a few nodes.
type world struct {
	cloud    *dotest.Server
	services map[string]*service
	manager  *net.UnixConn
}

// service is the stand-in for a node's HAProxy: a port that accepts or does not.
type service struct {
	address  string
	listener net.Listener
}

const floatingIP = "203.0.113.10"

// worlds by the script's working directory; scripts run in parallel.
var worlds = struct {
	ch chan map[string]*world
}{func() chan map[string]*world {
	ch := make(chan map[string]*world, 1)
	ch <- map[string]*world{}
	return ch
}()}

func worldOf(ts *testscript.TestScript) *world {
	all := <-worlds.ch
	defer func() { worlds.ch <- all }()
	return all[ts.Getenv("WORK")]
}

// cmdWorld makes nodes lb1, lb2, ...: world lb1 lb2. Each has a folder of its name with
// buoy.yaml, secret and token, a droplet, and addresses of its own on loopback, in the
// variables lb1 (members' port is 7400), lb1_http and so on.
func cmdWorld(ts *testscript.TestScript, _ bool, args []string) {
	w := &world{cloud: dotest.New(dotest.Options{Latency: dotest.Fixed(20 * time.Millisecond)}), services: map[string]*service{}}
	ts.Defer(w.close)
	all := <-worlds.ch
	all[ts.Getenv("WORK")] = w
	worlds.ch <- all
	endpoint, err := w.cloud.Start("127.0.0.1:0")
	ts.Check(err)
	ts.Setenv("api", endpoint.URL)
	ts.Check(w.cloud.AddReservedIP(netip.MustParseAddr(floatingIP), "nyc3", 0))
	secret, err := peernet.GenerateSecret()
	ts.Check(err)
	network := fmt.Sprintf("127.%d.%d.", 1+rand.IntN(250), rand.IntN(250))
	for i, name := range args {
		droplet, host := 1001+i, network+strconv.Itoa(i+1)
		w.cloud.AddDroplet(dotest.Droplet{ID: droplet, Name: name, Region: "nyc3"})
		token := fmt.Sprintf("dop_v1_%064d", droplet)
		w.cloud.AddToken(name, token, dotest.AssignScopes()...)
		metadata, err := w.cloud.StartMetadata(droplet, "127.0.0.1:0")
		ts.Check(err)
		s := &service{address: host + ":8080"}
		w.services[name] = s
		ts.Check(s.up())
		dir := ts.MkAbs(name)
		ts.Check(os.MkdirAll(dir, 0o700))
		files := map[string]string{"secret": secret + "\n", "token": token + "\n", "buoy.yaml": nodeConfig(name, dir, host, endpoint.URL, metadata.URL, 150-10*i)}
		for file, text := range files {
			ts.Check(os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
		}
		ts.Setenv(name, host)
		ts.Setenv(name+"_http", "http://"+host+":7401")
	}
}

// cmdHcloud makes a Hetzner Cloud project beside the world, in which a floating IPv4 and a floating
// IPv6 belong to nobody: hcloud. $HCLOUD_API and $HCLOUD_METADATA are its addresses, the latter as
// server 101 sees it; the file hcloud-token lets in.
func cmdHcloud(ts *testscript.TestScript, _ bool, _ []string) {
	project := hetznertest.New()
	project.SetLatency(20 * time.Millisecond)
	project.AddToken("lb1", "hcloud-secret")
	project.AddServer(101)
	project.AddFloatingIP(netip.MustParsePrefix(floatingIP+"/32"), 0)
	project.AddFloatingIP(netip.MustParsePrefix("2001:db8:0:1::/64"), 0)
	for name, handler := range map[string]http.Handler{"HCLOUD_API": project.API(), "HCLOUD_METADATA": project.Metadata(101)} {
		s := httptest.NewServer(handler)
		ts.Defer(s.Close)
		ts.Setenv(name, s.URL)
	}
	ts.Check(os.WriteFile(ts.MkAbs("hcloud-token"), []byte("hcloud-secret\n"), 0o600))
}

func nodeConfig(name, dir, host, api, metadata string, priority int) string {
	return fmt.Sprintf(`cluster: web
node: {id: %[1]s, listen: "%[3]s:7400", data_dir: %[2]s/data}
secret_file: %[2]s/secret
socket: %[2]s/sock
http: "%[3]s:7401"
priority: %[6]d
floating_ips: [%[7]s]
provider:
  digitalocean:
    token_file: %[2]s/token
    api_url: %[4]s
    metadata_url: %[5]s
    verify_interval: 5s
checks:
  - {name: service, tcp: {address: "%[3]s:8080"}, interval: 50ms}
`, name, dir, host, api, metadata, priority, floatingIP)
}

// cmdService takes a node's service down or brings it back: service lb1 down.
func cmdService(ts *testscript.TestScript, _ bool, args []string) {
	s := worldOf(ts).services[args[0]]
	if args[1] == "up" {
		ts.Check(s.up())
		return
	}
	ts.Check(s.listener.Close())
}

// cmdNotify plays the service manager: notify listen, then notify TEXT waits until a
// daemon that was started meanwhile has said TEXT.
func cmdNotify(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	if args[0] == "listen" {
		path := ts.MkAbs("notify")
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		ts.Check(err)
		ts.Defer(func() { _ = c.Close() })
		ts.Setenv("NOTIFY_SOCKET", path)
		w.manager = c
		return
	}
	ts.Check(w.manager.SetReadDeadline(time.Now().Add(60 * time.Second)))
	buf := make([]byte, 256)
	for said := ""; said != args[0]; {
		n, err := w.manager.Read(buf)
		ts.Check(err)
		said = string(buf[:n])
	}
}

func (s *service) up() (err error) {
	s.listener, err = net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	go func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}(s.listener)
	return nil
}

func (w *world) close() {
	for _, s := range w.services {
		_ = s.listener.Close()
	}
	w.cloud.Close()
}

// TestCloseLeavesTheCloud: no connection to the API outlives the parts.
func TestCloseLeavesTheCloud(t *testing.T) {
	closed := make(chan struct{}, 10)
	cloud := httptest.NewUnstartedServer(http.NotFoundHandler())
	cloud.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			closed <- struct{}{}
		}
	}
	cloud.Start()
	defer cloud.Close()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("dop_v1_test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{Provider: config.Provider{DigitalOcean: &config.DigitalOcean{
		TokenFile: token, DropletID: 1001, APIURL: cloud.URL + "/", MetadataURL: cloud.URL + "/",
	}}}
	p := &parts{cfg: cfg, log: hclog.NewNullLogger()}
	provider, err := p.openProvider()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.Holder(t.Context(), netip.MustParseAddr(floatingIP)); err == nil || !strings.Contains(err.Error(), "404") {
		t.Fatalf("the cloud was not asked: %v", err)
	}
	select {
	case <-closed:
		t.Fatal("the connection is not kept: this test proves nothing")
	default:
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("a connection to the cloud is left open")
	}
}

// TestListenSocket: a socket is taken over from the dead only.
func TestListenSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "run", "sock")
	first, err := listenSocket(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != socketMode {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := listenSocket(t.Context(), path); err == nil || !strings.Contains(err.Error(), "another buoy daemon answers") {
		t.Errorf("a second daemon got: %v", err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false) // as after kill -9
	_ = first.Close()
	again, err := listenSocket(t.Context(), path)
	if err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	_ = again.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenSocket(t.Context(), file); err == nil {
		t.Error("replaced a file")
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}
