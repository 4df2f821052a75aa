package probe

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/probe/ipfix"
	"github.com/tapwatch/tapwatch/probe/keep"
	"github.com/tapwatch/tapwatch/probe/meter"
	"github.com/tapwatch/tapwatch/probe/mirror"
	"github.com/tapwatch/tapwatch/probe/plugin"
	"github.com/tapwatch/tapwatch/probe/privacy"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// Config is the configuration of a probe.
type Config struct {
	Name    string         `conf:"name" help:"name of this probe, unique in the installation"`
	Site    string         `conf:"site" help:"network the probe watches; equal private addresses of two sites are different hosts"`
	Capture CaptureConfig  `conf:"capture"`
	Meter   MeterConfig    `conf:"meter"`
	Privacy privacy.Config `conf:"privacy"`
	Keep    keep.Config    `conf:"keep"`
	Spool   SpoolConfig    `conf:"spool"`
	Confine ConfineConfig  `conf:"confine"`
	Kafka   kafka.Config   `conf:"kafka"`
	Topic   string         `conf:"topic" help:"Kafka topic for flow batches; must exist, its number of partitions must not change"`
	SignKey string         `conf:"sign_key" help:"file with the key (32 octets, or 64 hexadecimal digits) that batches are signed with; empty: not signed"`
	Ops     ops.Config     `conf:"ops"`

	Services []string            `conf:"services" help:"files that name services by domain or network, beside the list that comes with the probe"`
	IPFIX    ipfix.Config        `conf:"ipfix"`
	Stream   plugin.StreamConfig `conf:"stream"`
	Patterns []string            `conf:"patterns" help:"YAML files of patterns that name applications of your own"`
	Mirror   mirror.Config       `conf:"mirror"`

	// Plugins are exporters and recognisers that a main of one's own adds.
	Plugins     plugin.Set
	recognisers []plugin.Recogniser // with those of Patterns, once read
	services    *dpi.Services       // once read
}

// CaptureConfig says where the packets come from: interfaces, or files.
type CaptureConfig struct {
	Interfaces  []string `conf:"interfaces" help:"network interfaces to listen on"`
	Files       []string `conf:"files" help:"capture files or directories to read instead, in order of time; - is standard input"`
	Filter      string   `conf:"filter" help:"BPF expression, as of tcpdump; other packets are counted as filtered"`
	Workers     int      `conf:"workers" help:"workers for each interface, or for all files, 1 to 256; files get no more than there are cores"`
	SampleFlows uint32   `conf:"sample_flows" help:"look at one flow in so many, whole; 0 or 1: all"`
	// SamplePackets ends up in Record.Sampling.
	SamplePackets uint32        `conf:"sample_packets" help:"look at one packet in so many; counters are scaled up and marked; 0 or 1: all"`
	Snaplen       int           `conf:"snaplen" help:"bytes kept of a packet; 0: all"`
	BlockSize     kit.Bytes     `conf:"block_size" help:"bytes of one ring block, a power of two"`
	Blocks        int           `conf:"blocks" help:"blocks in each worker's ring"`
	BlockTime     time.Duration `conf:"block_time" help:"the kernel hands over a block that is not full after this"`
	Promiscuous   bool          `conf:"promiscuous" help:"see frames for other hosts"`
	Clock         string        `conf:"clock" help:"who tells the time of packets: auto, system or hardware (the card, where it can)"`
	CPUs          []int         `conf:"cpus" help:"cores to pin the workers of interfaces to, in turn; none: wherever there is room"`
}

// MeterConfig bounds the flow table.
type MeterConfig struct {
	ActiveTimeout     time.Duration `conf:"active_timeout" help:"a flow that goes on is cut into records of this length"`
	IdleTimeout       time.Duration `conf:"idle_timeout" help:"a flow ends when nothing came for this long"`
	UnansweredTimeout time.Duration `conf:"unanswered_timeout" help:"the same for a flow that nothing answered"`
	MaxFlows          int           `conf:"max_flows" help:"flows open at once in each worker; then the longest idle one ends"`
	MaxBytes          kit.Bytes     `conf:"max_bytes" help:"memory for open flows in each worker; nearly full, timeouts shorten and floods are added up"`
	FloodRate         int           `conf:"flood_rate" help:"connections a second, unanswered, to or from one end that are added up when memory is nearly full; negative: never"`
}

// SpoolConfig bounds the queue on disk between probe and Kafka.
type SpoolConfig struct {
	Dir      string        `conf:"dir" help:"directory of the spool"`
	MaxBytes kit.Bytes     `conf:"max_bytes" help:"disk the spool may take; then its oldest batches are dropped and counted"`
	KeyFile  string        `conf:"key_file" help:"file with the key (32 octets, or 64 hexadecimal digits) that batches on disk are encrypted with; empty: plain"`
	Drain    time.Duration `conf:"drain" help:"at the end wait this long for Kafka; what is left goes out at the next start"`
}

