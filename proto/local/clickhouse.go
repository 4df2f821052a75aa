package local

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// startLimit bounds a start: on a loaded machine the library alone, half a
	// gigabyte, can take many seconds to come off the disk.
	startLimit = 90 * time.Second
	// closeLimit is how long a clean end may take before it is forced.
	closeLimit = 10 * time.Second
	// The pause before a restart grows from backoffMin to backoffMax as long as
	// the server does not get as far as answering.
	backoffMin = 50 * time.Millisecond
	backoffMax = 2 * time.Second
	// promptMark is in the library's prompt, which it shows once it should
	// listen, and portGrace is how long after that it may still not be reached.
	promptMark = ":)"
	portGrace  = 2 * time.Second
	// portAttempts is how often other ports are tried when somebody else took
	// those we chose between the choice and the server's own listen.
	portAttempts = 3
)

// ClickHouse is a running server and its supervisor. All methods are safe for
// concurrent use.
type ClickHouse struct {
	cfg      ClickHouseConfig
	command  []string
	env      []string
	terminal bool // needs a terminal on stdin to stay alive: the library
	instance string
	log      *slog.Logger
	lock     *os.File
	alive    [2]*os.File // pipe: the child reads [0] and dies when our [1] closes
	out      tail

	mu       sync.Mutex
	proc     *process // the current child, nil between two
	stopping bool

	everReady atomic.Bool
	restarts  atomic.Int64
	stop      chan struct{} // closed by Close
	done      chan struct{} // closed by the supervisor when no child is left
	closeOnce sync.Once
	closeErr  error
}

