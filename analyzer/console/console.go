// Package console is where people and scripts look: a REST API over the tables
// of ClickHouse and one page that is built on it.
//
// In come HTTP requests; out go JSON, CSV and a page that asks nobody else for
// anything. What came off the wire is data all the way: parameters of
// statements, text nodes of the page, quoted cells of a table. What
// people do about incidents, exclusions and sweeps is written through their
// packages, after it stands in the audit log; all else reads only. The connection
// stays the caller's.
package console

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tapwatch/tapwatch/analyzer/query"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/config"
)

// Config is how the console is reached and what one question may cost. The
// zero value of a limit means its default.
type Config struct {
	Listen       string        `conf:"listen" help:"host:port of the page and the API; beyond loopback only with a password; empty: off"`
	PasswordHash config.Secret `conf:"password_hash" help:"Argon2id hash of the password of the user admin, as analyzer hash-password prints it; file:PATH and env:NAME are resolved; empty: no password, loopback only"`
	Users        []User        `conf:"users" help:"who else may log in"`
	TLSCert      string        `conf:"tls_cert" help:"PEM file of the certificate chain; empty: plain HTTP"`
	TLSKey       string        `conf:"tls_key" help:"PEM file of its key"`
	MaxSeconds   int           `conf:"max_seconds" help:"seconds that ClickHouse may work on one question; 0: 20"`
	MaxRows      uint64        `conf:"max_rows" help:"rows that one question may read; 0: 2000000000"`
	MaxBytes     kit.Bytes     `conf:"max_bytes" help:"bytes, uncompressed, that one question may read; 0: 200GiB"`
	MaxMemory    kit.Bytes     `conf:"max_memory" help:"memory that ClickHouse may use for one question; 0: 1GiB"`
	MaxQuestions int           `conf:"max_questions" help:"questions asked of ClickHouse at the same time, the others wait; 0: 4"`

	// Detectors describes what the analyzer runs, for /api/v1/detectors; set by
	// the wiring. What is known only from the tables is shown without it, too.
	Detectors []Detector
	// Inside are the own networks, for directions; set by the wiring.
	Inside []netip.Prefix
}

// Detector is what a person is told about a detector.
type Detector struct {
	Name       string   `json:"name" doc:"as in the alerts"`
	Version    uint16   `json:"version"`
	Title      string   `json:"title"`
	Doc        string   `json:"doc" doc:"what it looks for, its parameters, and what it takes for harmless"`
	Techniques []string `json:"techniques" doc:"ATT&CK ids"`
}

// DefaultListen is the address of Config.Listen in the default configuration.
const DefaultListen = "127.0.0.1:8410"

// DefaultConfig is a console without a password, on loopback.
func DefaultConfig() Config {
	return Config{Listen: DefaultListen, MaxSeconds: 20, MaxRows: 2_000_000_000, MaxBytes: 200 << 30, MaxMemory: 1 << 30, MaxQuestions: 4}
}

// ErrUnprotected: the console would be reachable from other machines without a
// password.
var ErrUnprotected = errors.New("the console has no password and this address is not loopback")

// Validate says what is wrong with the Config, without touching the network.
func (c Config) Validate() error {
	if c.Listen == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return kit.Hint(fmt.Errorf("console listen %q: not host:port", c.Listen), "write it as "+DefaultListen)
	}
	if c.PasswordHash == "" && len(c.Users) == 0 && !loopback(host) {
		return kit.Hint(fmt.Errorf("console listen %s: %w", c.Listen, ErrUnprotected),
			"make a hash with `analyzer hash-password` and set console.password_hash, or listen on "+DefaultListen)
	}
	if c.PasswordHash != "" {
		if _, err := parseHash(c.PasswordHash.Reveal()); err != nil {
			return kit.Hint(fmt.Errorf("console password_hash: %w", err), "make one with `analyzer hash-password`")
		}
	}
	if err := checkUsers(c.Users); err != nil {
		return err
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return kit.Hint(errors.New("console tls: only one of tls_cert and tls_key is set"), "set both or none")
	}
	if c.MaxSeconds < 0 || c.MaxBytes < 0 || c.MaxMemory < 0 || c.MaxQuestions < 0 {
		return kit.Hint(errors.New("console limits: less than 0"), "0 means the default")
	}
	return nil
}

