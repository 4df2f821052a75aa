package spool

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/tapwatch/tapwatch/proto/seal"
)

// Meta is the identity and the content of a batch, kept outside its bytes so that a batch which is dropped or damaged
// can be declared without decoding it.
type Meta struct {
	Epoch      uint64 // of the Spool that was open when the batch was made, see Spool.Epoch
	Worker     uint32 // capture worker, from 0
	Seq        uint64 // number of the batch within (Epoch, Worker); rises by one
	Rows       uint32 // flow records in the batch; 0 for a bare header
	Packets    uint64 // packets in those flows
	FrameBytes uint64 // bytes of those packets on the wire
}

// Record is one batch on its way to Kafka.
type Record struct {
	// Partition of the topic, from 0; negative: PartitionFor(Key, partitions of the topic), decided by Publish.
	Partition int32
	Key       []byte // Kafka message key, may be empty
	Value     []byte // Kafka message value, already compressed
	Meta      Meta
	// Declares are the drops, as returned by Dropped, that this batch tells the receiver about. They count as
	// declared from the moment Append returns nil; should this record be dropped later, they come back to Dropped.
	Declares []DropRange
}

// MaxRecordBytes bounds key, value and declarations of one record: the 16 MiB that a broker of ours accepts.
const MaxRecordBytes = 16 << 20

// ErrTooLarge is returned by Append for a record that no queue of this configuration can hold.
var ErrTooLarge = errors.New("record too large")

const (
	magic       = "TWSR"
	version     = 1
	headerBytes = 144
	ackOffset   = headerBytes - 4
	crcOffset   = headerBytes - 8

	payloadCRCOffset = 84
	flagEncrypted    = 1 // in octet 6

	// maxSegmentBytes keeps the number of records of a segment below maxSegmentRecords.
	maxSegmentBytes   = 128 << 20
	maxSegmentRecords = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sums are running totals over the records of one (epoch, worker), this record included.
type sums struct {
	records, rows, packets, frameBytes uint64
}

// header is what stands before the payload of each record, little endian.
type header struct {
	segment    uint64 // id of the segment
	salt       uint64 // random per segment: bytes off the wire cannot forge a record
	index      uint32 // of the record within its segment, from 0
	partition  int32
	keyLen     uint32
	valueLen   uint32
	declLen    uint32
	meta       Meta
	sum        sums
	previous   uint32 // records in the segment before; 0 in the first segment of a run
	appendedMs int64  // wall clock, Unix milliseconds
	payloadCRC uint32
	encrypted  bool   // the payload is a box, and is that much longer
	keyTag     uint32 // of the key it was sealed with; 0 when not encrypted
	acked      bool   // not covered by the CRC
}

// payloadLen is the length of the payload on disk.
func (h *header) payloadLen() int {
	n := int(h.keyLen) + int(h.valueLen) + int(h.declLen)
	if h.encrypted {
		n += seal.Overhead
	}
	return n
}

func (h *header) len() int { return headerBytes + h.payloadLen() }

// ackWord marks a record as acknowledged. It depends on the header, so that damage does not look like one.
func ackWord(headerCRC uint32) uint32 {
	w := headerCRC ^ 0xac4ed0ff
	if w == 0 {
		return 1
	}
	return w
}

// encode writes h into b, which has headerBytes bytes.
func (h *header) encode(b []byte) {
	le := binary.LittleEndian
	copy(b, magic)
	b[4], b[5], b[6], b[7] = version, headerBytes, 0, 0
	if h.encrypted {
		b[6] = flagEncrypted
	}
	le.PutUint64(b[8:], h.segment)
	le.PutUint64(b[16:], h.salt)
	le.PutUint32(b[24:], h.index)
	le.PutUint32(b[28:], uint32(h.partition))
	le.PutUint32(b[32:], h.keyLen)
	le.PutUint32(b[36:], h.valueLen)
	le.PutUint32(b[40:], h.declLen)
	le.PutUint32(b[44:], h.meta.Worker)
	le.PutUint64(b[48:], h.meta.Epoch)
	le.PutUint64(b[56:], h.meta.Seq)
	le.PutUint64(b[64:], h.meta.Packets)
	le.PutUint64(b[72:], h.meta.FrameBytes)
	le.PutUint32(b[80:], h.meta.Rows)
	le.PutUint32(b[payloadCRCOffset:], h.payloadCRC)
	le.PutUint64(b[88:], h.sum.records)
	le.PutUint64(b[96:], h.sum.rows)
	le.PutUint64(b[104:], h.sum.packets)
	le.PutUint64(b[112:], h.sum.frameBytes)
	le.PutUint64(b[120:], uint64(h.appendedMs))
	le.PutUint32(b[128:], h.previous)
	le.PutUint32(b[132:], h.keyTag)
	crc := crc32.Checksum(b[:crcOffset], castagnoli)
	le.PutUint32(b[crcOffset:], crc)
	le.PutUint32(b[ackOffset:], 0)
	if h.acked {
		le.PutUint32(b[ackOffset:], ackWord(crc))
	}
}

// decodeHeader reads a header at the start of b; ok is false when there is none that its CRC vouches for.
func decodeHeader(b []byte) (h header, ok bool) {
	if len(b) < headerBytes || string(b[:4]) != magic || b[4] != version || b[5] != headerBytes {
		return h, false
	}
	le := binary.LittleEndian
	crc := crc32.Checksum(b[:crcOffset], castagnoli)
	if crc != le.Uint32(b[crcOffset:]) {
		return h, false
	}
	h = header{
		segment: le.Uint64(b[8:]), salt: le.Uint64(b[16:]), index: le.Uint32(b[24:]),
		partition: int32(le.Uint32(b[28:])), keyLen: le.Uint32(b[32:]), valueLen: le.Uint32(b[36:]), declLen: le.Uint32(b[40:]),
		meta: Meta{
			Worker: le.Uint32(b[44:]), Epoch: le.Uint64(b[48:]), Seq: le.Uint64(b[56:]),
			Packets: le.Uint64(b[64:]), FrameBytes: le.Uint64(b[72:]), Rows: le.Uint32(b[80:]),
		},
		payloadCRC: le.Uint32(b[payloadCRCOffset:]),
		sum:        sums{records: le.Uint64(b[88:]), rows: le.Uint64(b[96:]), packets: le.Uint64(b[104:]), frameBytes: le.Uint64(b[112:])},
		appendedMs: int64(le.Uint64(b[120:])),
		previous:   min(le.Uint32(b[128:]), maxSegmentRecords),
		encrypted:  b[6]&flagEncrypted != 0,
		keyTag:     le.Uint32(b[132:]),
		acked:      le.Uint32(b[ackOffset:]) == ackWord(crc),
	}
	if h.keyLen > MaxRecordBytes || h.valueLen > MaxRecordBytes || h.declLen > MaxRecordBytes || h.payloadLen() > MaxRecordBytes+seal.Overhead {
		return h, false
	}
	return h, true
}

// appendPayload appends declarations, key and value to b.
func appendPayload(b []byte, r *Record) []byte {
	for i := range r.Declares {
		b = r.Declares[i].append(b)
	}
	b = append(b, r.Key...)
	return append(b, r.Value...)
}

// record rebuilds the Record from its header and plain payload, as open returns it; it keeps slices of payload.
func (h *header) record(payload []byte) Record {
	d, k := int(h.declLen), int(h.declLen)+int(h.keyLen)
	return Record{
		Partition: h.partition, Meta: h.meta,
		Declares: decodeRanges(payload[:d]), Key: payload[d:k:k], Value: payload[k:],
	}
}
