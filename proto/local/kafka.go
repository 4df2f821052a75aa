package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

const (
	// segmentBytes is the size at which a log segment is closed.
	segmentBytes = 16 << 20
	// messageMaxBytes bounds a record batch.
	messageMaxBytes = 16 << 20
	// retentionDefault bounds the log of all topics together: a broker that
	// was killed reads all of it into memory when it starts again.
	retentionDefault = 512 << 20
	// retentionEvery is the pause between two enforcements of retention, which
	// the broker by itself does hourly.
	retentionEvery = 5 * time.Second
)

// KafkaConfig says how to run Kafka. Only Dir is required. It travels to a
// child process as JSON.
type KafkaConfig struct {
	Dir    string           // log and state; created, locked while running
	Port   int              // 0 = any free port
	Topics map[string]int32 // created if missing: name -> partitions, at least 1
	Sync   bool             // fsync every write; without it a power failure, but no kill, loses acknowledged records
	// RetentionBytes bounds the records kept, over all of Topics together; each
	// partition gets an equal share, at least one segment of 16 MiB. The oldest
	// go first, consumed or not. Topics created by clients have the same share.
	// 0 = 512 MiB, negative = no bound. Age alone removes nothing.
	RetentionBytes int64
	// Exec are the words that execute this program again as the child of
	// StartKafkaProcess; it must reach RunChildIfAsked or KafkaChild. Empty =
	// os.Executable(). StartKafka ignores it.
	Exec []string
}

// Kafka is a broker in this process. All methods are safe for concurrent use.
type Kafka struct {
	cluster   *kfake.Cluster
	addr      string
	lock      *os.File
	stop      chan struct{}
	done      chan struct{}
	closeOnce sync.Once
	closeErr  error
}

// StartKafka starts a broker on cfg.Dir and returns when it serves and its
// topics exist. Records, topics and committed offsets of an earlier run are
// there again. ctx bounds only the start; the broker lives until Close. log may
// be nil. Errors wrap ErrInUse if the directory or port belongs to another process.
func StartKafka(ctx context.Context, cfg KafkaConfig, log *slog.Logger) (*Kafka, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.Dir == "" {
		return nil, errors.New("open kafka directory: no directory given")
	}
	var partitions int64
	for name, n := range cfg.Topics {
		if n < 1 {
			return nil, fmt.Errorf("create topic %s: %d partitions: at least 1 is needed", name, n)
		}
		partitions += int64(n)
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open kafka directory %s: %w", cfg.Dir, err)
	}
	lock, err := lockDir(ctx, dir)
	if err != nil {
		return nil, err
	}
	port, err := choosePort("kafka", cfg.Port)
	if err != nil {
		lock.Close()
		return nil, err
	}
	began := time.Now()
	if err := refreshProducers(filepath.Join(dir, "data")); err != nil {
		lock.Close()
		return nil, err
	}
	cluster, err := kfake.NewCluster(clusterOptions(cfg, filepath.Join(dir, "data"), port, partitions, log)...)
	if err != nil {
		lock.Close()
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w: %w", ErrInUse, err)
		}
		return nil, fmt.Errorf("start kafka in %s on port %d: %w", dir, port, err)
	}
	k := &Kafka{cluster: cluster, addr: hostPort(port), lock: lock, stop: make(chan struct{}), done: make(chan struct{})}
	if err := k.createTopics(cfg.Topics); err != nil {
		cluster.Close()
		lock.Close()
		return nil, err
	}
	go k.retain()
	log.Info("kafka ready", "addr", k.addr, "dir", dir, "sync", cfg.Sync, "took", time.Since(began).Round(time.Millisecond))
	return k, nil
}

// clusterOptions are the settings of the broker; they win over those that an
// earlier run stored.
func clusterOptions(cfg KafkaConfig, data string, port int, partitions int64, log *slog.Logger) []kfake.Opt {
	retention := int64(-1)
	if cfg.RetentionBytes >= 0 {
		total := cfg.RetentionBytes
		if total == 0 {
			total = retentionDefault
		}
		retention = max(total/max(partitions, 1), segmentBytes)
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.Ports(port),
		kfake.ListenFn(listenGuarded),
		kfake.ClusterID("tapwatch-local"),
		kfake.DataDir(data),
		kfake.WithLogger(brokerLog{log}),
		kfake.BrokerConfigs(map[string]string{
			"log.segment.bytes":   strconv.Itoa(segmentBytes),
			"log.retention.bytes": strconv.FormatInt(retention, 10),
			// Bytes bound the log. Age must not: records of an old capture may
			// carry old times.
			"log.retention.ms":  "-1",
			"message.max.bytes": strconv.Itoa(messageMaxBytes),
		}),
	}
	if cfg.Sync {
		opts = append(opts, kfake.SyncWrites())
	}
	return opts
}

// createTopics makes what is missing and refuses what has another number of
// partitions: keys would move between partitions.
func (k *Kafka) createTopics(topics map[string]int32) error {
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		want := topics[name]
		if k.cluster.TopicInfo(name) == nil {
			if err := k.cluster.CreateTopic(name, want, nil); err != nil {
				return fmt.Errorf("create topic %s: %w", name, err)
			}
			continue
		}
		if have := len(k.cluster.PartitionInfos(name)); have != int(want) {
			return fmt.Errorf("open topic %s: it has %d partitions, not %d: a topic keeps its number, use it or another state directory", name, have, want)
		}
	}
	return nil
}

// retain enforces the retention until Close.
func (k *Kafka) retain() {
	defer close(k.done)
	tick := time.NewTicker(retentionEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			k.cluster.ApplyRetention()
		case <-k.stop:
			return
		}
	}
}

// Addr is the broker's host:port.
func (k *Kafka) Addr() string { return k.addr }

// Close ends all connections, writes what is not yet on disk, and releases the
// directory. It can be called again.
func (k *Kafka) Close() error {
	k.closeOnce.Do(func() {
		close(k.stop)
		<-k.done
		k.cluster.Close()
		k.closeErr = k.lock.Close()
	})
	return k.closeErr
}

// brokerLog takes the broker's lines; what it calls information is our debug.
type brokerLog struct{ log *slog.Logger }

func (l brokerLog) Logf(level kfake.LogLevel, format string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case kfake.LogLevelError:
		to = slog.LevelError
	case kfake.LogLevelWarn:
		to = slog.LevelWarn
	}
	if l.log.Enabled(context.Background(), to) {
		l.log.Log(context.Background(), to, "kafka: "+fmt.Sprintf(format, args...))
	}
}
