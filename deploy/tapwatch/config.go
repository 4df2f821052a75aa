package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/tapwatch/tapwatch/analyzer"
	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/probe"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// Config is everything `tapwatch up` runs: the embedded servers, and the three
// services with their production configuration.
type Config struct {
	State      string           `conf:"state" help:"directory for everything that is kept"`
	Kafka      KafkaConfig      `conf:"kafka"`
	ClickHouse ClickHouseConfig `conf:"clickhouse"`
	Probe      probe.Config     `conf:"probe"`
	Collector  collector.Config `conf:"collector"`
	Analyzer   analyzer.Config  `conf:"analyzer"`
}

// KafkaConfig is the embedded broker.
type KafkaConfig struct {
	Port       int       `conf:"port" help:"port on 127.0.0.1; 0: any free one"`
	Partitions int       `conf:"partitions" help:"partitions of the topic for flow batches, when it is first made"`
	MaxBytes   kit.Bytes `conf:"max_bytes" help:"disk for messages; the oldest go first"`
}

// ClickHouseConfig is the embedded server.
type ClickHouseConfig struct {
	Port      int       `conf:"port" help:"port of the native protocol on 127.0.0.1; 0: any free one"`
	HTTPPort  int       `conf:"http_port" help:"port of HTTP on 127.0.0.1; 0: any free one"`
	MaxMemory kit.Bytes `conf:"max_memory" help:"memory the server may take; 0: its default"`
}

// database is the one the embedded server makes.
const database = "tapwatch"

// DefaultConfig listens on the usual ports of 127.0.0.1 and keeps its state in
// the working directory.
func DefaultConfig() Config {
	cfg := Config{
		State:      ".state",
		Kafka:      KafkaConfig{Port: 9092, Partitions: 4, MaxBytes: 2 << 30},
		ClickHouse: ClickHouseConfig{Port: 9000, HTTPPort: 8123},
		Probe:      probe.DefaultConfig(),
		Collector:  collector.DefaultConfig(),
		Analyzer:   analyzer.DefaultConfig(),
	}
	// One machine's traffic makes small blocks: what is new shows at once.
	cfg.Collector.Block.MaxWait, cfg.Collector.Rollup.Interval = time.Second, 2*time.Second
	for _, o := range []*ops.Config{&cfg.Probe.Ops, &cfg.Collector.Ops, &cfg.Analyzer.Ops} {
		o.LogLevel = "warn" // up says itself what is ready
	}
	return cfg
}

// connect points the three services at the servers that run.
func (cfg *Config) connect(kafkaAddr, clickhouseAddr string) {
	cfg.Probe.Kafka.Brokers = []string{kafkaAddr}
	cfg.Collector.Kafka.Brokers = []string{kafkaAddr}
	cfg.Collector.Topic = cfg.Probe.Topic
	cfg.Collector.ClickHouse.Addr = []string{clickhouseAddr}
	cfg.Collector.ClickHouse.Database = database
	cfg.Analyzer.ClickHouse.Addr = []string{clickhouseAddr}
	cfg.Analyzer.ClickHouse.Database = database
}

// free reports whether addr ("host:port") can be listened on, so that a port in
// use shows before anything starts.
func free(ctx context.Context, what, addr string) error {
	if addr == "" {
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return kit.Hint(fmt.Errorf("%s: listen on %s: %w", what, addr, err), "another program, or another tapwatch, has the port; choose one with --"+what)
	}
	return l.Close()
}
