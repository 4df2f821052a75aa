package local

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// readyPrefix begins the one line that a Kafka child prints when it serves;
// the address follows.
const readyPrefix = "ready "

// KafkaChild runs a broker in this process until its stdin ends: args are the
// program's arguments, the last of which is a KafkaConfig as JSON. It prints
// "ready host:port" on stdout when it serves.
func KafkaChild(args []string) error {
	os.Unsetenv(envKafkaChild)
	args = childArgs(args)
	if len(args) == 0 {
		return errors.New("start kafka child: no configuration among the arguments")
	}
	cfg, err := parseKafkaConfig([]byte(args[len(args)-1]))
	if err != nil {
		return err
	}
	k, err := StartKafka(context.Background(), cfg, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return err
	}
	fmt.Printf("%s%s\n", readyPrefix, k.Addr())
	// Only the end matters, and the kernel brings it for every death of the parent.
	io.Copy(io.Discard, os.Stdin)
	return k.Close()
}

// parseKafkaConfig refuses what it does not know, as all our configuration does.
func parseKafkaConfig(text []byte) (KafkaConfig, error) {
	var cfg KafkaConfig
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&cfg); err != nil {
		return KafkaConfig{}, fmt.Errorf("parse kafka configuration: %w", err)
	}
	return cfg, nil
}

// KafkaProcess is a broker in a child process, for those who want to kill it.
// Nothing restarts it by itself. All methods are safe for concurrent use.
type KafkaProcess struct {
	cfg KafkaConfig
	log *slog.Logger

	mu    sync.Mutex
	cmd   *exec.Cmd // nil while none runs
	stdin io.Closer
	out   tail
}

// StartKafkaProcess executes this program again as a broker, and returns when
// that serves. ctx bounds only the start. The child ends when this process
// does, in whatever way. log may be nil. Errors wrap ErrInUse if the directory
// or port belongs to another process.
func StartKafkaProcess(ctx context.Context, cfg KafkaConfig, log *slog.Logger) (*KafkaProcess, error) {
	if err := refuseInChild(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	port, err := choosePort("kafka", cfg.Port)
	if err != nil {
		return nil, err
	}
	cfg.Port = port
	p := &KafkaProcess{cfg: cfg, log: log}
	if err := p.Restart(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// Restart starts the broker again, on the same port and directory. It is an
// error if it still runs.
func (p *KafkaProcess) Restart(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return fmt.Errorf("start kafka process: it runs already (pid %d)", p.cmd.Process.Pid)
	}
	words, err := childCommand(p.cfg.Exec)
	if err != nil {
		return err
	}
	text, err := json.Marshal(p.cfg)
	if err != nil {
		return fmt.Errorf("start kafka process: %w", err)
	}
	p.out.reset()
	words = append(words, argsMark, string(text))
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = childEnv(envKafkaChild + "=1")
	cmd.Stderr = &p.out
	cmd.WaitDelay = time.Second
	// Ctrl-C in the terminal is for us, who then end it in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("start kafka process: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start kafka process: %w", err)
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start kafka process: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	// The line ends by itself: the child prints it, or dies and closes stdout.
	giveUp := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	line, _ := bufio.NewReaderSize(stdout, 256).ReadString('\n')
	giveUp()
	if addr, ok := strings.CutPrefix(strings.TrimSpace(line), readyPrefix); !ok || addr != p.Addr() {
		cmd.Process.Kill()
		cmd.Wait()
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("start kafka process: not ready: %w: %s", err, p.out.line())
		}
		said := p.out.line()
		if strings.Contains(said, ErrInUse.Error()) {
			return fmt.Errorf("start kafka process: %w: %s", ErrInUse, said)
		}
		return fmt.Errorf("start kafka process: it ended before it was ready: %s", said)
	}
	p.cmd, p.stdin = cmd, stdin
	p.log.Info("kafka process ready", "addr", p.Addr(), "pid", cmd.Process.Pid, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// Addr is the broker's host:port; it stays the same over restarts.
func (p *KafkaProcess) Addr() string { return net.JoinHostPort(loopback, strconv.Itoa(p.cfg.Port)) }

// PID is the process id of the broker, or 0 while none runs.
func (p *KafkaProcess) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Kill ends the broker with SIGKILL and returns when it is gone. Without a
// running broker it does nothing.
func (p *KafkaProcess) Kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	err := p.cmd.Process.Kill()
	p.reap()
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill kafka process: %w", err)
	}
	return nil
}

// Close ends the broker cleanly, forcibly after ten seconds, and returns when
// it is gone. It can be called again, and Restart can follow.
func (p *KafkaProcess) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	cmd := p.cmd
	p.stdin.Close()
	force := time.AfterFunc(closeLimit, func() { cmd.Process.Kill() })
	defer force.Stop()
	if err := p.reap(); err != nil {
		return fmt.Errorf("end kafka process: %w: %s", err, p.out.line())
	}
	return nil
}

// reap waits for the child's end and forgets it.
func (p *KafkaProcess) reap() error {
	err := p.cmd.Wait()
	p.stdin.Close()
	p.cmd, p.stdin = nil, nil
	return err
}
