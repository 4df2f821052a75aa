package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	clickhouse "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/creack/pty"
)

// process is one child.
type process struct {
	cmd      *exec.Cmd
	terminal *os.File // our end of its terminal; nil for a binary
	drained  chan struct{}
	ready    atomic.Bool // it has answered on both ports
}

// endOfInput is Ctrl-D.
const endOfInput = 4

// askToEnd asks for a clean end and does not wait for it. It can be repeated:
// a terminal forgets what was typed before the prompt took it over.
func (p *process) askToEnd() {
	if p.terminal == nil {
		p.cmd.Process.Signal(syscall.SIGTERM)
		return
	}
	p.terminal.Write([]byte{endOfInput})
}

// wait returns when the child is gone and everything it held is closed.
func (p *process) wait() error {
	err := p.cmd.Wait()
	if p.terminal != nil {
		p.terminal.Close()
		<-p.drained
	}
	return err
}

// spawn starts a child. It must be called from a thread that lives as long as
// the child: the kernel takes the death of that thread for the parent's.
func (c *ClickHouse) spawn() (*process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping {
		return nil, context.Canceled
	}
	c.out.reset()
	cmd := exec.Command(c.command[0], c.command[1:]...)
	cmd.Dir = c.cfg.Dir
	cmd.Env = c.env
	cmd.Stdout, cmd.Stderr = &c.out, &c.out
	// The lock goes with the child, so that a child that outlives us for a
	// moment is not joined by a second one on the same files.
	cmd.ExtraFiles = []*os.File{c.alive[0], c.lock}
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = childAttr(c.terminal)
	p := &process{cmd: cmd}
	if c.terminal {
		// With any other stdin a client's TCP reset ends the whole server
		// (ClickHouse issue 115666).
		master, tty, err := pty.Open()
		if err != nil {
			return nil, fmt.Errorf("open terminal for clickhouse: %w", err)
		}
		defer tty.Close()
		pty.Setsize(master, &pty.Winsize{Rows: 25, Cols: 80})
		cmd.Stdin = tty
		p.terminal, p.drained = master, make(chan struct{})
	}
	if err := cmd.Start(); err != nil {
		if p.terminal != nil {
			p.terminal.Close()
		}
		return nil, fmt.Errorf("start %s: %w", c.command[0], err)
	}
	if p.terminal != nil {
		go func() {
			defer close(p.drained)
			io.Copy(io.Discard, p.terminal) // echo and prompts; ends when the child does
		}()
	}
	c.proc = p
	return p, nil
}

// supervise keeps one child running until end is called, or until one dies
// that was never ready.
func (c *ClickHouse) supervise() {
	runtime.LockOSThread() // see spawn; never unlocked, the thread ends with us
	defer close(c.done)
	backoff := backoffMin
	for {
		began := time.Now()
		p, err := c.spawn()
		if err == nil && !c.everReady.Load() {
			p.ready.Store(true) // judged by StartClickHouse
		}
		if err == nil {
			watch := make(chan struct{})
			go c.watchRestart(p, watch)
			err = p.wait()
			close(watch)
			c.mu.Lock()
			c.proc = nil
			c.mu.Unlock()
		} else if !errors.Is(err, context.Canceled) {
			c.out.Write([]byte(err.Error() + "\n"))
		}
		select {
		case <-c.stop:
			return
		default:
		}
		if !c.everReady.Load() {
			return
		}
		c.restarts.Add(1)
		// Waiting helps against what keeps it from starting, not against kills.
		if p != nil && p.ready.Load() {
			backoff = backoffMin
		}
		c.log.Warn("clickhouse died: restarting it", "cause", exitCause(err), "lived", time.Since(began).Round(time.Millisecond),
			"restarts", c.Restarts(), "output", c.out.line(), "log", c.cfg.Dir+"/clickhouse.log")
		pause := time.NewTimer(backoff)
		select {
		case <-pause.C:
		case <-c.stop:
			pause.Stop()
			return
		}
		backoff = min(backoff*2, backoffMax)
	}
}

