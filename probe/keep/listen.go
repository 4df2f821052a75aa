package keep

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// check says what is wrong with c without opening anything.
func (c APIConfig) check() error {
	if c.Listen == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(c.Listen)
	switch {
	case err != nil:
		return kit.Hint(fmt.Errorf("api.listen %q: %w", c.Listen, err), "write host:port, such as 127.0.0.1:9612")
	case (c.Cert == "") != (c.Key == ""):
		return kit.Hint(errors.New("api: cert and key are only good together"), "set both api.cert and api.key, or neither")
	case c.Cert == "" && !loopback(host):
		return kit.Hint(fmt.Errorf("api.listen %q: packets are not given over the network without encryption", c.Listen),
			"set api.cert and api.key, or listen on 127.0.0.1")
	case c.Cert == "" && c.ClientCA != "":
		return errors.New("api.client_ca: client certificates need api.cert and api.key")
	case c.Tokens == "":
		return kit.Hint(errors.New("api.tokens: a file is needed"), "probe token makes lines for it")
	case c.MaxFetches < 1 || c.MaxFetches > 64:
		return fmt.Errorf("api.max_fetches: %d is not within 1 to 64", c.MaxFetches)
	case c.MaxBytes < 1:
		return fmt.Errorf("api.max_bytes: %s is too little", c.MaxBytes)
	case c.Timeout < time.Second:
		return fmt.Errorf("api.timeout: %s is less than 1s", c.Timeout)
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// tlsFiles are the certificate, key and authorities of a server, read again when
// one of them changes. While the new ones cannot be used the old ones stay.
type tlsFiles struct {
	cert, key, ca string
	log           *slog.Logger

	mu      sync.Mutex
	checked time.Time
	marks   [3]fileMark
	config  *tls.Config
}

// server returns the configuration of a listener.
func (t *tlsFiles) server() (*tls.Config, error) {
	if _, err := t.current(time.Now()); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, // RFC 9325 section 3.1.1
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.current(time.Now()) }}, nil
}

func (t *tlsFiles) current(now time.Time) (*tls.Config, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.config != nil && now.Sub(t.checked) < 100*time.Millisecond {
		return t.config, nil
	}
	t.checked = now
	var marks [3]fileMark
	for i, path := range [...]string{t.cert, t.key, t.ca} {
		if path != "" {
			marks[i], _ = markOf(path) // a file that is gone shows when it is read
		}
	}
	if t.config != nil && marks == t.marks {
		return t.config, nil
	}
	config, err := t.load()
	if err != nil {
		if t.config == nil {
			return nil, err
		}
		if marks != t.marks {
			t.log.Error("packets: the new certificate cannot be used, the old one stays", "error", err)
			t.marks = marks
		}
		return t.config, nil
	}
	t.config, t.marks = config, marks
	return config, nil
}

func (t *tlsFiles) load() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(t.cert, t.key)
	if err != nil {
		return nil, kit.Hint(fmt.Errorf("read api.cert %s and api.key %s: %w", t.cert, t.key, err),
			"both must be PEM files that this user may read and belong to each other")
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	if t.ca != "" {
		pem, err := os.ReadFile(t.ca)
		if err != nil {
			return nil, fmt.Errorf("read api.client_ca: %w", err)
		}
		c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !c.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read api.client_ca %s: no certificate in it", t.ca)
		}
	}
	return c, nil
}
