package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/kit/kafka"
)

// topic writes alerts to a topic of Kafka: the key is the id of the alert, so
// that one alert stays in one partition in the order of its revisions, and a
// compacted topic keeps the newest. A message that was sent before has the same
// headers and the same bytes.
type topic struct {
	cfg   Topic
	kafka kafka.Config
}

func (cfg Config) topic(at string, t Topic) (common, *topic, error) {
	c, err := cfg.common(at, "kafka", t.Name, t.MinSeverity, t.PerMinute, t.Timeout, kafkaTimeout)
	if err != nil {
		return c, nil, err
	}
	if t.PerMinute == 0 {
		c.perMinute = kafkaPerMinute
	}
	if !nameForm.MatchString(t.Topic) {
		return c, nil, kit.Hint(fmt.Errorf("%s.topic: %q is not the name of a topic", at, t.Topic), "letters, digits, dots, dashes and underscores")
	}
	if t.Kafka.ClientID == "" {
		t.Kafka.ClientID = "tapwatch-notify"
	}
	if err := t.Kafka.Validate(); err != nil {
		return c, nil, fmt.Errorf("%s: %w", at, err)
	}
	c.secrets = append(c.secrets, t.Kafka.SASL.Password.Reveal())
	return c, &topic{t, t.Kafka}, nil
}

func (t *topic) send(ctx context.Context, m *message) error {
	body, err := m.payload()
	if err != nil {
		return &refusal{fmt.Errorf("write alert as JSON: %w", err)}
	}
	transport, err := t.kafka.Transport()
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	defer transport.CloseIdleConnections()
	// One attempt by one writer: patience is the queue's, and all replicas in sync
	// have it when this returns (kafka-go's default is to ask none).
	w := &kafkago.Writer{Addr: kafkago.TCP(t.kafka.Brokers...), Topic: t.cfg.Topic, Balancer: &kafkago.Hash{}, RequiredAcks: kafkago.RequireAll,
		MaxAttempts: 1, BatchSize: 1, BatchTimeout: time.Millisecond, Transport: transport}
	defer w.Close()
	err = w.WriteMessages(ctx, kafkago.Message{Key: []byte(m.ID), Value: body, Headers: []kafkago.Header{
		{Key: "idempotency-key", Value: []byte(m.key())}, {Key: "reason", Value: []byte(m.reason)}, {Key: "schema", Value: []byte(Schema)}}})
	if err == nil {
		return nil
	}
	var list kafkago.WriteErrors
	if errors.As(err, &list) && len(list) == 1 && list[0] != nil {
		err = list[0]
	}
	wrapped := fmt.Errorf("kafka topic %s: %w", t.cfg.Topic, err)
	if errors.Is(err, kafkago.MessageSizeTooLarge) {
		return &refusal{wrapped}
	}
	return wrapped
}