// DefaultConfig names the probe after the host. An interface or a file has to
// be added.
func DefaultConfig() Config {
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "probe"
	}
	live, table := capture.DefaultLiveOptions(), meter.DefaultConfig()
	return Config{
		Name: name,
		Capture: CaptureConfig{Workers: live.Workers, BlockSize: kit.Bytes(live.BlockSize), Blocks: live.Blocks,
			BlockTime: live.BlockTime, Promiscuous: true, Clock: "auto"},
		Meter: MeterConfig{ActiveTimeout: table.ActiveTimeout, IdleTimeout: table.IdleTimeout,
			UnansweredTimeout: table.UnansweredTimeout, MaxFlows: table.MaxFlows, MaxBytes: kit.Bytes(table.MaxBytes), FloodRate: table.FloodRate},
		Spool:   SpoolConfig{Dir: "/var/lib/tapwatch/spool", MaxBytes: 4 << 30, Drain: 5 * time.Second},
		Kafka:   kafka.Config{Brokers: []string{"127.0.0.1:9092"}},
		Topic:   "flows.v1",
		Ops:     ops.Config{Listen: "127.0.0.1:9611"},
		Privacy: privacy.DefaultConfig(), Keep: keep.DefaultConfig(),
		IPFIX: ipfix.DefaultConfig(), Stream: plugin.DefaultStreamConfig(), Mirror: mirror.DefaultConfig(),
	}
}

// Memory is what a probe should stay near in all, in octets: open flows and
// reassembly of each worker (meter.max_bytes holds both), with batches, caches
// and the program beside them. Rings are the kernel's and not in it.
func (cfg Config) Memory() int64 {
	workers := int64(max(cfg.Capture.Workers, 1))
	if n := len(cfg.Capture.Interfaces); n > 0 {
		workers *= int64(n)
	}
	return workers*(int64(cfg.Meter.MaxBytes)+workerMemory) + programMemory
}

const (
	workerMemory  = 16 << 20 // batches being filled and sealed, decoder, caches
	programMemory = 32 << 20
)

// Check says what is wrong with cfg without opening anything.
func (cfg Config) Check() error {
	switch c := cfg.Capture; {
	case cfg.Name == "" || len(cfg.Name) > flow.MaxString:
		return fmt.Errorf("name: 1 to %d bytes are needed", flow.MaxString)
	case len(c.Interfaces) == 0 && len(c.Files) == 0:
		return kit.Hint(errors.New("capture: neither an interface nor a file is given"), "set capture.interfaces or capture.files")
	case len(c.Interfaces) > 0 && len(c.Files) > 0:
		return errors.New("capture: interfaces and files cannot be read at once; run two probes")
	case c.Workers < 1 || c.Workers > 256:
		return fmt.Errorf("capture.workers: %d is not within 1 to 256", c.Workers)
	case cfg.Spool.Dir == "":
		return errors.New("spool.dir: a directory is needed")
	case cfg.Topic == "":
		return errors.New("topic: a name is needed")
	case len(cfg.Kafka.Brokers) == 0:
		return errors.New("kafka.brokers: at least one host:port is needed")
	}
	if _, err := capture.ParseClock(cfg.Capture.Clock); err != nil {
		return fmt.Errorf("capture.clock: %w", err)
	}
	if err := cfg.Privacy.Check(); err != nil {
		return fmt.Errorf("privacy.%w", err)
	}
	if cfg.Keep.Dir != "" {
		if err := errors.Join(cfg.Keep.Check(), cfg.Privacy.CheckPackets(cfg.Keep.KeyFile != "")); err != nil {
			return err
		}
	}
	if err := errors.Join(cfg.IPFIX.Check(), cfg.Stream.Check(), cfg.Plugins.Check()); err != nil {
		return err
	}
	return cfg.Meter.check()
}

func (m MeterConfig) check() error {
	if m.ActiveTimeout <= 0 || m.IdleTimeout <= 0 || m.UnansweredTimeout <= 0 {
		return errors.New("meter: timeouts must be greater than zero")
	}
	if m.MaxFlows < 1 {
		return errors.New("meter.max_flows: at least 1 is needed")
	}
	if m.MaxBytes < 1<<20 {
		return errors.New("meter.max_bytes: at least 1 MiB is needed")
	}
	return nil
}

func (m MeterConfig) table() meter.Config {
	c := meter.DefaultConfig()
	c.ActiveTimeout, c.IdleTimeout, c.UnansweredTimeout, c.MaxFlows = m.ActiveTimeout, m.IdleTimeout, m.UnansweredTimeout, m.MaxFlows
	c.MaxBytes, c.FloodRate = int(m.MaxBytes), m.FloodRate
	return c
}
