package lab

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/tapwatch/tapwatch/analyzer"
	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/deploy/demo/trace"
	"github.com/tapwatch/tapwatch/probe"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// This binary is executed again for every service and every program of the lab.
const (
	envRole     = "TAPWATCH_LAB_ROLE"
	envSettings = "TAPWATCH_LAB_SETTINGS"
)

// settings are what the roles need; each takes its part.
type settings struct {
	Broker, ClickHouse, Database string
	Dir                          string
	Seed                         uint64
	N                            int
	Rate                         int // packets a second
	File                         string
	Seconds                      int
}

func TestMain(m *testing.M) {
	if role := os.Getenv(envRole); role != "" {
		var s settings
		err := json.Unmarshal([]byte(os.Getenv(envSettings)), &s)
		if err == nil {
			err = play(role, s)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, role+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	localtest.Main(m)
}

func play(role string, s settings) error {
	ctx := context.Background()
	switch role {
	case "probe":
		cfg := probe.DefaultConfig()
		cfg.Name, cfg.Capture.Interfaces, cfg.Topic = "lab", []string{tap}, s.Database
		cfg.Kafka.Brokers = []string{s.Broker}
		cfg.Spool.Dir = filepath.Join(s.Dir, "spool")
		cfg.Ops.Listen, cfg.Ops.LogLevel = "", "warn"
		return untilTold(ctx, func(ctx context.Context) error { return probe.Run(ctx, cfg) })
	case "collector":
		cfg := collector.DefaultConfig()
		cfg.Kafka.Brokers, cfg.Topic, cfg.DeadLetterTopic, cfg.Group = []string{s.Broker}, s.Database, s.Database+".dead", s.Database
		cfg.ClickHouse.Addr, cfg.ClickHouse.Database = []string{s.ClickHouse}, s.Database
		cfg.Block.MaxWait, cfg.Rollup.Interval = 200*time.Millisecond, 2*time.Second
		cfg.Ops.Listen, cfg.Ops.LogLevel = "", "warn"
		return untilTold(ctx, func(ctx context.Context) error { return collector.Run(ctx, cfg) })
	case "analyzer":
		cfg := analyzer.DefaultConfig()
		cfg.ClickHouse.Addr, cfg.ClickHouse.Database = []string{s.ClickHouse}, s.Database
		cfg.Console.Listen, cfg.Ops.Listen, cfg.Ops.LogLevel = "127.0.0.1:0", "", "warn"
		return untilTold(ctx, func(ctx context.Context) error { return analyzer.Run(ctx, cfg) })
	case "serve":
		return serve(ctx)
	case "resolve":
		return resolve()
	case "guess":
		return guess(s.N)
	case "tunnel":
		return tunnel(s)
	case "call":
		return call(s)
	case "upload":
		return upload(s.N)
	case "send":
		return send(s)
	case "mark":
		return mark(s)
	}
	return errors.New("no such role")
}

// untilTold runs a service until its standard input ends, as it does when its
// parent dies.
func untilTold(ctx context.Context, run func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
		time.AfterFunc(15*time.Second, func() { os.Exit(3) })
	}()
	return run(ctx)
}

// child is this binary, or another program, in a role.
type child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   strings.Builder
	done  chan struct{}
	err   error
	once  sync.Once
}

// spawn starts a role, in a member's namespace or, without one, here.
func spawn(t *testing.T, member, role string, s settings) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return launch(t, member, []string{envRole + "=" + role, envSettings + "=" + string(text)}, exe)
}

func launch(t *testing.T, member string, env []string, words ...string) *child {
	t.Helper()
	if member != "" {
		words = append([]string{"ip", "netns", "exec", namespace(member)}, words...)
	}
	c := &child{cmd: exec.Command(words[0], words[1:]...), done: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.out
	var err error
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.err = c.cmd.Wait(); close(c.done) }()
	t.Cleanup(func() { c.end() })
	return c
}

// wait returns when it has ended, and fails the test if it failed.
func (c *child) wait(t *testing.T) string {
	t.Helper()
	<-c.done
	if c.err != nil {
		t.Errorf("%v: %v: %s", c.cmd.Args, c.err, c.out.String())
	}
	return c.out.String()
}

// end asks it to end, and kills it if it does not.
func (c *child) end() {
	c.once.Do(func() { c.stdin.Close() })
	select {
	case <-c.done:
	case <-time.After(20 * time.Second):
		c.kill()
	}
}

func (c *child) kill() { _ = c.cmd.Process.Signal(syscall.SIGKILL); <-c.done }

