// Package clickhouse connects to any ClickHouse over its native protocol: one Config, and from it a pool of
// connections, and a check that says why the server cannot be used.
//
// In comes a Config; out goes a pool that belongs to the caller. Schema and statements are not here.
package clickhouse

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
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
	conn, err := ch.Open(o)
	if err != nil {
		return nil, fmt.Errorf("open clickhouse: %w", err)
	}
	return conn, nil
}

// Check connects, logs in and runs a statement. The error is one of ErrUnreachable, ErrRefused, ErrNoDatabase and
// ErrTLS, with its cause and a hint, or about the Config. It takes at most 15 s.
func (c Config) Check(ctx context.Context) error {
	c.MaxConns = 1
	conn, err := c.Open()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	// Since 24.x a login to a database that does not exist may succeed and only its tables be missing, so ask.
	var found uint8
	row := conn.QueryRow(ctx, "SELECT toUInt8(count() > 0) FROM system.databases WHERE name = currentDatabase()")
	if err := row.Scan(&found); err != nil {
		return c.Classify(err)
	}
	if found == 0 {
		return c.noDatabase(nil)
	}
	return nil
}

// Codes of ClickHouse's own exceptions, from its src/Common/ErrorCodes.cpp.
const (
	codeUnknownDatabase      = 81
	codeUnknownUser          = 192
	codeWrongPassword        = 193
	codeIPNotAllowed         = 195
	codeRequiredPassword     = 194
	codeAuthenticationFailed = 516
	codeDatabaseAccessDenied = 291
	codeAccessDenied         = 497
)

// Classify adds to an error of a connection which of this package's kinds it is, and a hint. Errors that are about a
// statement, or nil, come back as they are.
func (c Config) Classify(err error) error {
	var (
		exception *ch.Exception
		op        *net.OpError
		dns       *net.DNSError
		record    tls.RecordHeaderError
		alert     tls.AlertError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		timeout   interface{ Timeout() bool }
	)
	wrap := func(kind error, hint string) error {
		return kit.Hint(fmt.Errorf("connect clickhouse %s: %w: %w", strings.Join(c.Addr, ","), kind, err), hint)
	}
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exception):
		switch exception.Code {
		case codeUnknownDatabase:
			return c.noDatabase(err)
		case codeUnknownUser, codeWrongPassword, codeRequiredPassword, codeAuthenticationFailed:
			// The server's text is long advice about its own configuration; the code says it all.
			return kit.Hint(fmt.Errorf("connect clickhouse %s: %w: user %q, code %d", strings.Join(c.Addr, ","), ErrRefused, c.user(),
				exception.Code), "check clickhouse.username and clickhouse.password")
		case codeIPNotAllowed:
			return wrap(ErrRefused, "the server does not let this user in from this address")
		case codeDatabaseAccessDenied, codeAccessDenied:
			return wrap(ErrRefused, "the user lacks the right: GRANT it")
		}
		return err
	case errors.As(err, &authority):
		return wrap(ErrTLS, "give the authority that signed the server's certificate as clickhouse.tls.ca")
	case errors.As(err, &host):
		return wrap(ErrTLS, "the certificate is for another name: use that in clickhouse.addr, or set clickhouse.tls.server_name")
	case errors.As(err, &invalid):
		return wrap(ErrTLS, "the server's certificate is not valid now: renew it, or check the clock")
	case errors.As(err, &record):
		return wrap(ErrTLS, "the server does not speak TLS on this port: the native port with TLS is 9440 by default")
	case errors.As(err, &alert) || strings.Contains(err.Error(), "remote error: tls:"):
		return wrap(ErrTLS, "the server refuses our side: does it ask for a client certificate (clickhouse.tls.cert and key)?")
	case strings.Contains(err.Error(), "unexpected packet"):
		return wrap(ErrUnreachable, "that is no native port: it is 9000 by default, 8123 is HTTP")
	case errors.As(err, &dns):
		return wrap(ErrUnreachable, "the name does not resolve: check clickhouse.addr")
	case errors.Is(err, syscall.ECONNREFUSED):
		return wrap(ErrUnreachable, "nothing listens there: is ClickHouse running, and is clickhouse.addr right?")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return wrap(ErrUnreachable, "the server hung up: is this the native port, with or without TLS as configured?")
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &op) && op.Op == "dial", errors.Is(err, context.DeadlineExceeded), errors.Is(err, ch.ErrAcquireConnTimeout),
		errors.As(err, &timeout) && timeout.Timeout():
		return wrap(ErrUnreachable, "no answer: check clickhouse.addr, the network and its firewalls")
	}
	return err
}

// user is the name that the server sees.
func (c Config) user() string {
	if c.Username == "" {
		return "default"
	}
	return c.Username
}

// noDatabase is the error for a database that does not exist.
func (c Config) noDatabase(cause error) error {
	err := fmt.Errorf("connect clickhouse %s: %w: %s", strings.Join(c.Addr, ","), ErrNoDatabase, c.database())
	if cause != nil {
		err = fmt.Errorf("connect clickhouse %s: %w: %s: %w", strings.Join(c.Addr, ","), ErrNoDatabase, c.database(), cause)
	}
	return kit.Hint(err, "the collector creates it when it starts; or check clickhouse.database")
}
