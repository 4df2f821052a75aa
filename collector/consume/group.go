package consume

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/proto/kit/backoff"
	kafkaconf "github.com/tapwatch/tapwatch/proto/kit/kafka"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// Times of the group, as measured: short enough that a dead owner's partitions
// are taken over within seconds, long enough for a loaded machine.
const (
	heartbeatInterval = 500 * time.Millisecond
	sessionTimeout    = 10 * time.Second
	// rebalanceTimeout is how long the others wait for a member that died while
	// joining; the living need the time of grace. It is shorter than the session,
	// so that a dead member falls out once, not once for each.
	rebalanceTimeout = 7 * time.Second
	joinBackoff      = time.Second
	// grace is what a block gets to be finished when its owner has to leave. It
	// must end well before the session does.
	grace        = 4 * time.Second
	leaveTimeout = 3 * time.Second
	// confirmEvery is how old the last accepted commit may be when a block is
	// written; well below the session.
	confirmEvery = 3 * time.Second
	// stall is how long a partition may do nothing at all, not even wait for
	// somebody, before the process is given up: a hung owner keeps its
	// heartbeat, and so its partition, for ever.
	stall = 3 * time.Minute
)

// Config is what Run needs. All fields are required.
type Config struct {
	Kafka           kafkaconf.Config
	Topic           string
	Group           string
	DeadLetterTopic string

	MaxRows  int           // flow records of a block, unless one message has more
	MaxWait  time.Duration // from a block's first message to its end
	MaxBytes int64         // memory of the messages at hand, all partitions together, estimated

	// Verify says whether a message is by the probe that it names; nil: all are
	// taken. Its error wraps sign.ErrSignature. It is called concurrently.
	Verify func(probe string, message []byte) error
	// Store writes a block and returns when it is there. It waits for as long as
	// it takes, until its context ends; any other error stops the partition.
	Store func(context.Context, *Block) error
	// Known returns the greatest offset of a partition that Store has finished, -1 none.
	Known func(ctx context.Context, topic string, partition int) (int64, error)
	// Lead runs while this process owns partition 0, until its context ends.
	Lead func(context.Context)

	Ops    *ops.Ops
	Stages *ops.Stages
}

type group struct {
	Config
	log     *slog.Logger
	client  *kafka.Client
	dialer  *kafka.Dialer
	dead    *kafka.Writer
	budget  *budget
	metrics *metrics
	beats   sync.Map // partition -> *beat
}

// Run consumes until ctx ends, and returns nil then. It lasts through everything
// that Kafka does; what it returns otherwise is a wrong Config or a partition
// that hangs.
func Run(ctx context.Context, cfg Config) error {
	dialer, err := cfg.Kafka.Dialer()
	if err != nil {
		return err
	}
	client, err := cfg.Kafka.Client()
	if err != nil {
		return err
	}
	defer kafkaconf.CloseIdle(client)
	g := &group{
		Config: cfg, log: cfg.Ops.Log, client: client, dialer: dialer,
		budget: newBudget(cfg.MaxBytes), metrics: newMetrics(cfg.Ops.Registry, cfg.Stages),
		dead: &kafka.Writer{
			Addr: client.Addr, Topic: cfg.DeadLetterTopic, Transport: client.Transport,
			Balancer: &kafka.Hash{}, RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond,
			BatchBytes: 16 << 20, MaxAttempts: 2,
		},
	}
	defer g.dead.Close()
	quiet := kafka.LoggerFunc(func(format string, args ...any) { g.log.Debug("kafka: " + fmt.Sprintf(format, args...)) })
	members, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: cfg.Group, Brokers: cfg.Kafka.Brokers, Dialer: dialer, Topics: []string{cfg.Topic},
		HeartbeatInterval: heartbeatInterval, SessionTimeout: sessionTimeout, RebalanceTimeout: rebalanceTimeout,
		JoinGroupBackoff: joinBackoff, WatchPartitionChanges: true, StartOffset: kafka.FirstOffset,
		Logger: quiet, ErrorLogger: quiet,
	})
	if err != nil {
		return fmt.Errorf("join group %s: %w", cfg.Group, err)
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	running.Go(func() { g.watch(ctx, cancel) })
	wait := backoff.Backoff{Min: 100 * time.Millisecond, Max: 2 * time.Second}
	for ctx.Err() == nil {
		gen, err := members.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				g.Ops.Ready("kafka", fmt.Errorf("join group %s: %w", cfg.Group, err))
				_ = wait.Wait(ctx)
			}
			continue
		}
		wait.Reset()
		g.Ops.Ready("kafka", nil)
		g.generation(ctx, gen, &running)
	}
	if err := context.Cause(ctx); errors.Is(err, errStalled) {
		return err // the process ends: neither the hung partition nor its group is waited for
	}
	running.Wait()
	return leave(members)
}