// serve is the server: web pages, a place to upload to, and SSH that lets nobody in.
func serve(ctx context.Context) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return err
	}
	cfg := &ssh.ServerConfig{MaxAuthTries: 1, PasswordCallback: func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) { return nil, errors.New("no") }}
	cfg.AddHostKey(signer)
	accept := func(port int, each func(net.Conn)) {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go each(c)
		}
	}
	go accept(22, func(c net.Conn) {
		defer c.Close()
		if s, _, _, err := ssh.NewServerConn(c, cfg); err == nil {
			s.Close()
		}
	})
	go accept(9000, func(c net.Conn) { defer c.Close(); _, _ = io.Copy(io.Discard, c) })
	go func() {
		page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, strings.Repeat("page ", 100)) })
		_ = (&http.Server{Addr: ":80", Handler: page, ReadHeaderTimeout: time.Minute}).ListenAndServe()
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// resolve answers every question with a text.
func resolve() error {
	conn, err := net.ListenPacket("udp", ":53")
	if err != nil {
		return err
	}
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); os.Exit(0) }()
	buffer := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return err
		}
		var m dnsmessage.Message
		if m.Unpack(buffer[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		m.Response = true
		q := m.Questions[0]
		m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}, Body: &dnsmessage.TXTResource{TXT: []string{strings.Repeat("d", 120)}}}}
		if b, err := m.Pack(); err == nil {
			_, _ = conn.WriteTo(b, from)
		}
	}
}

// guess tries passwords, each on a connection of its own.
func guess(n int) error {
	for k := range n {
		c, err := ssh.Dial("tcp", webServer+":22", &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.Password(fmt.Sprint("secret", k))}, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: 10 * time.Second})
		if err == nil {
			c.Close()
			return errors.New("let in")
		}
		time.Sleep(200 * time.Millisecond)
	}
	return nil
}

// tunnel carries noise in names, 20 a second.
func tunnel(s settings) error {
	conn, err := net.Dial("udp", resolver+":53")
	if err != nil {
		return err
	}
	defer conn.Close()
	for k := range s.N {
		var data [40]byte
		_, _ = rand.Read(data[:])
		label := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(data[:]))
		name := dnsmessage.MustNewName(label[:32] + "." + label[32:] + ".t.lab-tunnel.example.")
		m := dnsmessage.Message{Header: dnsmessage.Header{ID: uint16(k), RecursionDesired: true}, Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET}}}
		b, err := m.Pack()
		if err != nil {
			return err
		}
		if _, err := conn.Write(b); err != nil {
			return err
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = conn.Read(make([]byte, 2048))
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

// call fetches the same page every two seconds, ±10 %, from outside.
func call(s settings) error {
	r := mathrand.New(mathrand.NewPCG(s.Seed, 1))
	for range s.N {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
		resp, err := client.Get("http://" + outside + "/check")
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		time.Sleep(time.Duration(1800+r.IntN(400)) * time.Millisecond)
	}
	return nil
}

// upload sends n octets outside.
func upload(n int) error {
	conn, err := net.Dial("tcp", outside+":9000")
	if err != nil {
		return err
	}
	defer conn.Close()
	block := make([]byte, 64<<10)
	_, _ = rand.Read(block)
	for sent := 0; sent < n; {
		k, err := conn.Write(block)
		if err != nil {
			return err
		}
		sent += k
		time.Sleep(4 * time.Millisecond) // about 15 MB/s: it shall not be what overloads the tap
	}
	return nil
}

// send puts the packets of a file on the wire, at a rate, over and over; it prints
// how many it sent.
func send(s settings) error {
	packets, err := trace.ReadFile(s.File)
	if err != nil {
		return err
	}
	nic, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Ifindex: nic.Index}
	began, sent, failed := time.Now(), 0, 0
	for time.Since(began) < time.Duration(s.Seconds)*time.Second {
		due := int(time.Since(began).Seconds() * float64(s.Rate))
		if due <= sent {
			time.Sleep(500 * time.Microsecond)
			continue
		}
		for ; sent < due; sent++ {
			if unix.Sendto(fd, packets[sent%len(packets)].Data, 0, to) != nil {
				failed++
			}
		}
	}
	fmt.Println(sent - failed)
	return nil
}

// mark opens and closes a connection four times a second and prints the port and
// when it was over: what the latency of rows is measured with.
func mark(s settings) error {
	for end := time.Now().Add(time.Duration(s.Seconds) * time.Second); time.Now().Before(end); time.Sleep(250 * time.Millisecond) {
		c, err := net.Dial("tcp", "10.77.0.81:9000")
		if err != nil {
			return err
		}
		port := c.LocalAddr().(*net.TCPAddr).Port
		_, _ = c.Write([]byte("mark"))
		c.Close()
		fmt.Println(port, time.Now().UnixNano())
	}
	return nil
}
