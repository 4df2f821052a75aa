// Package clickhouse connects to any ClickHouse over its native protocol: one Config, and from it a pool of
// connections, and a check that says why the server cannot be used.
//
// In comes a Config; out goes a pool that belongs to the caller. Schema and statements are not here.
package clickhouse

import (
	"errors"
	"fmt"
	"net"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/config"
)

// DefaultDatabase is where Tapwatch keeps its tables when Config.Database is empty.
const DefaultDatabase = "tapwatch"

// The reasons why ClickHouse cannot be used, for errors.Is.
var (
	// ErrUnreachable: no connection, or something else than ClickHouse's native protocol at the other end.
	ErrUnreachable = errors.New("clickhouse is unreachable")
	// ErrRefused: the server does not accept the user or the password.
	ErrRefused = errors.New("clickhouse refuses the login")
	// ErrNoDatabase: the login is good, but the database does not exist.
	ErrNoDatabase = errors.New("clickhouse has no such database")
	// ErrTLS: the two ends do not agree on encryption or on a certificate.
	ErrTLS = errors.New("clickhouse and tls do not fit")
)

const (
	dialTimeout = 5 * time.Second
	// readTimeout is for one packet from the server, which reports its progress far more often than this.
	readTimeout     = 60 * time.Second
	connMaxLifetime = time.Hour
	defaultMaxConns = 8
	checkTimeout    = 15 * time.Second
)

// Config says where ClickHouse is and how to log in. Addr is required.
type Config struct {
	Addr     []string      `conf:"addr" help:"host:port of the servers' native protocol, 9000 or 9440 with TLS; one after the other is tried"`
	Database string        `conf:"database" help:"database of the tables; empty: tapwatch"`
	Username string        `conf:"username" help:"user to log in as; empty: default"`
	Password config.Secret `conf:"password" help:"password of the user; file:PATH and env:NAME are resolved"`
	TLS      kit.TLS       `conf:"tls"`
	MaxConns int           `conf:"max_conns" help:"connections at most; 0: 8"`
}

// database is Database or its default.
func (c Config) database() string {
	if c.Database == "" {
		return DefaultDatabase
	}
	return c.Database
}

// Validate says what is wrong with the Config, without touching the network; it does read the TLS files.
func (c Config) Validate() error {
	_, err := c.Options()
	return err
}

// Options returns the settings of clickhouse-go, for callers that need to add their own. They belong to the caller.
func (c Config) Options() (*ch.Options, error) {
	if len(c.Addr) == 0 {
		return nil, kit.Hint(errors.New("clickhouse addr: none given"), "set clickhouse.addr to host:port")
	}
	for _, a := range c.Addr {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return nil, kit.Hint(fmt.Errorf("clickhouse addr %q: not host:port", a), "write it as clickhouse.example:9000")
		}
	}
	if c.MaxConns < 0 {
		return nil, kit.Hint(fmt.Errorf("clickhouse max_conns %d: less than 0", c.MaxConns), "0 means 8")
	}
	tlsConfig, err := c.TLS.Config()
	if err != nil {
		return nil, fmt.Errorf("clickhouse: %w", err)
	}
	conns := c.MaxConns
	if conns == 0 {
		conns = defaultMaxConns
	}
	o := &ch.Options{
		Addr:             c.Addr,
		Auth:             ch.Auth{Database: c.database(), Username: c.Username, Password: c.Password.Reveal()},
		TLS:              tlsConfig,
		Protocol:         ch.Native,
		DialTimeout:      dialTimeout,
		ReadTimeout:      readTimeout,
		MaxOpenConns:     conns,
		MaxIdleConns:     min(conns, defaultMaxConns),
		ConnMaxLifetime:  connMaxLifetime,
		ConnOpenStrategy: ch.ConnOpenInOrder,
		Compression:      &ch.Compression{Method: ch.CompressionLZ4},
	}
	o.ClientInfo.Products = append(o.ClientInfo.Products, struct{ Name, Version string }{"tapwatch", "1"})
	return o, nil
}

// Open returns a new pool, which connects when it is first used. The caller closes it. A deadline of a statement's
// context takes the place of the read timeout of 60 s, so statements that may be slow need one of their own.
func (c Config) Open() (driver.Conn, error) {
	o, err := c.Options()
	if err != nil {
		return nil, err
	}
	return Open(o)
}
