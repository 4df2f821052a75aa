// Package consume takes messages from Kafka and hands them on as blocks, such
// that each message is part of one block for ever, whatever dies in between.
//
// In comes a topic, as a member of a consumer group; out go Blocks, one after
// the other per partition, to the function that stores them. What cannot be
// decoded goes to the dead-letter topic with its reason. A Block and all that it
// refers to belongs to the function until it returns. Machine is the protocol,
// partition.go carries it out, group.go is the group around it.
package consume

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// MaxMessages bounds the messages of one block.
const MaxMessages = 4096

// maxDays bounds the days, and by that the inserts, of a block of more than one
// message; see flow.MaxBatchSpan for one message.
const maxDays = 8

// Message is one message of Kafka, decoded.
type Message struct {
	Offset int64
	Time   time.Time // Kafka's, when it was produced or appended
	Sum    uint64    // xxHash64 of the value
	Batch  *flow.Batch
	// Refused says why Batch is nil: one of flow's reasons, wrapped.
	Refused error
}

// Block is the messages [From, To) of a partition, in order. Offsets may be
// missing (see Hole), so To-From may exceed len(Messages).
type Block struct {
	Topic     string
	Partition int
	From, To  int64
	Messages  []Message
	// Repeated: it was promised before, writing may have begun, with this Token.
	Repeated bool
	// Suspect: rows of its messages may have been written with another token.
	Suspect bool
	// Confirm is to be called before each attempt to write. An error says that
	// the partition may have another owner, and that the block is to be let go.
	Confirm func(context.Context) error
}

// Token names the block and its content for ever: topic/partition/from-to/hash.
// The hash covers offset, length and checksum of each message, so that a topic
// that was deleted and made again cannot collide with itself.
func (b *Block) Token() string {
	h := sha256.New()
	var buf [16]byte
	for _, m := range b.Messages {
		binary.BigEndian.PutUint64(buf[:], uint64(m.Offset))
		binary.BigEndian.PutUint64(buf[8:], m.Sum)
		h.Write(buf[:])
	}
	return fmt.Sprintf("%s/%d/%d-%d/%s", b.Topic, b.Partition, b.From, b.To, hex.EncodeToString(h.Sum(nil)[:8]))
}

// Rows is the number of flow records in the block.
func (b *Block) Rows() int {
	n := 0
	for _, m := range b.Messages {
		if m.Batch != nil {
			n += m.Batch.Len()
		}
	}
	return n
}
