package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/backoff"
)

// ErrNoTopic: the topic does not exist.
var ErrNoTopic = errors.New("no such topic")

// topicTimeout bounds EnsureTopic and Partitions where ctx does not.
const topicTimeout = 30 * time.Second

// EnsureTopic creates a topic unless it exists, and returns when each of its partitions has a leader. One that exists
// keeps its partitions, replicas and configs, whatever they are: ask Partitions. configs are Kafka's own topic keys
// ("retention.ms"); nil is none. It takes at most 30 s. Errors are those of Check, with a hint.
func (c Config) EnsureTopic(ctx context.Context, name string, partitions, replication int, configs map[string]string) error {
	client, err := c.Client()
	if err != nil {
		return err
	}
	defer CloseIdle(client)
	ctx, cancel := context.WithTimeout(ctx, topicTimeout)
	defer cancel()
	if _, err := c.partitions(ctx, client, name); !errors.Is(err, ErrNoTopic) {
		if err == nil {
			return nil
		}
		if !errors.Is(err, errNoLeader) {
			return err
		}
	} else if err := c.create(ctx, client, name, partitions, replication, configs); err != nil {
		return err
	}
	wait := backoff.Backoff{Min: 20 * time.Millisecond, Max: time.Second}
	for {
		_, err := c.partitions(ctx, client, name)
		if err == nil || !errors.Is(err, ErrNoTopic) && !errors.Is(err, errNoLeader) {
			return err
		}
		if wait.Wait(ctx) != nil {
			return err
		}
	}
}

// create asks for a new topic; one that has come up meanwhile is fine.
func (c Config) create(ctx context.Context, client *kafkago.Client, name string, partitions, replication int, configs map[string]string) error {
	topic := kafkago.TopicConfig{Topic: name, NumPartitions: partitions, ReplicationFactor: replication}
	for _, key := range slices.Sorted(maps.Keys(configs)) {
		topic.ConfigEntries = append(topic.ConfigEntries, kafkago.ConfigEntry{ConfigName: key, ConfigValue: configs[key]})
	}
	doing := "create topic " + name
	answer, err := client.CreateTopics(ctx, &kafkago.CreateTopicsRequest{Topics: []kafkago.TopicConfig{topic}})
	if err != nil {
		return c.explain(ctx, doing, err)
	}
	err = answer.Errors[name]
	switch {
	case err == nil, errors.Is(err, kafkago.TopicAlreadyExists):
		return nil
	case errors.Is(err, kafkago.InvalidReplicationFactor):
		return kit.Hint(fmt.Errorf("%s: %w", doing, err), fmt.Sprintf("%d replicas need as many brokers", replication))
	case errors.Is(err, kafkago.InvalidPartitionNumber), errors.Is(err, kafkago.InvalidConfiguration),
		errors.Is(err, kafkago.InvalidTopic), errors.Is(err, kafkago.PolicyViolation):
		return kit.Hint(fmt.Errorf("%s: %w", doing, err), "the brokers do not take its name, partitions or settings")
	}
	return c.classify(doing, err)
}

// Partitions returns how many partitions a topic has; ErrNoTopic when it does not exist or the user may not see it. It takes at most 30 s.
func (c Config) Partitions(ctx context.Context, topic string) (int, error) {
	client, err := c.Client()
	if err != nil {
		return 0, err
	}
	defer CloseIdle(client)
	ctx, cancel := context.WithTimeout(ctx, topicTimeout)
	defer cancel()
	n, err := c.partitions(ctx, client, topic)
	if errors.Is(err, errNoLeader) {
		err = nil
	}
	return n, err
}

// errNoLeader: a partition exists but has no leader yet, or no more.
var errNoLeader = errors.New("a partition has no leader")

// partitions asks through client. With errNoLeader the number is right as well.
func (c Config) partitions(ctx context.Context, client *kafkago.Client, topic string) (int, error) {
	doing := "look up topic " + topic
	m, err := client.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return 0, c.explain(ctx, doing, err)
	}
	for _, t := range m.Topics {
		if t.Name != topic {
			continue
		}
		if errors.Is(t.Error, kafkago.UnknownTopicOrPartition) {
			break
		}
		if t.Error != nil && !errors.Is(t.Error, kafkago.LeaderNotAvailable) {
			return 0, c.classify(doing, t.Error)
		}
		if len(t.Partitions) == 0 {
			break
		}
		for _, p := range t.Partitions {
			if p.Error != nil || p.Leader.Host == "" {
				return len(t.Partitions), fmt.Errorf("%s: partition %d: %w", doing, p.ID, errNoLeader)
			}
		}
		return len(t.Partitions), nil
	}
	return 0, kit.Hint(fmt.Errorf("%s: %w", doing, ErrNoTopic), "create it, check its name, or let this user describe it")
}

// explain classifies an error of a Client. The client's pool hides why it has no connection behind a timeout, so a
// failed request is explained by trying the brokers one by one.
func (c Config) explain(ctx context.Context, doing string, err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if why := c.Check(context.WithoutCancel(ctx)); why != nil {
		return fmt.Errorf("%s: %w", doing, why)
	}
	return c.classify(doing, err)
}