// leave leaves the group, so that the others need not wait for the session's end.
// Where Kafka does not answer, it is left to end.
func leave(members *kafka.ConsumerGroup) error {
	left := make(chan error, 1)
	go func() { left <- members.Close() }()
	t := time.NewTimer(leaveTimeout)
	defer t.Stop()
	select {
	case err := <-left:
		return err
	case <-t.C:
		return nil
	}
}

// generation starts the partitions that the group gave us; they end with it.
func (g *group) generation(ctx context.Context, gen *kafka.Generation, running *sync.WaitGroup) {
	assigned := gen.Assignments[g.Topic]
	ids := make([]int, len(assigned))
	for i, a := range assigned {
		ids[i] = a.ID
	}
	g.log.Info("partitions assigned", "generation", gen.ID, "partitions", ids)
	for _, id := range ids {
		running.Add(1)
		gen.Start(func(genCtx context.Context) {
			defer running.Done()
			soft, cancel := context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(genCtx, cancel)()
			g.partition(soft, gen, id)
		})
	}
	if len(ids) == 0 {
		return
	}
	running.Add(1)
	gen.Start(func(genCtx context.Context) {
		defer running.Done()
		soft, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(genCtx, cancel)()
		for _, id := range ids {
			if id == 0 {
				g.Lead(soft)
			}
		}
		<-soft.Done()
	})
}

// partition owns one partition until ctx ends.
func (g *group) partition(ctx context.Context, gen *kafka.Generation, id int) {
	p := newPartition(g, gen, id)
	g.metrics.owned.Inc()
	g.beats.Store(id, p.beat)
	defer func() {
		g.beats.Delete(id)
		g.metrics.owned.Dec()
		g.metrics.release(id)
	}()
	component := fmt.Sprintf("partition %d", id)
	wait := backoff.Backoff{Min: 200 * time.Millisecond, Max: 5 * time.Second}
	for ctx.Err() == nil {
		began := time.Now()
		err := p.own(ctx)
		var halt *haltError
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, errFenced):
			g.log.Info("partition has another owner", "partition", id, "cause", err)
			return // ends the generation: join again
		case errors.As(err, &halt):
			g.metrics.stopped.Inc()
			g.Ops.Ready(component, fmt.Errorf("stopped: %w", halt.err))
			p.rest(ctx)
			g.metrics.stopped.Dec()
			g.Ops.Ready(component, nil)
			return
		default:
			g.Ops.Ready("kafka", fmt.Errorf("partition %d: %w", id, err))
			if time.Since(began) > time.Minute {
				wait.Reset()
			}
			_ = wait.Wait(ctx)
		}
	}
}

var errStalled = errors.New("no progress")

// watch keeps an eye on the partitions: how old their messages are, and whether
// they are alive.
func (g *group) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			g.metrics.tell(now)
			g.beats.Range(func(id, b any) bool {
				if idle := b.(*beat).age(now); idle > stall {
					cancel(fmt.Errorf("consume partition %d: %w for %s", id, errStalled, idle.Round(time.Second)))
				}
				return true
			})
		}
	}
}
