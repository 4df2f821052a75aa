package confine

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/proto/spool"
)

// childKey makes the test program be the confined child; its value is a
// childConfig.
const childKey = "CONFINE_TEST_CHILD"

type childConfig struct {
	Interface string // "": no capture
	Dir       string // spool
	Secret    string // a file that is not to be read
	Dial      string
	User      string
	Old       bool // as on a kernel without landlock
}

// childReport is what the confined child found.
type childReport struct {
	Report    Report
	Threads   int
	Received  uint64 // frames
	Kernel    uint64
	Got       map[string]string // attempt -> "" or the error
	Listening string
	UID       int
	Fanout    string
}

func TestMain(m *testing.M) {
	if v := os.Getenv(childKey); v != "" {
		var cfg childConfig
		err := json.Unmarshal([]byte(v), &cfg)
		if err == nil {
			err = child(cfg)
		}
		if err != nil {
			fmt.Println("child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child does what the probe does: opens, confines itself, captures. It tells
// its parent how far it is, and waits for a line each time.
func child(cfg childConfig) error {
	in := bufio.NewReader(os.Stdin)
	state, resumed := Resumed()
	var sources []capture.Source
	var keep []int
	var err error
	switch {
	case cfg.Interface == "":
	case resumed:
		sources, err = capture.Inherit(state, nil)
	default:
		if sources, err = capture.OpenLive(cfg.Interface, capture.LiveOptions{Workers: 2, Filter: "", BlockSize: 1 << 16, Blocks: 16, BlockTime: 10 * time.Millisecond}); err == nil {
			state, keep, err = capture.Handover(sources)
		}
	}
	if err != nil {
		return err
	}
	if !resumed {
		fmt.Println("open")
		if _, err := oneByOne(os.Stdin); err != nil {
			return err
		}
	}
	if cfg.Old && !resumed {
		raw, err := bpf.Assemble([]bpf.Instruction{bpf.LoadAbsolute{Off: dataCall, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_LANDLOCK_CREATE_RULESET, SkipTrue: 1},
			bpf.RetConstant{Val: unknown}, bpf.RetConstant{Val: allow}})
		if err == nil {
			err = install(raw)
		}
		if err != nil {
			return err
		}
	}
	var r childReport
	if r.Report, err = Apply(Config{Write: []string{filepath.Join(cfg.Dir, "made")}, User: cfg.User}, state, keep); err != nil {
		return err
	}
	if !resumed {
		return errors.New("Apply returned the first time")
	}
	fmt.Println("confined")
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	r.UID = os.Getuid()
	if len(sources) > 0 {
		info, _ := capture.Info(sources[0])
		r.Fanout = info.Fanout
		r.Received, r.Kernel = readAll(sources)
	}
	r.Got = attempts(cfg)
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	r.Threads = len(tasks)
	r.Report.Capabilities, r.Report.NoNewPrivs = threads() // again, now that there are more
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	fmt.Println(string(b))
	return nil
}

// oneByOne reads a line without reading ahead, for the program that follows.
func oneByOne(r io.Reader) (line string, err error) {
	b := make([]byte, 1)
	for {
		if _, err := r.Read(b); err != nil || b[0] == '\n' {
			return line, err
		}
		line += string(b)
	}
}

func readAll(sources []capture.Source) (received, kernel uint64) {
	var wg sync.WaitGroup
	for _, s := range sources {
		wg.Go(func() {
			var f capture.Frame
			for idle := 0; idle < 20; idle++ {
				for s.Next(&f) == nil {
				}
			}
		})
	}
	wg.Wait()
	for _, s := range sources {
		received, kernel = received+s.Stats().Received, kernel+s.Stats().KernelSeen
	}
	return received, kernel
}

// attempts tries what must work and what must not, each on a thread that has
// been made after the confinement and on others that were there.
func attempts(cfg childConfig) map[string]string {
	got := make(map[string]string)
	try := func(name string, f func() error) {
		got[name] = ""
		if err := f(); err != nil {
			got[name] = err.Error()
		}
	}
	file := func(path string) func() error {
		return func() error {
			f, err := os.Open(path)
			if err == nil {
				f.Close()
			}
			return err
		}
	}
	try("read secret", file(cfg.Secret))
	try("read shadow", file("/etc/shadow"))
	try("read another's environment", file(fmt.Sprintf("/proc/%d/environ", os.Getppid())))
	try("read hosts", file("/etc/hosts"))
	try("write elsewhere", func() error { return os.WriteFile(cfg.Secret, nil, 0o600) })
	try("execute", func() error { return syscall.Exec("/bin/true", []string{"true"}, nil) })
	try("start a process", func() error { return exec.Command("/bin/true").Run() })
	try("packet socket", func() error { _, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); return err })
	try("netlink of the firewall", func() error {
		_, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER)
		return err
	})
	try("raw socket", func() error {
		_, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
		return err
	})
	try("mount", func() error { return unix.Mount("none", cfg.Dir, "tmpfs", 0, "") })
	try("trace", func() error { return unix.PtraceAttach(os.Getppid()) })
	try("bpf", func() error {
		_, _, e := unix.Syscall(unix.SYS_BPF, 0, 0, 0)
		if e == 0 {
			return nil
		}
		return e
	})
	try("capture again", func() error {
		s, err := capture.OpenLive(cfg.Interface, capture.LiveOptions{})
		for _, x := range s {
			x.Close()
		}
		return err
	})
	try("dial", func() error {
		c, err := net.DialTimeout("tcp", cfg.Dial, 5*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("hello"))
		return err
	})
	try("serve", func() error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		go http.Serve(l, http.NotFoundHandler())
		r, err := http.Get("http://" + l.Addr().String() + "/metrics")
		if err != nil {
			return err
		}
		return r.Body.Close()
	})
	try("resolve", func() error { _, err := net.LookupHost("localhost"); return err })
	try("spool", func() error {
		sp, err := spool.Open(spool.Config{Dir: filepath.Join(cfg.Dir, "made", "spool"), MaxBytes: 64 << 20}, nil, nil)
		if err != nil {
			return err
		}
		if err := sp.Append(spool.Record{Partition: -1, Value: []byte("batch")}); err != nil {
			sp.Close()
			return err
		}
		return sp.Close()
	})
	try("filter", func() error {
		_, err := capture.CompileFilter("tcp port http", 1, 0)
		return err
	})
	try("pin", func() error {
		release, err := capture.Pin(0)
		if err == nil {
			release()
		}
		return err
	})
	try("threads", func() error {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				runtime.LockOSThread() // and never unlocked: a thread of its own
				time.Sleep(time.Millisecond)
			})
		}
		wg.Wait()
		return nil
	})
	return got
}

