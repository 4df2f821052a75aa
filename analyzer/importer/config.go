package importer

import (
	"errors"
	"fmt"
	"strings"

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
}

// DefaultConfig imports under the name "import" into a Kafka on this machine.
func DefaultConfig() Config {
	return Config{Name: "import", Topic: "flows.v1", Kafka: kafka.Config{Brokers: []string{"127.0.0.1:9092"}, ClientID: "tapwatch-import"},
		Ops: ops.Config{LogLevel: "info", LogFormat: "text"}}
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