// loopback says whether only this machine can reach a listener on host.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// Console answers on one port. Its methods are safe for concurrent use.
type Console struct {
	cfg     Config
	log     *slog.Logger
	db      *database
	lang    *query.Language
	planner *query.Planner
	door    *door
	stores  stores
	router  *router
	handler http.Handler
	metrics *metrics

	mu       sync.Mutex
	listener net.Listener
}

// New prepares a console on conn, which stays the caller's. It opens nothing. An
// error is a wrong Config.
func New(cfg Config, conn driver.Conn, log *slog.Logger, reg prometheus.Registerer) (*Console, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	d := DefaultConfig()
	if cfg.MaxSeconds == 0 {
		cfg.MaxSeconds = d.MaxSeconds
	}
	if cfg.MaxRows == 0 {
		cfg.MaxRows = d.MaxRows
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = d.MaxBytes
	}
	if cfg.MaxMemory == 0 {
		cfg.MaxMemory = d.MaxMemory
	}
	if cfg.MaxQuestions == 0 {
		cfg.MaxQuestions = d.MaxQuestions
	}
	c := &Console{cfg: cfg, log: log, metrics: newMetrics(reg)}
	c.db = newDatabase(cfg, conn, c.metrics)
	c.stores = newStores(conn, log)
	c.lang, c.planner = query.New(), query.NewPlanner(c.db.asker)
	var err error
	if c.door, err = newDoor(cfg, log, c.metrics); err != nil {
		return nil, err
	}
	if c.handler, err = c.routes(); err != nil {
		return nil, err
	}
	return c, nil
}

// Listen opens the port, so that a wrong address is known before the work
// begins. It does nothing when Config.Listen is empty or it has been called.
func (c *Console) Listen() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cfg.Listen == "" || c.listener != nil {
		return nil
	}
	l, err := net.Listen("tcp", c.cfg.Listen)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return kit.Hint(fmt.Errorf("console listen %s: %w", c.cfg.Listen, syscall.EADDRINUSE),
			"another process has this port: stop it, or set console.listen")
	case errors.Is(err, syscall.EACCES):
		return kit.Hint(fmt.Errorf("console listen %s: %w", c.cfg.Listen, syscall.EACCES), "choose a port of 1024 or more")
	case err != nil:
		return kit.Hint(fmt.Errorf("console listen %s: %w", c.cfg.Listen, err), "console.listen must be an address of this machine")
	}
	c.listener = l
	return nil
}

// Addr is the host:port that is listened on, with the real port where the
// Config said 0; "" before Listen or when off.
func (c *Console) Addr() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listener == nil {
		return ""
	}
	return c.listener.Addr().String()
}

// Serve answers until ctx ends, then lets running answers finish for up to 3 s,
// closes the port and returns nil. With Listen off it waits for ctx. Call it once.
func (c *Console) Serve(ctx context.Context) error {
	if err := c.Listen(); err != nil {
		return err
	}
	if c.Addr() == "" {
		<-ctx.Done()
		return nil
	}
	// Questions end with the console, not only with their clients.
	base, cancelAll := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelAll()
	server := &http.Server{
		Handler:           c.handler,
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      time.Duration(c.cfg.MaxSeconds)*time.Second*2 + 15*time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          log.New(discard{}, "", 0), // what a scanner sends to the port is no event of ours
	}
	served := make(chan error, 1)
	go func() {
		if c.cfg.TLSCert != "" {
			served <- server.ServeTLS(c.listener, c.cfg.TLSCert, c.cfg.TLSKey)
			return
		}
		served <- server.Serve(c.listener)
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serve console %s: %w", c.Addr(), err)
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if server.Shutdown(patience) != nil {
		cancelAll()
		_ = server.Close()
	}
	<-served
	return nil
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
