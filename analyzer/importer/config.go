package importer

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// Config is the configuration of an import.
type Config struct {
	Name    string       `conf:"name" help:"what stands in the place of a probe's name; the same file under two names is stored twice"`
	Site    string       `conf:"site" help:"network that the flows are of; equal private addresses of two sites are different hosts"`
	Kafka   kafka.Config `conf:"kafka"`
	Topic   string       `conf:"topic" help:"Kafka topic for flow batches"`
	SignKey string       `conf:"sign_key" help:"file with the key that batches are signed with; empty: not signed"`
	Ops     ops.Config   `conf:"ops"`

	Listen   []string      `conf:"listen" help:"live: host:port to receive NetFlow, IPFIX and sFlow on, UDP"`
	Spool    SpoolConfig   `conf:"spool"`
	Lateness time.Duration `conf:"lateness" help:"live and follow: how long after its start a flow may still come before its time is taken as complete; routers tell long flows at their active timeout"`
	State    string        `conf:"state" help:"follow: file that remembers how far each log was read"`
}

// SpoolConfig bounds the queue on disk between the receiver and Kafka.
type SpoolConfig struct {
	Dir      string        `conf:"dir" help:"live: directory of the spool"`
	MaxBytes kit.Bytes     `conf:"max_bytes" help:"live: what it may take; then the oldest batches are given up, and declared"`
	Drain    time.Duration `conf:"drain" help:"live: how long the end waits for Kafka to take what is left"`
}

// DefaultConfig imports under the name "import" into a Kafka on this machine.
func DefaultConfig() Config {
	return Config{Name: "import", Topic: "flows.v1", Kafka: kafka.Config{Brokers: []string{"127.0.0.1:9092"}, ClientID: "tapwatch-import"},
		Ops:    ops.Config{LogLevel: "info", LogFormat: "text"},
		Listen: []string{":2055", ":4739", ":6343"}, Lateness: 5 * time.Minute,
		Spool: SpoolConfig{Dir: "import-spool", MaxBytes: 1 << 30, Drain: 5 * time.Second}, State: "import-state.json"}
}

// Check says what is wrong with the configuration, without touching the network.
func (c Config) Check() error {
	switch {
	case c.Name == "" || len(c.Name) > flow.MaxString || len(c.Site) > flow.MaxString:
		return kit.Hint(fmt.Errorf("import name %q, site %q: a name of 1 to %d octets is needed", c.Name, c.Site, flow.MaxString), "set --name")
	case strings.ContainsAny(c.Name, "\x00\n"):
		return errors.New("import name: holds a line feed or NUL")
	case c.Topic == "":
		return kit.Hint(errors.New("import topic: empty"), "set --topic to the topic that the collector reads, flows.v1")
	}
	return c.Kafka.Validate()
}

// CheckLive is Check for Live, which needs somewhere to listen, and a spool.
func (c Config) CheckLive() error {
	if len(c.Listen) == 0 {
		return kit.Hint(errors.New("import listen: nothing to listen on"), "set --listen to host:port, such as :2055")
	}
	for _, a := range c.Listen {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return kit.Hint(fmt.Errorf("import listen %q: %w", a, err), "write host:port, such as :2055")
		}
	}
	if c.Spool.Dir == "" || c.Lateness < 0 {
		return kit.Hint(errors.New("import spool: no directory, or a lateness below 0"), "set --spool.dir")
	}
	return c.Check()
}