// start runs the child and returns ways to talk to it.
type running struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	err *strings.Builder
}

func start(t *testing.T, cfg childConfig) *running {
	t.Helper()
	v, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, cmd: exec.Command("/proc/self/exe"), err: &strings.Builder{}}
	r.cmd.Env = append(os.Environ(), childKey+"="+string(v))
	r.cmd.Stderr = r.err
	if r.in, err = r.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.out = bufio.NewReader(out)
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.cmd.Process.Kill()
		r.cmd.Wait()
	})
	return r
}

func (r *running) line() string {
	r.t.Helper()
	s, err := r.out.ReadString('\n')
	if err != nil {
		r.t.Fatalf("the child ended: %q, %v: %s", s, err, r.err)
	}
	return strings.TrimSpace(s)
}

func (r *running) expect(want string) {
	r.t.Helper()
	if got := r.line(); got != want {
		r.t.Fatalf("the child says %q (want %q)", got, want)
	}
}

func (r *running) goOn() { fmt.Fprintln(r.in) }

// tap makes a namespace with a veth pair for the calling goroutine's thread,
// which children inherit, and returns how to send into "tap".
func tap(t *testing.T) (send func(n int)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("giving up privileges is tested as root only: there are none otherwise")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace can be made here: %v", err)
	}
	for _, c := range []string{"link add tap type veth peer name out", "link set tap addrgenmode none arp off", "link set out addrgenmode none arp off",
		"link set tap up", "link set out up", "link set lo up"} {
		if out, err := exec.Command("ip", strings.Fields(c)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", c, err, out)
		}
	}
	nic, err := net.InterfaceByName("out")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return func(n int) {
		for i := range n {
			b := make([]byte, 60)
			copy(b, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00\x45\x00\x00\x2e\x00\x00\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x00\x0a\x01\x00\x01")
			b[29] = byte(i)
			if err := unix.Sendto(fd, b, 0, &unix.SockaddrLinklayer{Ifindex: nic.Index}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// confined runs the child through all steps and returns what it found.
func confined(t *testing.T, cfg childConfig) (childReport, *net.TCPListener) {
	t.Helper()
	send := tap(t)
	dir, hidden := t.TempDir(), t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir, filepath.Dir(hidden), hidden} {
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(hidden, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o666); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	cfg.Interface, cfg.Dir, cfg.Secret, cfg.Dial = "tap", dir, secret, l.Addr().String()
	r := start(t, cfg)
	r.expect("open")
	send(100) // these wait in the rings while the program changes
	r.goOn()
	r.expect("confined")
	send(150)
	r.goOn()
	var got childReport
	if line := r.line(); json.Unmarshal([]byte(line), &got) != nil {
		t.Fatalf("%s", line)
	}
	return got, l.(*net.TCPListener)
}

// TestConfined is promise S2: after the rings are open the process has no
// capabilities, cannot gain any, read others' files, execute, or open another
// packet socket; capture, spool, publishing and metrics go on.
func TestConfined(t *testing.T) {
	got, l := confined(t, childConfig{})
	if got.Report.LandlockLevel == 0 {
		t.Skipf("this kernel has no landlock: %+v", got.Report)
	}
	if len(got.Report.missing()) != 0 || got.Threads < 4 || got.UID != 0 {
		t.Errorf("%+v", got)
	}
	if got.Received != 250 || got.Kernel != 250 || got.Fanout != capture.FanoutFlow {
		t.Errorf("%d frames received, %d seen (want 250), fanout %s", got.Received, got.Kernel, got.Fanout)
	}
	for name, want := range map[string]string{
		"read secret": "permission denied", "read shadow": "permission denied", "write elsewhere": "permission denied",
		"read another's environment": "permission denied",
		"execute":                    "operation not permitted", "start a process": "operation not permitted",
		"packet socket": "operation not permitted", "netlink of the firewall": "operation not permitted", "raw socket": "operation not permitted", "mount": "operation not permitted",
		"trace": "operation not permitted", "bpf": "operation not permitted", "capture again": "permission denied: capturing needs CAP_NET_RAW",
		"read hosts": "", "dial": "", "serve": "", "resolve": "", "spool": "", "filter": "", "pin": "", "threads": "",
	} {
		err, tried := got.Got[name]
		if name == "filter" && strings.Contains(err, "libpcap is not installed") {
			continue
		}
		if name == "read shadow" && strings.Contains(err, "no such file") {
			continue
		}
		if !tried || (err == "") != (want == "") || !strings.Contains(err, want) {
			t.Errorf("%s: %q (want %q)", name, err, want)
		}
	}
	l.SetDeadline(time.Now().Add(5 * time.Second))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
		t.Errorf("the connection from the child: %q, %v", b, err)
	}
}

// TestConfinedAsUser becomes another user on the way.
func TestConfinedAsUser(t *testing.T) {
	if b, err := exec.Command("sh", "-c", "exec setpriv --reuid 65534 --clear-groups test -x "+os.Args[0]).CombinedOutput(); err != nil && os.Geteuid() == 0 {
		t.Skipf("another user cannot execute %s: %v %s", os.Args[0], err, b)
	}
	got, _ := confined(t, childConfig{User: "nobody"})
	if got.Report.Capabilities != "" || got.Report.NoNewPrivs != "" || got.UID != 65534 || got.Received != 250 {
		t.Errorf("%+v", got)
	}
	for _, name := range []string{"dial", "serve", "spool"} {
		if got.Got[name] != "" {
			t.Errorf("%s: %s", name, got.Got[name])
		}
	}
}

// TestOldKernel: without landlock everything else holds, and the report says so.
func TestOldKernel(t *testing.T) {
	got, _ := confined(t, childConfig{Old: true})
	if r := got.Report; len(r.missing()) == 0 || !strings.Contains(r.Landlock, "no landlock") || r.LandlockLevel != 0 || r.Capabilities+r.NoNewPrivs+r.Seccomp != "" {
		t.Errorf("%+v", r)
	}
	if got.Received != 250 || got.Got["execute"] == "" || got.Got["packet socket"] == "" || got.Got["spool"] != "" {
		t.Errorf("%+v", got)
	}
}

// TestRefused: what cannot be done is an error, and the process stays as it was.
func TestRefused(t *testing.T) {
	for want, cfg := range map[string]Config{
		"not known": {User: "no such user"},
	} {
		if _, err := Apply(cfg, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v (want %q)", err, want)
		}
	}
	if _, err := Apply(Config{}, nil, []int{1 << 20}); err == nil || !strings.Contains(err.Error(), "descriptor") {
		t.Errorf("a descriptor that is not open: %v", err)
	}
	if os.Geteuid() == 0 {
		if c, _ := threads(); c == "" {
			t.Error("the capabilities are gone")
		}
	}
	t.Setenv(resumeKey, "1")
	if _, ok := Resumed(); ok {
		t.Error("resumed from standard output")
	}
	t.Setenv(resumeKey, "7")
	if _, ok := Resumed(); ok {
		t.Error("resumed with privileges")
	}
}

func TestReport(t *testing.T) {
	if r := (Report{}); len(r.missing()) != 0 {
		t.Error("complete")
	}
	if r := (Report{Landlock: "too old"}); len(r.missing()) == 0 {
		t.Error("not complete")
	}
}
