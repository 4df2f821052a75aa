package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// outsideAddresses are those of the servers beyond the gateway (RFC 5737), all answered by one machine.
var outsideAddresses = []string{
	"192.0.2.10", "192.0.2.20", "192.0.2.30", "192.0.2.40", "192.0.2.50", "192.0.2.60",
	"192.0.2.200", "198.51.100.77", "203.0.113.50",
}

const (
	quicAddress = "192.0.2.40"
	// maxBody bounds what one request may ask for or send.
	maxBody = 256 << 20
)

// website answers the few kinds of request that the clients make. ?bytes=N sets the size of the answer and ?status=N
// its code; a body is read to its end and thrown away.
func website(w http.ResponseWriter, r *http.Request) {
	received, err := io.Copy(io.Discard, io.LimitReader(r.Body, maxBody))
	if err != nil {
		http.Error(w, "body not read", http.StatusBadRequest)
		return
	}
	size, status := 1200, http.StatusOK
	if n, err := strconv.Atoi(r.URL.Query().Get("bytes")); err == nil && n >= 0 && n <= maxBody {
		size = n
	}
	if n, err := strconv.Atoi(r.URL.Query().Get("status")); err == nil && n >= 200 && n < 600 {
		status = n
	}
	w.Header().Set("Server", "demo")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if status/100 == 3 {
		w.Header().Set("Location", "/")
	}
	if r.Method == http.MethodPut || r.Method == http.MethodPost {
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "%d octets received\n", received)
		return
	}
	if status != http.StatusNoContent && status != http.StatusNotModified {
		w.Header().Set("Content-Length", strconv.Itoa(size))
	}
	w.WriteHeader(status)
	if r.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified {
		return
	}
	page := bytes.Repeat([]byte("<p>The quick brown fox of "+r.Host+" jumps over the lazy dog.</p>\n"), 512)
	for size > 0 {
		n, err := w.Write(page[:min(size, len(page))])
		if err != nil {
			return // the client has gone
		}
		size -= n
	}
}

// serveWeb runs HTTP on port 80 and HTTPS on port 443 of every address, until ctx ends.
func serveWeb(ctx context.Context, keys string, done chan<- error) error {
	config, err := serverTLS(keys)
	if err != nil {
		return err
	}
	for _, port := range []string{":80", ":443"} {
		listener, err := net.Listen("tcp", port)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", port, err)
		}
		server := &http.Server{Handler: http.HandlerFunc(website), TLSConfig: config.Clone(), ReadHeaderTimeout: 30 * time.Second}
		go func() {
			if port == ":443" {
				done <- server.ServeTLS(listener, "", "")
			} else {
				done <- server.Serve(listener)
			}
		}()
		context.AfterFunc(ctx, func() { server.Close() })
	}
	return nil
}

// finish waits for the first of several servers to end and turns the end that was asked for into success.
func finish(ctx context.Context, done <-chan error) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-done:
		if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return fmt.Errorf("serve: %w", err)
	}
}

// serveOutside is the machine with the websites beyond the gateway; one address speaks HTTP/3 as well.
func serveOutside(ctx context.Context, keys string) error {
	done := make(chan error, 4)
	if err := serveWeb(ctx, keys, done); err != nil {
		return err
	}
	config, err := serverTLS(keys)
	if err != nil {
		return err
	}
	server := &http3.Server{Addr: quicAddress + ":443", TLSConfig: http3.ConfigureTLSConfig(config), Handler: http.HandlerFunc(website)}
	go func() { done <- server.ListenAndServe() }()
	context.AfterFunc(ctx, func() { server.Close() })
	return finish(ctx, done)
}

// serveInside is the company's server: web, DNS and time.
func serveInside(ctx context.Context, keys string) error {
	done := make(chan error, 8)
	if err := serveWeb(ctx, keys, done); err != nil {
		return err
	}
	for _, address := range []string{"10.20.0.53:53", "[fd00:20::53]:53"} {
		if err := serveDNS(ctx, address, done); err != nil {
			return err
		}
	}
	clock, err := net.ListenPacket("udp", "10.20.0.123:123")
	if err != nil {
		return fmt.Errorf("listen for NTP: %w", err)
	}
	context.AfterFunc(ctx, func() { clock.Close() })
	go func() { done <- serveNTP(clock) }()
	return finish(ctx, done)
}

// serveBackup takes uploads; sshd runs beside it.
func serveBackup(ctx context.Context, keys string) error {
	done := make(chan error, 2)
	if err := serveWeb(ctx, keys, done); err != nil {
		return err
	}
	return finish(ctx, done)
}

// serveVictim holds the port that the SYN flood is aimed at and takes whoever connects. Its backlog is small by
// net.core.somaxconn, which the lab lowers first.
func serveVictim(ctx context.Context, _ string) error {
	listener, err := net.Listen("tcp", victimAddress)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", victimAddress, err)
	}
	context.AfterFunc(ctx, func() { listener.Close() })
	done := make(chan error, 1)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				done <- err
				return
			}
			conn.Close()
		}
	}()
	return finish(ctx, done)
}

// ntpEpoch is the number of seconds from 1900, where NTP counts from (RFC 5905 section 6), to 1970.
const ntpEpoch = 2208988800

func ntpTime(t time.Time) uint64 {
	return uint64(t.Unix()+ntpEpoch)<<32 | uint64(t.Nanosecond())<<32/1e9
}

// serveNTP answers client requests (RFC 5905 section 7.3) as a stratum 2 server.
func serveNTP(conn net.PacketConn) error {
	buf := make([]byte, 512)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		now := ntpTime(time.Now())
		if n < 48 || buf[0]&7 != 3 { // mode 3: client
			continue
		}
		answer := make([]byte, 48)
		answer[0] = 4<<3 | 4 // version 4, mode 4: server
		answer[1], answer[2], answer[3] = 2, buf[2], 0xe9
		copy(answer[12:16], []byte{10, 20, 0, 1})
		binary.BigEndian.PutUint64(answer[16:], now-1<<32)
		copy(answer[24:32], buf[40:48]) // origin: the client's transmit time
		binary.BigEndian.PutUint64(answer[32:], now)
		binary.BigEndian.PutUint64(answer[40:], ntpTime(time.Now()))
		if _, err := conn.WriteTo(answer, from); err != nil {
			return err
		}
	}
}

// askNTP is one request from address from, checked against its answer.
func askNTP(ctx context.Context, from string) error {
	dialer := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(ctx, "udp", "10.20.0.123:123")
	if err != nil {
		return fmt.Errorf("ask for the time: %w", err)
	}
	defer conn.Close()
	request := make([]byte, 48)
	request[0] = 4<<3 | 3
	binary.BigEndian.PutUint64(request[40:], ntpTime(time.Now()))
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write(request); err != nil {
		return fmt.Errorf("ask for the time: %w", err)
	}
	answer := make([]byte, 128)
	n, err := conn.Read(answer)
	if err != nil {
		return fmt.Errorf("ask for the time: %w", err)
	}
	if n != 48 || !bytes.Equal(answer[24:32], request[40:48]) {
		return errors.New("ask for the time: the answer belongs to another question")
	}
	return nil
}
