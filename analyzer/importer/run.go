package importer

import (
	"context"
	"fmt"

	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
	"github.com/tapwatch/tapwatch/proto/sign"
	"github.com/tapwatch/tapwatch/proto/spool"
)

// Run imports files of one format (one of Formats) and returns when Kafka has
// acknowledged all batches: what was read, converted and skipped. It repeats
// without end while Kafka is away. An import that was cut short is simply
// repeated: batches that were stored before are recognised.
func Run(ctx context.Context, cfg Config, format string, paths []string) (source.Tally, error) {
	if err := cfg.Check(); err != nil {
		return source.Tally{}, err
	}
	convert, err := formatOf(format)
	if err != nil {
		return source.Tally{}, err
	}
	files, err := expand(paths)
	if err != nil {
		return source.Tally{}, err
	}
	o, err := ops.New("import", cfg.Ops)
	if err != nil {
		return source.Tally{}, err
	}
	publish, closeKafka, err := direct(ctx, cfg, o)
	if err != nil {
		return source.Tally{}, err
	}
	defer closeKafka()
	sink := NewBatches(ctx, cfg.Name, cfg.Site, publish)
	tally, err := convert(ctx, files, sink)
	if err == nil {
		err = sink.Close()
	}
	return tally, err
}

// direct publishes batches without a spool: what is in files can be read again.
func direct(ctx context.Context, cfg Config, o *ops.Ops) (Publish, func(), error) {
	transport, err := cfg.Kafka.Transport()
	if err != nil {
		return nil, nil, err
	}
	producer := spool.NewProducer(spool.PublisherConfig{Brokers: cfg.Kafka.Brokers, Transport: transport, Topic: cfg.Topic}, o.Log)
	done := func() { producer.Close(); transport.CloseIdleConnections() }
	seal, err := sealer(cfg)
	if err != nil {
		done()
		return nil, nil, err
	}
	partitions, err := producer.Partitions(ctx)
	if err != nil {
		done()
		return nil, nil, err
	}
	return func(ctx context.Context, r spool.Record) error {
		partition := spool.PartitionFor(r.Key, partitions)
		r.Value = seal(r.Value)
		if err := producer.Produce(ctx, partition, []spool.Record{r}); err != nil {
			return fmt.Errorf("publish batch %d: %w", r.Meta.Seq, err)
		}
		return nil
	}, done, nil
}

// sealer signs batches, if a key is configured.
func sealer(cfg Config) (func([]byte) []byte, error) {
	if cfg.SignKey == "" {
		return func(b []byte) []byte { return b }, nil
	}
	signer, err := sign.Open(cfg.SignKey)
	if err != nil {
		return nil, err
	}
	return signer.Sign, nil
}
