// Package quality measures how well the analysis finds what is known to be in
// recorded and generated traffic, and how quiet it stays otherwise.
//
// In come captures and flow logs with labels, and scenarios of package lab/scene
// with their truth. Each case goes through the real path into a database of its
// own: probe, Kafka, collector, ClickHouse, rollups, analyzer. Out comes a report
// of recall, precision, incidents per host-day and time to detect, the real and
// the synthetic apart. A Chain owns its two servers; everything is written below
// one directory that the caller gives.
package quality

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/analyzer"
	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/probe"
	kitclickhouse "github.com/tapwatch/tapwatch/proto/kit/clickhouse"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/local"
	"github.com/tapwatch/tapwatch/proto/rollup"
)

// Chain is the pair of servers that all cases share.
type Chain struct {
	dir        string
	brokers    []string
	clickhouse string
	close      []io.Closer
	cases      int
	log        io.Writer
}

// serverMemory bounds the embedded ClickHouse.
const serverMemory = 3 << 30

// Start starts Kafka and ClickHouse with their state below dir. log hears what
// the services warn of.
func Start(ctx context.Context, dir string, log io.Writer) (*Chain, error) {
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	broker, err := local.StartKafka(ctx, local.KafkaConfig{Dir: filepath.Join(dir, "kafka"), RetentionBytes: -1}, logger)
	if err != nil {
		return nil, err
	}
	server, err := local.StartClickHouse(ctx, local.ClickHouseConfig{Dir: filepath.Join(dir, "clickhouse"), MaxMemory: serverMemory}, logger)
	if err != nil {
		return nil, errors.Join(err, broker.Close())
	}
	return &Chain{dir: dir, brokers: []string{broker.Addr()}, clickhouse: server.Addr(), close: []io.Closer{server, broker}, log: log}, nil
}

// Attach is Start on servers that run already and are not closed.
func Attach(dir, broker, server string, log io.Writer) *Chain {
	return &Chain{dir: dir, brokers: []string{broker}, clickhouse: server, log: log}
}

// Close ends the servers.
func (c *Chain) Close() error {
	var err error
	for _, s := range c.close {
		err = errors.Join(err, s.Close())
	}
	return err
}

// Store is the database of one case, with a collector that fills it.
type Store struct {
	chain   *Chain
	name    string
	db      driver.Conn
	dir     string
	stop    context.CancelFunc
	ended   chan error
	streams int
	cfg     analyzer.Config
}

// Networks names own networks and hosts with their roles for a case, as lines of
// network,name,role,site; empty: nothing is known of them.
type Networks string

// Open makes a database and a topic, and starts a collector between them.
func (c *Chain) Open(ctx context.Context, networks Networks) (*Store, error) {
	c.cases++
	s := &Store{chain: c, name: fmt.Sprintf("case_%d_%d", os.Getpid(), c.cases), ended: make(chan error, 1), cfg: analyzer.DefaultConfig()}
	s.dir = filepath.Join(c.dir, s.name)
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, fmt.Errorf("open case: %w", err)
	}
	admin, err := open(c.clickhouse, "default")
	if err != nil {
		return nil, err
	}
	defer admin.Close()
	if err := admin.Exec(ctx, "CREATE DATABASE "+s.name+" ENGINE = Atomic"); err != nil {
		return nil, fmt.Errorf("open case: %w", err)
	}
	if s.db, err = open(c.clickhouse, s.name); err != nil {
		return nil, err
	}
	for _, topic := range []string{s.name, s.name + ".dead"} {
		if err := (kafka.Config{Brokers: c.brokers}).EnsureTopic(ctx, topic, 1, 1, nil); err != nil {
			return nil, fmt.Errorf("open case: %w", err)
		}
	}
	cfg := collector.DefaultConfig()
	cfg.Kafka.Brokers, cfg.Topic, cfg.DeadLetterTopic, cfg.Group = c.brokers, s.name, s.name+".dead", s.name
	cfg.ClickHouse.Addr, cfg.ClickHouse.Database = []string{c.clickhouse}, s.name
	cfg.Block.MaxWait, cfg.Rollup.Interval = 100*time.Millisecond, 0 // Settle builds the rollups
	cfg.Ops.Listen, cfg.Ops.LogLevel = "", "error"
	if networks != "" {
		file := filepath.Join(s.dir, "networks.csv")
		if err := os.WriteFile(file, []byte("network,name,role,site\n"+string(networks)), 0o644); err != nil {
			return nil, fmt.Errorf("open case: %w", err)
		}
		cfg.Enrich.Networks = []string{file}
	}
	s.cfg.ClickHouse.Addr, s.cfg.ClickHouse.Database = []string{c.clickhouse}, s.name
	s.cfg.Ops.Listen, s.cfg.Ops.LogLevel = "", "error"
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	go func() { s.ended <- collector.Run(running, cfg) }()
	return s, nil
}

