package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/probe"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// A test that kills a service executes this binary again, with one of these set
// to the name of a role and to its settings as JSON.
const (
	envChild    = "TAPWATCH_E2E_CHILD"
	envSettings = "TAPWATCH_E2E_SETTINGS"
)

// settings are what the roles need; each takes its part.
type settings struct {
	Broker, KafkaProxy string
	ClickHouse         string // through a proxy
	Database           string
	Topic, Group       string
	Listen             string // of a collector's metrics
	Dir                string // of a spool
	Journal            string // of the generator
	Seed               uint64
	Flows              int
	RequestTimeout     time.Duration
}

// runChildIfAsked turns this test binary into one of the services that a test
// kills, if its parent asked for that.
func runChildIfAsked() {
	role := os.Getenv(envChild)
	if role == "" {
		return
	}
	err := runChild(role)
	if err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runChild(role string) error {
	var s settings
	if err := json.Unmarshal([]byte(os.Getenv(envSettings)), &s); err != nil {
		return fmt.Errorf("parse settings: %w", err)
	}
	switch role {
	case "generator":
		return generate(s, os.Stdin)
	case "probe":
		return probe.Run(context.Background(), s.probe()) // the end of its standard input is the end of the capture
	case "collector":
		return untilInputEnds(func(ctx context.Context) error { return collector.Run(ctx, s.collector()) })
	case "naive":
		return untilInputEnds(func(ctx context.Context) error { return collectNaively(ctx, s) })
	}
	return errors.New("no such role")
}

// untilInputEnds runs a service until its parent lets go of it, or dies.
func untilInputEnds(run func(context.Context) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
		time.AfterFunc(15*time.Second, func() { os.Exit(3) })
	}()
	return run(ctx)
}

func (s settings) collector() collector.Config {
	cfg := collector.DefaultConfig()
	cfg.Kafka.Brokers, cfg.Topic, cfg.DeadLetterTopic, cfg.Group = []string{s.Broker}, s.Topic, s.Topic+".dead", s.Group
	cfg.ClickHouse.Addr, cfg.ClickHouse.Database = []string{s.ClickHouse}, s.Database
	cfg.Create.Partitions = 0 // the test has made them
	cfg.Block.MaxWait, cfg.Block.Timeout = 150*time.Millisecond, s.RequestTimeout
	cfg.Block.Reserve = diskReserve
	cfg.Rollup.Interval = time.Second
	cfg.Ops = ops.Config{Listen: s.Listen, LogLevel: "info"}
	return cfg
}

func (s settings) probe() probe.Config {
	cfg := probe.DefaultConfig()
	cfg.Name, cfg.Capture.Files, cfg.Topic = edgeProbe, []string{"-"}, s.Topic
	cfg.Kafka.Brokers = []string{s.Broker}
	cfg.Meter.IdleTimeout = edgeIdle
	cfg.Spool.Dir, cfg.Spool.MaxBytes, cfg.Spool.Drain = s.Dir, kit.Bytes(spoolBytes), time.Minute
	cfg.Ops = ops.Config{LogLevel: "info"}
	return cfg
}

// child is this binary in one of its roles. It ends when its input does, so
// also when this process dies.
type child struct {
	role  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	done  chan struct{} // closed when it is gone; err is set then
	err   error
	once  sync.Once
}

// start executes this binary in a role; what it says goes to a file of dir.
func start(role, name string, s settings, dir string) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c := &child{role: role, cmd: exec.Command(exe), done: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), envChild+"="+role, envSettings+"="+string(text))
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

// gone reports whether the child has ended.
func (c *child) gone() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// kill is kill -9; it returns when the child is gone.
func (c *child) kill() {
	c.cmd.Process.Signal(syscall.SIGKILL)
	<-c.done
}

// end lets go of the child, and returns its error when it is gone.
func (c *child) end(patience time.Duration) error {
	c.once.Do(func() { c.stdin.Close() })
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-c.done:
	case <-t.C:
		c.kill()
		return fmt.Errorf("%s did not end within %s", c.role, patience)
	}
	if c.err != nil {
		return fmt.Errorf("%s: %w", c.role, c.err)
	}
	return nil
}
