package fault

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// echo is a server that repeats lines and counts them.
func echo(t *testing.T) (addr string, lines *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	lines = new(atomic.Int64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for r := bufio.NewReader(c); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					lines.Add(1)
					io.WriteString(c, line)
				}
			}()
		}
	}()
	return l.Addr().String(), lines
}

func start(t *testing.T, target string) *Proxy {
	t.Helper()
	p, err := Listen(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// say sends a line and returns the answer.
func say(t *testing.T, c net.Conn, line string, patience time.Duration) (string, error) {
	t.Helper()
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", err
	}
	c.SetReadDeadline(time.Now().Add(patience))
	answer, err := bufio.NewReader(c).ReadString('\n')
	return answer, err
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestForwardAndCut(t *testing.T) {
	addr, _ := echo(t)
	p := start(t, addr)
	c := dial(t, p)
	if got, err := say(t, c, "hello", 5*time.Second); err != nil || got != "hello\n" {
		t.Fatalf("got %q, %v", got, err)
	}
	if n := p.Cut(); n != 1 {
		t.Errorf("cut %d connections, want 1", n)
	}
	if _, err := say(t, c, "hello", 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after Cut: %v, want a closed connection", err)
	}
	p.Refuse(true)
	if _, err := say(t, dial(t, p), "hello", 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("refused: %v, want a closed connection", err)
	}
	p.Refuse(false)
	if got, err := say(t, dial(t, p), "again", 5*time.Second); err != nil || got != "again\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestDelay(t *testing.T) {
	addr, _ := echo(t)
	p := start(t, addr)
	p.Delay(50 * time.Millisecond)
	began := time.Now()
	if _, err := say(t, dial(t, p), "hello", 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("there and back took %s, want 100ms at least", took)
	}
}

func TestCutRequests(t *testing.T) {
	addr, lines := echo(t)
	p := start(t, addr)
	p.CutRequests("INSERT", 3, 1)
	if got, err := say(t, dial(t, p), "INSERT 1234", 5*time.Second); err == nil {
		t.Errorf("got %q of a connection that was to be cut", got)
	}
	if p.RequestsCut() != 1 || lines.Load() != 0 {
		t.Errorf("%d cut, the server heard %d lines; want 1 and none", p.RequestsCut(), lines.Load())
	}
	if got, err := say(t, dial(t, p), "INSERT 1234", 5*time.Second); err != nil || got != "INSERT 1234\n" {
		t.Errorf("the next: got %q, %v", got, err)
	}
}

func TestResetAndHold(t *testing.T) {
	addr, lines := echo(t)
	p := start(t, addr)
	p.Strike(Reset, "INSERT", 3, 1)
	if _, err := say(t, dial(t, p), "INSERT 1234", 5*time.Second); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
	p.Strike(Hold, "INSERT", 3, 1)
	if _, err := say(t, dial(t, p), "INSERT 1234", 200*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want silence", err)
	}
	if p.Struck(Reset) != 1 || p.Struck(Hold) != 1 || lines.Load() != 0 {
		t.Errorf("%d reset, %d held, the server heard %d lines", p.Struck(Reset), p.Struck(Hold), lines.Load())
	}
	if got, err := say(t, dial(t, p), "INSERT 1234", 5*time.Second); err != nil || got != "INSERT 1234\n" {
		t.Errorf("the next: got %q, %v", got, err)
	}
}

// What is late reaches the server after its client has gone.
func TestLate(t *testing.T) {
	addr, lines := echo(t)
	p := start(t, addr)
	p.Strike(Late, "INSERT", 3, 1)
	c := dial(t, p)
	if _, err := say(t, c, "INSERT 1234", 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want silence", err)
	}
	c.Close()
	if n := lines.Load(); n != 0 {
		t.Errorf("the server heard %d lines too early", n)
	}
	p.Release()
	if n := lines.Load(); n != 1 {
		t.Errorf("the server heard %d lines, want the late one", n)
	}
}

func TestSwallowReplies(t *testing.T) {
	addr, lines := echo(t)
	p := start(t, addr)
	p.SwallowReplies("INSERT", 3, 1)
	c := dial(t, p)
	if got, err := say(t, c, "SELECT", 5*time.Second); err != nil || got != "SELECT\n" {
		t.Fatalf("another request: got %q, %v", got, err)
	}
	if _, err := io.WriteString(c, "INS"); err != nil { // in two pieces
		t.Fatal(err)
	}
	if _, err := say(t, c, "ERT 1234", 200*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want silence", err)
	}
	if n := lines.Load(); n != 2 {
		t.Errorf("the server heard %d lines, want 2", n)
	}
	if n := p.Swallowed(); n != 1 {
		t.Errorf("%d swallowed, want 1", n)
	}
	for deadline := time.Now().Add(5 * time.Second); ; {
		lost := p.LostReplies()
		if len(lost) == 1 && string(lost[0]) == "INSERT 1234\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("lost replies %q", lost)
		}
	}
	if got, err := say(t, dial(t, p), "INSERT 1234", 5*time.Second); err != nil || got != "INSERT 1234\n" {
		t.Errorf("the next: got %q, %v", got, err)
	}
}