// StartClickHouse starts a server on cfg.Dir and returns when it answers on
// both ports and its database exists. ctx bounds only the start; the server
// lives until Close, or until this process ends in whatever way. log may be nil.
//
// Errors wrap ErrNoClickHouse if there is nothing to run, and ErrInUse if the
// directory or a port that cfg names belongs to another process.
func StartClickHouse(ctx context.Context, cfg ClickHouseConfig, log *slog.Logger) (*ClickHouse, error) {
	if err := refuseInChild(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.MaxMemory == 0 {
		cfg.MaxMemory = defaultMemory()
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil || cfg.Dir == "" {
		return nil, fmt.Errorf("open clickhouse directory %q: not a usable path", cfg.Dir)
	}
	cfg.Dir = dir
	binary, library, err := chooseClickHouse(cfg.Library)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(ctx, cfg.Dir)
	if err != nil {
		return nil, err
	}
	total, free, err := diskSpace(cfg.Dir)
	if err != nil {
		lock.Close()
		return nil, err
	}
	if cfg.KeepFree == 0 {
		cfg.KeepFree = min(keepFreeDefault, total/20)
	}
	if guard := insertGuard(cfg.KeepFree); guard > 0 && free < guard {
		log.Warn("disk is nearly full: clickhouse will refuse inserts until there is room", "dir", cfg.Dir, "free_bytes", free, "needed_bytes", guard)
	}
	for attempt := 1; ; attempt++ {
		c, err := start(ctx, cfg, binary, library, lock, log)
		if err == nil {
			return c, nil
		}
		// Only ports of our own choice can be chosen again.
		if attempt == portAttempts || cfg.TCPPort != 0 && cfg.HTTPPort != 0 || !errors.Is(err, errPortTaken) {
			lock.Close()
			return nil, err
		}
	}
}

// errPortTaken marks a start that failed because a port was taken meanwhile.
var errPortTaken = fmt.Errorf("port taken meanwhile: %w", ErrInUse)

// chooseClickHouse splits the configured path by what it is.
func chooseClickHouse(path string) (binary, library string, err error) {
	switch {
	case path == "":
		return FindClickHouse()
	case !isFile(path):
		return "", "", fmt.Errorf("open clickhouse %s: no such file: %w", path, ErrNoClickHouse)
	case strings.HasSuffix(path, ".so") || strings.HasSuffix(path, ".dylib"):
		return "", path, nil
	}
	return path, "", nil
}

// start is one attempt with one pair of ports; the lock stays the caller's on error.
func start(ctx context.Context, cfg ClickHouseConfig, binary, library string, lock *os.File, log *slog.Logger) (*ClickHouse, error) {
	var err error
	if cfg.TCPPort, err = choosePort("clickhouse native", cfg.TCPPort); err != nil {
		return nil, err
	}
	if cfg.HTTPPort, err = choosePort("clickhouse HTTP", cfg.HTTPPort); err != nil {
		return nil, err
	}
	if cfg.TCPPort == cfg.HTTPPort {
		return nil, fmt.Errorf("listen clickhouse: native and HTTP port are both %d: %w", cfg.TCPPort, errPortTaken)
	}
	c := &ClickHouse{
		cfg:      cfg,
		log:      log,
		lock:     lock,
		terminal: library != "",
		instance: rand.Text(),
		stop:     make(chan struct{}),
		done:     make(chan struct{}),
	}
	file, err := writeConfig(cfg, c.instance)
	if err != nil {
		return nil, err
	}
	if err := c.setCommand(binary, library, file); err != nil {
		return nil, err
	}
	if c.alive[0], c.alive[1], err = os.Pipe(); err != nil {
		return nil, fmt.Errorf("start clickhouse: %w", err)
	}
	began := time.Now()
	go c.supervise()

	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := c.waitReady(ctx); err != nil {
		c.end() // so that nobody uses the files when we return
		return nil, err
	}
	c.everReady.Store(true)
	log.Info("clickhouse ready", "native", c.Addr(), "http", c.HTTPAddr(), "pid", c.PID(), "dir", cfg.Dir, "took", time.Since(began).Round(time.Millisecond))
	return c, nil
}

// setCommand decides what is executed.
func (c *ClickHouse) setCommand(binary, library, file string) error {
	if binary != "" {
		c.command = []string{binary, "server", "--config-file=" + file}
		c.env = childEnv()
		return nil
	}
	words, err := childCommand(c.cfg.Exec)
	if err != nil {
		return err
	}
	data := filepath.Join(c.cfg.Dir, "data")
	c.command = append(words, argsMark,
		"--config-file", file,
		"--path", data,
		"--log-level", "warning", // logger.level of the file is not heeded here
		"--history_file", filepath.Join(c.cfg.Dir, "history"), // else in the user's home
		"--disable_suggestion", // it would query the server at every start
		// HTTP first: the probe begins with the native port.
		"--query", "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP",
		"--interactive",
	)
	c.env = childEnv(envClickHouseChild+"=1", envParentPipe+"=1", envLibrary+"="+library,
		// ClickHouse replaces Go's signal handlers: keep Go from sending itself signals.
		"GODEBUG=asyncpreemptoff=1")
	return nil
}

// Addr is host:port of the native protocol; it stays the same over restarts.
func (c *ClickHouse) Addr() string { return hostPort(c.cfg.TCPPort) }

// HTTPAddr is host:port of HTTP; it stays the same over restarts.
func (c *ClickHouse) HTTPAddr() string { return hostPort(c.cfg.HTTPPort) }

// PID is the process id of the server, or 0 while there is none.
func (c *ClickHouse) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proc == nil {
		return 0
	}
	return c.proc.cmd.Process.Pid
}

// Restarts is how often the server died and was started again.
func (c *ClickHouse) Restarts() int { return int(c.restarts.Load()) }

// Close ends the server cleanly, forcibly after ten seconds, and releases the
// directory. It returns when no process is left. It can be called again.
func (c *ClickHouse) Close() error {
	c.closeOnce.Do(func() {
		c.end()
		c.closeErr = c.lock.Close()
	})
	return c.closeErr
}

// end stops supervisor and child, but keeps the lock.
func (c *ClickHouse) end() {
	c.mu.Lock()
	c.stopping = true
	c.mu.Unlock()
	close(c.stop)
	// One that never was ready holds nobody's data.
	force := time.NewTimer(0)
	if c.everReady.Load() {
		force.Reset(closeLimit)
	}
	defer force.Stop()
	ask := time.NewTicker(500 * time.Millisecond)
	defer ask.Stop()
	for stopped := false; !stopped; {
		c.onProcess((*process).askToEnd)
		select {
		case <-c.done:
			stopped = true
		case <-ask.C:
		case <-force.C:
			if c.everReady.Load() {
				c.log.Warn("clickhouse did not end in time: killing it", "after", closeLimit)
			}
			c.onProcess((*process).kill)
		}
	}
	c.alive[0].Close()
	c.alive[1].Close()
}

// onProcess calls f with the current child, if there is one.
func (c *ClickHouse) onProcess(f func(*process)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proc != nil {
		f(c.proc)
	}
}

// kill ends a stopped process as well: SIGKILL cannot be held back by SIGSTOP.
func (p *process) kill() { p.cmd.Process.Signal(syscall.SIGKILL) }