func named(name, value string) any { return clickhouse.Named(name, value) }

func open(addr, database string) (driver.Conn, error) {
	conn, err := kitclickhouse.Open(&clickhouse.Options{Addr: []string{addr}, Auth: clickhouse.Auth{Database: database}, MaxOpenConns: 8})
	if err != nil {
		return nil, fmt.Errorf("open clickhouse %s: %w", addr, err)
	}
	return conn, nil
}

// Read sends a capture through a probe of the given name at a site.
func (s *Store) Read(ctx context.Context, name, site, path string) error {
	cfg := probe.DefaultConfig()
	cfg.Name, cfg.Site, cfg.Capture.Files, cfg.Topic = name, site, []string{path}, s.name
	cfg.Kafka.Brokers = s.chain.brokers
	cfg.Spool.Dir = filepath.Join(s.dir, fmt.Sprintf("spool-%d", s.streams))
	cfg.Spool.MaxBytes, cfg.Spool.Drain = 1<<40, time.Minute
	cfg.Ops.Listen, cfg.Ops.LogLevel = "", "error"
	s.streams++
	err := probe.Run(ctx, cfg)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	// A capture that is cut at its end is used as far as it goes.
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// Import sends flow logs of a format through the importer, as of a site.
func (s *Store) Import(ctx context.Context, name, site, format string, paths ...string) error {
	cfg := analyzer.DefaultImportConfig()
	cfg.Name, cfg.Site, cfg.Topic = name, site, s.name
	cfg.Kafka.Brokers = s.chain.brokers
	cfg.Ops.Listen, cfg.Ops.LogLevel = "", "error"
	s.streams++
	_, err := analyzer.Import(ctx, cfg, format, paths)
	return err
}

// settlePatience is how long the end of all streams is waited for.
const settlePatience = 5 * time.Minute

// Settle waits until all that was sent is stored, ends the collector and builds
// the rollups.
func (s *Store) Settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var ended uint64
		err := s.db.QueryRow(ctx, "SELECT uniqExact(probe) FROM batches WHERE end_of_stream").Scan(&ended)
		if err == nil && ended >= uint64(s.streams) {
			break
		}
		select {
		case err := <-s.ended:
			s.ended <- err
			return fmt.Errorf("collector ended: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("wait for %d streams, %d are stored: %w", s.streams, ended, errors.Join(err, ctx.Err()))
		case <-tick.C:
		}
	}
	s.stop()
	if err := <-s.ended; err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("end collector: %w", err)
	}
	s.stop = nil
	return rollup.Once(ctx, s.db)
}

// Judge runs every detector over all that is stored.
func (s *Store) Judge(ctx context.Context) error { return analyzer.Catchup(ctx, s.cfg) }

// Close drops the database.
func (s *Store) Close() error {
	if s.stop != nil {
		s.stop()
		<-s.ended
	}
	err := s.db.Exec(context.Background(), "DROP DATABASE IF EXISTS "+s.name+" SYNC")
	return errors.Join(err, s.db.Close(), os.RemoveAll(s.dir))
}
