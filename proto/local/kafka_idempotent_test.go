package local

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// rawBatch is a record batch (magic 2) of one record, with a producer's identity.
func rawBatch(producer int64, epoch int16, sequence int32, value string) []byte {
	rec := kmsg.Record{Value: []byte(value)}
	rec.Length = int32(len(rec.AppendTo(nil)) - 1) // the length itself is one byte while it is 0
	b := kmsg.RecordBatch{PartitionLeaderEpoch: -1, Magic: 2, ProducerID: producer, ProducerEpoch: epoch,
		FirstSequence: sequence, NumRecords: 1, Records: rec.AppendTo(nil)}
	raw := b.AppendTo(nil)
	b.Length = int32(len(raw) - 12)                                            // what follows base offset and length
	b.CRC = int32(crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli))) // from attributes on
	raw = b.AppendTo(nil)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(raw))), raw...)
}

// TestKafkaKnowsProducerAfterKill repeats a batch whose acknowledgement got
// lost in a kill of the broker: it must be stored once.
func TestKafkaKnowsProducerAfterKill(t *testing.T) {
	p, err := StartKafkaProcess(t.Context(), KafkaConfig{Dir: t.TempDir(), Topics: map[string]int32{"flows": 1}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c := kafkaClient(t, p.Addr())
	init, err := c.InitProducerID(t.Context(), &kafka.InitProducerIDRequest{})
	if err == nil {
		err = init.Error
	}
	if err != nil {
		t.Fatal(err)
	}
	id, epoch := int64(init.Producer.ProducerID), int16(init.Producer.ProducerEpoch)
	send := func(sequence int32) {
		t.Helper()
		raw := rawBatch(id, epoch, sequence, fmt.Sprint(sequence))
		resp, err := c.RawProduce(t.Context(), &kafka.RawProduceRequest{Topic: "flows", RequiredAcks: kafka.RequireAll,
			RawRecords: protocol.RawRecordSet{Reader: bytes.NewReader(raw)}})
		if err == nil {
			err = resp.Error
		}
		if err != nil {
			t.Fatalf("produce sequence %d: %v", sequence, err)
		}
	}
	const rounds = 8 // more than a broker remembers
	for n := range int32(rounds) {
		send(n)
		end := p.Kill
		if n == 2 {
			end = p.Close // what it writes then is outdated at the next kill
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := p.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Transport.(*kafka.Transport).CloseIdleConnections()
		send(n) // as if the first had not been acknowledged
		send(n)
	}
	if got, want := fmt.Sprint(readAll(t, p.Addr(), "flows", 0, rounds)), "[0 1 2 3 4 5 6 7]"; got != want {
		t.Errorf("records (-got +want)\n-%s\n+%s", got, want)
	}
	if _, next := offsets(t, c, "flows", 0); next != rounds {
		t.Errorf("records stored: %d, want %d", next, rounds)
	}
	// A new producer must not be given the identity of the old one.
	again, err := c.InitProducerID(t.Context(), &kafka.InitProducerIDRequest{})
	if err != nil || again.Error != nil || int64(again.Producer.ProducerID) == id {
		t.Errorf("second producer: %+v, %v, first had id %d", again, err, id)
	}
}

// FuzzScanSegment: any file is read to an end, and a producer's window holds
// no more than the protocol says.
func FuzzScanSegment(f *testing.F) {
	good := rawBatch(7, 1, 3, "value")[4:]
	f.Add(good)
	f.Add(append(bytes.Clone(good), good[:30]...))
	f.Add(append(bytes.Clone(good), rawBatch(7, 2, 0, "next epoch")[4:]...))
	f.Add(bytes.Repeat([]byte{0xff}, 100))
	f.Fuzz(func(t *testing.T, text []byte) {
		windows := map[int64]*producerWindow{}
		if err := scanSegment(bytes.NewReader(text), windows); err != nil {
			t.Fatal(err)
		}
		if len(windows) > len(text)/batchHeaderBytes {
			t.Fatalf("%d producers in %d bytes", len(windows), len(text))
		}
		for pid, w := range windows {
			if pid < 0 || !w.Seen || w.Count < 1 || w.Count > windowBatches || w.At >= windowBatches {
				t.Fatalf("producer %d: %+v", pid, *w)
			}
		}
	})
}

func TestScanSegment(t *testing.T) {
	var text []byte
	for i := range int32(7) {
		text = append(text, rawBatch(9, 1, i, "value")[4:]...)
	}
	damaged := rawBatch(9, 1, 7, "value")[4:]
	damaged[len(damaged)-1] ^= 1
	windows := map[int64]*producerWindow{}
	if err := scanSegment(bytes.NewReader(append(text, damaged...)), windows); err != nil {
		t.Fatal(err)
	}
	want := producerWindow{Count: 5, At: 2, Epoch: 1, Seen: true, NextSeq: 7,
		Entries: [windowBatches]producerBatch{{5, 6, 0}, {6, 7, 0}, {2, 3, 0}, {3, 4, 0}, {4, 5, 0}}}
	if got := windows[9]; got == nil || *got != want {
		t.Errorf("window (-got +want)\n-%+v\n+%+v", got, want)
	}
}
