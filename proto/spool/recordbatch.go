package spool

import (
	"encoding/binary"
	"hash/crc32"
)

// Kafka's record batch, message format 2 (Kafka documentation, 5.3.1 "Record Batch").
const (
	batchHeader   = 61 // up to and including the number of records
	batchCRCStart = 21 // the CRC covers what follows it
)

// identity is who sends a record batch, and where it stands among those the same sender sent to the partition.
type identity struct {
	id    int64
	epoch int16
	seq   int32 // of the first record
}

// nextSequence adds n to a sequence number, which goes on with 0 after 2^31-1.
func nextSequence(seq int32, n int) int32 {
	return int32((int64(seq) + int64(n)) & 0x7fffffff)
}

// appendRecordSet appends one record batch with the keys and values of records, preceded by its length in 4 bytes as the
// protocol wants it. ms is the timestamp of all of them, Unix milliseconds. Not compressed: the values are.
func appendRecordSet(b []byte, who identity, ms int64, records []Record) []byte {
	be := binary.BigEndian
	start := len(b)
	b = append(b, make([]byte, 4+batchHeader)...)
	set := start + 4
	for i := range records {
		b = appendKafkaRecord(b, i, records[i].Key, records[i].Value)
	}
	be.PutUint32(b[start:], uint32(len(b)-set))
	h := b[set:]
	be.PutUint64(h[0:], 0)                       // base offset: the broker's
	be.PutUint32(h[8:], uint32(len(h)-12))       // length of what follows
	be.PutUint32(h[12:], 0xffffffff)             // partition leader epoch: the broker's
	h[16] = 2                                    // magic
	be.PutUint16(h[21:], 0)                      // attributes: create time, no codec, no transaction
	be.PutUint32(h[23:], uint32(len(records)-1)) // last offset delta
	be.PutUint64(h[27:], uint64(ms))             // base timestamp
	be.PutUint64(h[35:], uint64(ms))             // max timestamp
	be.PutUint64(h[43:], uint64(who.id))         //
	be.PutUint16(h[51:], uint16(who.epoch))      //
	be.PutUint32(h[53:], uint32(who.seq))        //
	be.PutUint32(h[57:], uint32(len(records)))   //
	be.PutUint32(h[17:], crc32.Checksum(h[batchCRCStart:], castagnoli))
	return b
}

func appendKafkaRecord(b []byte, offset int, key, value []byte) []byte {
	n := 1 + varintLen(0) + varintLen(int64(offset)) + bytesLen(key) + varintLen(int64(len(value))) + len(value) + varintLen(0)
	b = binary.AppendVarint(b, int64(n))
	b = append(b, 0) // attributes
	b = binary.AppendVarint(b, 0)
	b = binary.AppendVarint(b, int64(offset))
	if len(key) == 0 {
		b = binary.AppendVarint(b, -1)
	} else {
		b = binary.AppendVarint(b, int64(len(key)))
		b = append(b, key...)
	}
	b = binary.AppendVarint(b, int64(len(value)))
	b = append(b, value...)
	return binary.AppendVarint(b, 0) // headers
}

func bytesLen(b []byte) int {
	if len(b) == 0 {
		return varintLen(-1)
	}
	return varintLen(int64(len(b))) + len(b)
}

func varintLen(v int64) int {
	n := 1
	for u := uint64(v<<1) ^ uint64(v>>63); u >= 0x80; u >>= 7 {
		n++
	}
	return n
}

// PartitionFor is the partition of a key among n, the one Kafka's own clients choose (murmur2, BuiltInPartitioner). n <= 0: 0.
func PartitionFor(key []byte, n int) int32 {
	if n <= 0 {
		return 0
	}
	return int32(murmur2(key)&0x7fffffff) % int32(n)
}

// murmur2 is MurmurHash2 with the seed of org.apache.kafka.common.utils.Utils.
func murmur2(data []byte) uint32 {
	const m, r = 0x5bd1e995, 24
	h := uint32(0x9747b28c) ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := binary.LittleEndian.Uint32(data) * m
		k ^= k >> r
		h = h*m ^ k*m
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(data[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
