package spool

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/tapwatch/tapwatch/proto/seal"
)

// entry is one record found in a segment.
type entry struct {
	header
	off      int64  // of the header in the segment
	good     bool   // the payload is what was written
	declares []byte // the declarations in it, when good
}

// scan finds the records of segment g in data, the whole file, in the order of their index. After damage it looks for
// the next header that is vouched for by its CRC, id and salt; so one hit loses one record. A header whose
// payload is damaged is returned with good = false. tail is the number of bytes behind the last header that
// belong to no record: a write that a crash cut short. Without the right key, no encrypted record is good.
func scan(data []byte, g segmentID, key *seal.Key) (found []entry, tail int) {
	var plain []byte
	at := map[uint32]int{}
	pos, end := 0, 0
	for pos+headerBytes <= len(data) {
		h, ok := decodeHeader(data[pos:])
		if !ok || h.segmentID() != g || h.index >= maxSegmentRecords {
			pos++
			next := bytes.Index(data[pos:], []byte(magic))
			if next < 0 {
				break
			}
			pos += next
			continue
		}
		e := entry{header: h, off: int64(pos)}
		old, seen := at[h.index]
		if seen && found[old].good {
			pos += ackOffset // a copy of what we have
			continue
		}
		stop := pos + h.len()
		if stop <= len(data) {
			var payload []byte
			if payload, e.good = h.open(plain[:0], data[pos:stop], key); e.good {
				e.declares = payload[:h.declLen]
			}
			if h.encrypted && e.good {
				plain, e.declares = payload, bytes.Clone(e.declares)
			}
		}
		if seen {
			e.acked = e.acked || found[old].acked
			found[old] = e
		} else {
			at[h.index] = len(found)
			found = append(found, e)
		}
		if e.good {
			pos = stop
		} else {
			pos += ackOffset // its CRC vouches for no more: another header may begin within the word behind it
		}
		end = max(end, pos)
		if !e.good {
			end = max(end, min(stop, len(data)))
		}
	}
	slices.SortStableFunc(found, func(a, b entry) int { return cmp.Compare(a.index, b.index) })
	return found, len(data) - end
}

// producer is whose sequence a record is in.
type producer struct {
	epoch  uint64
	worker uint32
}

// span is a run of record indexes of one segment, both inclusive.
type span struct {
	From, To uint32
}

func contains(spans []span, i uint32) bool {
	for _, s := range spans {
		if s.From <= i && i <= s.To {
			return true
		}
	}
	return false
}
