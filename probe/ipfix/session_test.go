package ipfix

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// A collector that is not there costs records, never time, and the loss is exact; over TCP what waits arrives when it comes.
func TestNoCollector(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Address, cfg.Transport, cfg.MessageBytes, cfg.Queue, cfg.Drain = l.Addr().String(), "tcp", 512, 4096, 0
	l.Close()
	const records = 1000
	x := export(t, cfg, func(add func(*flow.Record)) {
		for range records {
			add(testRecord())
		}
	})
	st := x.Stats()
	if st.Records != 0 || st.DroppedQueue+st.DroppedEnd != 2*records || st.Errors == 0 {
		t.Errorf("%+v", st)
	}
	if p, o := x.notSent.packets.Load(), x.notSent.octets.Load(); p != records*9 || o != records*4500 {
		t.Errorf("not sent: %d packets, %d octets", p, o)
	}
	if len(x.free) != cap(x.free) {
		t.Errorf("%d of %d messages are back", len(x.free), cap(x.free))
	}
}

// A collector that closes the connection gets the rest over the next one, templates first and numbers from 0.
func TestReconnect(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := DefaultConfig()
	cfg.Address, cfg.Transport, cfg.MessageBytes = l.Addr().String(), "tcp", 512
	sessions := make(chan []byte, 2)
	first := make(chan struct{})
	go func() {
		for i := range 2 {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if i == 0 {
				head := make([]byte, 16)
				io.ReadFull(conn, head)
				conn.Close()
				close(first)
				continue
			}
			b, _ := io.ReadAll(conn)
			conn.Close()
			sessions <- b
		}
	}()
	x := export(t, cfg, func(add func(*flow.Record)) {
		for range 20 {
			add(testRecord())
		}
		<-first
		for x := 0; x < 20; x++ {
			add(testRecord())
		}
	})
	d := newDecoder()
	if err := d.stream(<-sessions); err != nil {
		t.Fatal(err)
	}
	if n := len(d.flows()); n < 2 || n > 80 || x.Stats().Errors == 0 {
		t.Errorf("%d records in the second session, %+v", n, x.Stats())
	}
}

// Over TLS a collector whose certificate is right gets the records, and one whose is not gets none.
func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certificate := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, &certificate, &certificate, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "another.example"} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan []byte, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			b, _ := io.ReadAll(conn)
			conn.Close()
			got <- b
		}()
		cfg := DefaultConfig()
		cfg.Address, cfg.Transport, cfg.TLS.Enabled, cfg.TLS.CA, cfg.TLS.ServerName = l.Addr().String(), "tcp", true, ca, name
		if name != "" {
			cfg.Drain = 200 * time.Millisecond
		}
		x := export(t, cfg, func(add func(*flow.Record)) { add(testRecord()) })
		d := newDecoder()
		if err := d.stream(<-got); err != nil {
			t.Fatal(err)
		}
		l.Close()
		if n, st := len(d.flows()), x.Stats(); name == "" && (n != 2 || st.DroppedEnd != 0) || name != "" && (n != 0 || st.DroppedEnd != 2 || st.Errors == 0) {
			t.Errorf("server name %q: %d records, %+v", name, n, st)
		}
	}
}
