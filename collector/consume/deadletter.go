package consume

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/sign"
)

// Headers of a message in the dead-letter topic.
const (
	HeaderReason    = "tapwatch-reason" // one of flow's reasons
	HeaderError     = "tapwatch-error"  // what is wrong, for people
	HeaderTopic     = "tapwatch-topic"  // where it was
	HeaderPartition = "tapwatch-partition"
	HeaderOffset    = "tapwatch-offset"
	HeaderTime      = "tapwatch-time"      // RFC 3339, Kafka's time of it there
	HeaderTruncated = "tapwatch-truncated" // octets of the original, where only its beginning was kept
)

// keptBytes is what is kept of a message that is too large to be produced again.
const keptBytes = 64 << 10

// deadLetter produces a refused message to the dead-letter topic, unchanged, with
// headers that say why and whence. It returns when all replicas in sync have it.
// After a crash it may be called again for the same message: the copies have the
// same key and headers.
func deadLetter(ctx context.Context, w *kafka.Writer, m kafka.Message, refused error) error {
	header := func(k, v string) kafka.Header { return kafka.Header{Key: k, Value: []byte(v)} }
	out := kafka.Message{Key: m.Key, Value: m.Value, Headers: []kafka.Header{
		header(HeaderReason, Reason(refused)),
		header(HeaderError, refused.Error()),
		header(HeaderTopic, m.Topic),
		header(HeaderPartition, strconv.Itoa(m.Partition)),
		header(HeaderOffset, strconv.FormatInt(m.Offset, 10)),
		header(HeaderTime, m.Time.UTC().Format(time.RFC3339Nano)),
	}}
	err := w.WriteMessages(ctx, out)
	var large kafka.MessageTooLargeError
	if errors.As(err, &large) || tooLarge(err) {
		out.Value = m.Value[:min(len(m.Value), keptBytes)]
		out.Headers = append(out.Headers, header(HeaderTruncated, strconv.Itoa(len(m.Value))))
		err = w.WriteMessages(ctx, out)
	}
	if err != nil {
		return fmt.Errorf("produce to dead-letter topic %s: %w", w.Topic, err)
	}
	return nil
}

func tooLarge(err error) bool {
	var each kafka.WriteErrors
	if errors.As(err, &each) {
		for _, e := range each {
			if errors.Is(e, kafka.MessageSizeTooLarge) {
				return true
			}
		}
	}
	return errors.Is(err, kafka.MessageSizeTooLarge)
}

// Reason is the one word for why a message was refused.
func Reason(refused error) string {
	for _, r := range []error{flow.ErrNewerVersion, flow.ErrOversized, flow.ErrCompression, flow.ErrProtobuf, flow.ErrInvalid, flow.ErrTime, sign.ErrSignature} {
		if errors.Is(refused, r) {
			return r.Error()
		}
	}
	return "unknown"
}
