package notify

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit"
)

func logger(t *testing.T, l Syslog) *syslog {
	t.Helper()
	l.Name = "siem"
	_, s, err := DefaultConfig().syslog("notify.syslog[0]", l)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSyslogUDP(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := logger(t, Syslog{Network: "udp", Addr: conn.LocalAddr().String(), Hostname: "ids"})
	m := sample()
	if err := s.send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, _, err := conn.ReadFrom(buf)
	if err != nil || string(buf[:n]) != string(s.format(m, maxDatagram)) || !grammar.Match(buf[:n]) {
		t.Errorf("%v: %q", err, buf[:n])
	}
	conn.Close()
	if err := s.send(t.Context(), m); err == nil || asRefusal(err) {
		t.Errorf("nobody listens, and the host says so: %v", err)
	}
}

// readFrames returns the octet-counted messages of a connection until its end.
func readFrames(conn net.Conn) ([]string, error) {
	in := bufio.NewReader(conn)
	var list []string
	for {
		var n int
		if _, err := fmt.Fscanf(in, "%d ", &n); err != nil {
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				return list, nil
			}
			return list, err
		}
		buf := make([]byte, n)
		if _, err := io.ReadFull(in, buf); err != nil {
			return list, err
		}
		list = append(list, string(buf))
	}
}

func TestSyslogStream(t *testing.T) {
	cert, ca := authority(t)
	for _, network := range []string{"tcp", "tls"} {
		t.Run(network, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			settings := Syslog{Network: network, Addr: l.Addr().String()}
			if network == "tls" {
				l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}})
				settings.TLS = kit.TLS{Enabled: true, CA: ca}
			}
			got := make(chan []string, 1)
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
				list, err := readFrames(conn)
				if err != nil {
					t.Error(err)
				}
				got <- list
			}()
			s := logger(t, settings)
			s.ack = 5 * time.Second
			m := sample()
			m.Title = "naïve " + hostile
			start := time.Now()
			if err := s.send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			if time.Since(start) > 4*time.Second {
				t.Error("the server's close was not noticed")
			}
			if list := <-got; len(list) != 1 || list[0] != string(s.format(m, maxStream)) || !grammar.MatchString(list[0]) {
				t.Errorf("got %q", list)
			}
		})
	}
	t.Run("unknown authority", func(t *testing.T) {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			if conn, err := l.Accept(); err == nil {
				_ = conn.(*tls.Conn).Handshake()
				conn.Close()
			}
		}()
		if err := logger(t, Syslog{Network: "tls", Addr: l.Addr().String()}).send(t.Context(), sample()); err == nil {
			t.Error("sent")
		}
	})
	t.Run("reset", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			if conn, err := l.Accept(); err == nil {
				_, _ = conn.Read(make([]byte, 1))
				_ = conn.(*net.TCPConn).SetLinger(0)
				conn.Close()
			}
		}()
		if err := logger(t, Syslog{Addr: l.Addr().String()}).send(t.Context(), sample()); err == nil {
			t.Error("a message that the server has thrown away counts as sent")
		}
	})
}
