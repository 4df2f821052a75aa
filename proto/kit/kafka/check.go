package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/tapwatch/tapwatch/proto/kit"
)

// The reasons why Kafka cannot be used, for errors.Is.
var (
	// ErrUnreachable: no connection, or nothing that speaks Kafka at the other end.
	ErrUnreachable = errors.New("kafka is unreachable")
	// ErrRefused: the brokers do not accept the login, or the user may not do this.
	ErrRefused = errors.New("kafka refuses the login")
	// ErrTLS: the two ends do not agree on encryption or on a certificate.
	ErrTLS = errors.New("kafka and tls do not fit")
)

// checkTimeout bounds Check where ctx does not.
const checkTimeout = 15 * time.Second

// Check connects to the brokers in turn until one answers, logs in, and makes sure that a broker can also be reached
// under the address it tells its clients. The error is one of ErrUnreachable, ErrRefused and ErrTLS, with its cause and
// a hint, or about the Config; where several brokers fail it is the first one's. It takes at most 15 s.
func (c Config) Check(ctx context.Context) error {
	dialer, err := c.Dialer()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var first error
	for _, broker := range c.Brokers {
		err := c.checkBroker(ctx, dialer, broker)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return first
}

// checkBroker is Check for one address.
func (c Config) checkBroker(ctx context.Context, dialer *kafkago.Dialer, broker string) error {
	conn, err := dialer.DialContext(ctx, "tcp", broker)
	if err != nil {
		return c.classify("connect kafka "+broker, err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(deadlineOf(ctx))
	known, err := conn.Brokers()
	if err != nil {
		return c.classify("ask kafka "+broker+" for its brokers", err)
	}
	for _, b := range known {
		addr := net.JoinHostPort(b.Host, strconv.Itoa(b.Port))
		var plain net.Dialer
		short, cancel := context.WithTimeout(ctx, dialTimeout)
		var probe net.Conn
		probe, err = plain.DialContext(short, "tcp", addr)
		cancel()
		if err == nil {
			return probe.Close()
		}
		err = kit.Hint(fmt.Errorf("connect kafka %s, as %s told: %w: %w", addr, broker, ErrUnreachable, err),
			"set advertised.listeners of the broker to an address that can be reached from here")
	}
	return err
}

// classify names the kind of a failure, and what to do. doing is the operation with its object.
func (c Config) classify(doing string, err error) error {
	var (
		record    tls.RecordHeaderError
		alert     tls.AlertError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		dns       *net.DNSError
		op        *net.OpError
	)
	wrap := func(kind error, hint string) error {
		return kit.Hint(fmt.Errorf("%s: %w: %w", doing, kind, err), hint)
	}
	switch {
	case errors.Is(err, kafkago.SASLAuthenticationFailed):
		return wrap(ErrRefused, "check kafka.sasl.username, password and mechanism")
	case errors.Is(err, kafkago.UnsupportedSASLMechanism):
		return wrap(ErrRefused, "the broker does not offer kafka.sasl.mechanism")
	case errors.Is(err, kafkago.IllegalSASLState):
		return wrap(ErrRefused, "the broker wants a login on this port: set kafka.sasl, or take another port")
	case errors.Is(err, kafkago.TopicAuthorizationFailed), errors.Is(err, kafkago.ClusterAuthorizationFailed),
		errors.Is(err, kafkago.GroupAuthorizationFailed):
		return wrap(ErrRefused, "the user lacks the right: give it an ACL")
	case errors.As(err, &authority):
		return wrap(ErrTLS, "give the authority that signed the broker's certificate as kafka.tls.ca")
	case errors.As(err, &host):
		return wrap(ErrTLS, "the certificate is for another name: use that in kafka.brokers, or set kafka.tls.server_name")
	case errors.As(err, &invalid):
		return wrap(ErrTLS, "the broker's certificate is not valid now: renew it, or check the clock")
	case errors.As(err, &record):
		return wrap(ErrTLS, "the broker does not speak TLS on this port: set kafka.tls.enabled to false, or take another port")
	case errors.As(err, &alert) || strings.Contains(err.Error(), "remote error: tls:"):
		return wrap(ErrTLS, "the broker refuses our side: does it ask for a client certificate (kafka.tls.cert and key)?")
	case errors.As(err, &dns):
		return wrap(ErrUnreachable, "the name does not resolve: check kafka.brokers")
	case errors.Is(err, syscall.ECONNREFUSED):
		return wrap(ErrUnreachable, "nothing listens there: is Kafka running, and is kafka.brokers right?")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return wrap(ErrUnreachable, c.hangUpHint())
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", doing, err)
	case errors.As(err, &op) && op.Op == "dial", errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return wrap(ErrUnreachable, "no answer: check kafka.brokers, the network and its firewalls"+c.silenceHint())
	}
	return wrap(ErrUnreachable, "check kafka.brokers")
}

// hangUpHint is for a broker that closes the connection without a word.
func (c Config) hangUpHint() string {
	if c.SASL.Mechanism != "" {
		return "the broker hung up: does it take this login on this port, and is the port right?"
	}
	return "the broker hung up: does it want TLS (kafka.tls.enabled) or a login (kafka.sasl)?"
}

// silenceHint is for a server that accepts the connection and stays silent.
func (c Config) silenceHint() string {
	if c.TLS.Enabled {
		return ""
	}
	return "; does it want TLS (kafka.tls.enabled)?"
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// deadlineOf is the end of a ctx that has one.
func deadlineOf(ctx context.Context) time.Time {
	d, _ := ctx.Deadline()
	return d
}