// watchRestart kills a restarted child that does not become ready, for example
// because another program took its port meanwhile, so that it is tried again.
func (c *ClickHouse) watchRestart(p *process, gone <-chan struct{}) {
	if !c.everReady.Load() {
		return // the first start is watched by StartClickHouse
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-gone:
		case <-c.stop:
		case <-stop:
		}
		cancel()
	}()
	began := time.Now()
	err := c.waitReady(ctx)
	switch {
	case err == nil:
		p.ready.Store(true)
		c.log.Info("clickhouse is back", "pid", p.cmd.Process.Pid, "took", time.Since(began).Round(time.Millisecond))
	case !errors.Is(ctx.Err(), context.Canceled):
		c.log.Error("clickhouse does not become ready: killing it", "cause", err)
		p.kill()
	}
}

// waitReady returns nil when our own server answers on both ports and has its
// database; an error when it died before, cannot have its ports, or ctx ended.
func (c *ClickHouse) waitReady(ctx context.Context) error {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	var listens time.Time // when the server thought that it does
	for {
		began := time.Now()
		if listens.IsZero() && c.out.contains(promptMark) {
			listens = began
		}
		last := c.probe(ctx)
		if last == nil {
			return nil
		}
		// The library says nothing if it does not get a port.
		if !listens.IsZero() && began.Sub(listens) > portGrace {
			return fmt.Errorf("start clickhouse on ports %d and %d: %w: %w", c.cfg.TCPPort, c.cfg.HTTPPort, errPortTaken, last)
		}
		select {
		case <-tick.C:
		case <-c.done:
			return fmt.Errorf("start clickhouse: it ended before it was ready: %s (log: %s/clickhouse.log)", c.out.line(), c.cfg.Dir)
		case <-ctx.Done():
			return fmt.Errorf("start clickhouse: not ready: %w: %w: %s (log: %s/clickhouse.log)", ctx.Err(), last, c.out.line(), c.cfg.Dir)
		}
	}
}

// probe asks both ports who answers, and makes the database.
func (c *ClickHouse) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// Cheap, and the usual answer while it starts.
	if conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.Addr()); err != nil {
		return fmt.Errorf("probe clickhouse native port: %w", err)
	} else {
		conn.Close()
	}
	who := "SELECT getMacro('" + instanceMacro + "')"
	got, err := c.httpQuery(ctx, who)
	if err != nil {
		return err
	}
	if strings.TrimSpace(got) != c.instance {
		return fmt.Errorf("probe clickhouse HTTP port %d: another server answers: %w", c.cfg.HTTPPort, errPortTaken)
	}
	if _, err := c.httpQuery(ctx, "CREATE DATABASE IF NOT EXISTS "+Database+" ENGINE=Atomic"); err != nil {
		return err
	}
	conn, err := clickhouse.Open(&clickhouse.Options{Addr: []string{c.Addr()}, MaxOpenConns: 1, DialTimeout: 2 * time.Second, ReadTimeout: 5 * time.Second})
	if err != nil {
		return fmt.Errorf("probe clickhouse native port %d: %w", c.cfg.TCPPort, err)
	}
	defer conn.Close()
	if err := conn.QueryRow(ctx, who).Scan(&got); err != nil {
		return fmt.Errorf("probe clickhouse native port %d: %w", c.cfg.TCPPort, err)
	}
	if got != c.instance {
		return fmt.Errorf("probe clickhouse native port %d: another server answers: %w", c.cfg.TCPPort, errPortTaken)
	}
	return nil
}

// httpQuery runs one statement and returns its answer, at most 64 KiB of it.
func (c *ClickHouse) httpQuery(ctx context.Context, sql string) (string, error) {
	u := url.URL{Scheme: "http", Host: c.HTTPAddr(), Path: "/"}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(sql))
	if err != nil {
		return "", fmt.Errorf("query clickhouse: %w", err)
	}
	req.Close = true
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("query clickhouse: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return "", fmt.Errorf("query clickhouse: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("query clickhouse: %s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return string(body), nil
}

// exitCause is how a child ended, also when it ended without an error.
func exitCause(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}
