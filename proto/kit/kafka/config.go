// Package kafka connects to any Kafka: one Config, and from it the client, transport and dialer of kafka-go, a check
// that says why a broker cannot be used, and the making of topics.
//
// In comes a Config; out go connections that belong to the caller. Producing and consuming are not here.
package kafka

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/config"
)

const (
	dialTimeout = 5 * time.Second
	// metadataTTL is how soon a moved leader is noticed; kafka-go's 6 s make stalls of 9 s after a broker died.
	metadataTTL = time.Second
)

// Config says where Kafka is and how to log in. Brokers is required.
type Config struct {
	Brokers  []string `conf:"brokers" help:"host:port of the brokers to ask first"`
	ClientID string   `conf:"client_id" help:"name shown in the brokers' logs and quotas"`
	TLS      kit.TLS  `conf:"tls"`
	SASL     SASL     `conf:"sasl"`
}

// SASL is how to log in. The zero value does not.
type SASL struct {
	Mechanism string        `conf:"mechanism" help:"plain, scram-sha-256 or scram-sha-512; empty: no login"`
	Username  string        `conf:"username" help:"user to log in as"`
	Password  config.Secret `conf:"password" help:"password of the user; file:PATH and env:NAME are resolved"`
}

// mechanism returns the login of kafka-go, or nil.
func (s SASL) mechanism() (sasl.Mechanism, error) {
	algorithm := scram.SHA512
	switch s.Mechanism {
	case "":
		if s.Username != "" || s.Password != "" {
			return nil, kit.Hint(errors.New("kafka sasl: a user is given, but no mechanism"),
				"set kafka.sasl.mechanism to plain, scram-sha-256 or scram-sha-512")
		}
		return nil, nil
	case "plain":
		return plain.Mechanism{Username: s.Username, Password: s.Password.Reveal()}, nil
	case "scram-sha-256":
		algorithm = scram.SHA256
	case "scram-sha-512":
	default:
		return nil, kit.Hint(fmt.Errorf("kafka sasl mechanism %q: unknown", s.Mechanism), "one of plain, scram-sha-256, scram-sha-512")
	}
	m, err := scram.Mechanism(algorithm, s.Username, s.Password.Reveal())
	if err != nil {
		return nil, kit.Hint(errors.New("kafka sasl: user or password holds characters that SCRAM forbids"), "RFC 4013 lists them")
	}
	return m, nil
}

// Validate says what is wrong with the Config, without touching the network; it does read the TLS files.
func (c Config) Validate() error {
	_, err := c.Dialer()
	return err
}

// addrs checks the brokers' addresses.
func (c Config) addrs() error {
	if len(c.Brokers) == 0 {
		return kit.Hint(errors.New("kafka brokers: none given"), "set kafka.brokers to host:port")
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			return kit.Hint(fmt.Errorf("kafka broker %q: not host:port", b), "write it as kafka.example:9092")
		}
	}
	return nil
}

// security checks the addresses and returns how to encrypt (nil: not) and log in (nil: not).
func (c Config) security() (*tls.Config, sasl.Mechanism, error) {
	if err := c.addrs(); err != nil {
		return nil, nil, err
	}
	tlsConfig, err := c.TLS.Config()
	if err != nil {
		return nil, nil, fmt.Errorf("kafka: %w", err)
	}
	login, err := c.SASL.mechanism()
	return tlsConfig, login, err
}

// Transport returns a new pool of connections for Clients and Writers. The caller owns it and calls
// CloseIdleConnections when done: its goroutines live until then. Share one per process.
func (c Config) Transport() (*kafkago.Transport, error) {
	tlsConfig, login, err := c.security()
	if err != nil {
		return nil, err
	}
	return &kafkago.Transport{
		ClientID: c.ClientID, TLS: tlsConfig, SASL: login, DialTimeout: dialTimeout, MetadataTTL: metadataTTL,
	}, nil
}

// Dialer returns a new dialer for Readers and ConsumerGroups. It holds no connections.
func (c Config) Dialer() (*kafkago.Dialer, error) {
	tlsConfig, login, err := c.security()
	if err != nil {
		return nil, err
	}
	return &kafkago.Dialer{
		ClientID: c.ClientID, TLS: tlsConfig, SASLMechanism: login, Timeout: dialTimeout, DualStack: true,
	}, nil
}

// Client returns a client on a Transport of its own; close that one by CloseIdle(client).
func (c Config) Client() (*kafkago.Client, error) {
	t, err := c.Transport()
	if err != nil {
		return nil, err
	}
	return &kafkago.Client{Addr: kafkago.TCP(c.Brokers...), Transport: t}, nil
}

// CloseIdle ends the connections and goroutines of a client that Config.Client made. Requests under way are finished.
func CloseIdle(client *kafkago.Client) {
	if t, ok := client.Transport.(*kafkago.Transport); ok {
		t.CloseIdleConnections()
	}
}
