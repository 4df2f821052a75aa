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

	ch "github.com/ClickHouse/clickhouse-go/v2"
	"github.com/tapwatch/tapwatch/proto/kit"
)

// Check connects, logs in and runs a statement. The error is one of ErrUnreachable, ErrRefused, ErrNoDatabase and
// ErrTLS, with its cause and a hint, or about the Config, or context.Canceled. It takes at most 15 s.
func (c Config) Check(ctx context.Context) error {
	o, err := c.Options()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	o.DialContext = dialFor(ctx, o.TLS)
	conn, err := ch.Open(o)
	if err != nil {
		return fmt.Errorf("open clickhouse: %w", err)
	}
	defer conn.Close()
	// Since 24.x a login to a database that does not exist may succeed and only its tables be missing, so ask.
	var found uint8
	row := conn.QueryRow(ctx, "SELECT toUInt8(count() > 0) FROM system.databases WHERE name = currentDatabase()")
	if err := row.Scan(&found); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return c.Classify(err)
	}
	if found == 0 {
		return c.noDatabase(nil)
	}
	return nil
}

// dialFor returns a dial function whose connections close when ctx ends: the driver waits for a server's first packet
// without looking at the context.
func dialFor(ctx context.Context, tlsConfig *tls.Config) func(context.Context, string) (net.Conn, error) {
	return func(_ context.Context, addr string) (net.Conn, error) {
		dialer := net.Dialer{Timeout: dialTimeout}
		conn, err := dialer.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		if tlsConfig == nil {
			return conn, nil
		}
		own := tlsConfig.Clone()
		if own.ServerName == "" {
			own.ServerName, _, _ = net.SplitHostPort(addr) // Options has looked at it
		}
		secure := tls.Client(conn, own)
		return secure, secure.HandshakeContext(ctx)
	}
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
