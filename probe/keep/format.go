package keep

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit"
	"github.com/tapwatch/tapwatch/proto/seal"
)

// All numbers on disk are little endian. A block is header, meta, body.
//
// meta: count of links (2), each link type (2), length of the name (1), name; count
// of Community hashes (4), their upper halves (4 each), sorted; the same of the
// hosts' hashes.
//
// body: the packets, each time (8), captured (4) and original (4) length, number of
// its flow (2) and of its link (2), octets; then the flows' keys in the order of
// their numbers, and their count (4).
const (
	blockMagic   = 0x42505754 // "TWPB"
	blockVersion = 1
	headerBytes  = 96
	recordBytes  = 20
	flowKeyBytes = 69
	noFlow       = 1<<16 - 1
	maxFlows     = noFlow
	maxLinks     = 1 << 10
	maxName      = 255

	flagZstd = 1

	// maxRawBody is the largest body: a block's buffer, and a key for each packet.
	maxRawBody = 2*maxBlockBytes + 4 + maxFlows*flowKeyBytes
	maxMeta    = 2 + maxLinks*(3+maxName) + 8 + 4*maxFlows + 16*maxFlows
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errDamaged = errors.New("damaged")
)

func damaged(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), errDamaged)
}

// flowKey is a flow as the first packet in a block had it; ICMP has type and code.
type flowKey struct {
	src, dst           flow.Addr
	outerSrc, outerDst flow.Addr // of the tunnel; zero: none
	srcPort, dstPort   uint16
	protocol           uint8
}

func (k *flowKey) tunnelled() bool { return k.outerSrc != flow.Addr{} || k.outerDst != flow.Addr{} }

func (k *flowKey) community() uint64 {
	return flow.CommunityHash(k.src, k.dst, k.srcPort, k.dstPort, k.protocol)
}

func appendFlowKey(b []byte, k *flowKey) []byte {
	for _, a := range [...]*flow.Addr{&k.src, &k.dst, &k.outerSrc, &k.outerDst} {
		b = append(b, a[:]...)
	}
	b = binary.LittleEndian.AppendUint16(b, k.srcPort)
	b = binary.LittleEndian.AppendUint16(b, k.dstPort)
	return append(b, k.protocol)
}

func readFlowKey(b []byte) (k flowKey) {
	copy(k.src[:], b)
	copy(k.dst[:], b[16:])
	copy(k.outerSrc[:], b[32:])
	copy(k.outerDst[:], b[48:])
	k.srcPort, k.dstPort, k.protocol = binary.LittleEndian.Uint16(b[64:]), binary.LittleEndian.Uint16(b[66:]), b[68]
	return k
}

// hostHash is what the index has of an address.
func hostHash(a *flow.Addr) uint32 {
	le := binary.LittleEndian
	return uint32(fold(fold(le.Uint64(a[:8])^0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9)^le.Uint64(a[8:]), 0x94d049bb133111eb) >> 16)
}

// link is an interface with the link type of its frames (LINKTYPE_).
type link struct {
	name string
	kind uint16
}

// header is the head of a block.
type header struct {
	flags       uint8
	worker      uint16
	run         uint64 // random, one for each Open
	number      uint64 // of the worker's blocks in this run
	segment     uint64
	first, last int64 // ns, of its packets
	written     int64 // ns, wall clock
	keyID       [8]byte
	packets     uint32
	raw         uint32 // octets of the body, unpacked
	octets      uint32 // captured
	meta, body  uint32 // octets as stored
	metaCRC     uint32 // CRC-32C of what is stored
	bodyCRC     uint32
}

// sealed says whether the block is encrypted.
func (h *header) sealed() bool { return h.keyID != [8]byte{} }

func (h *header) size() int64 { return headerBytes + int64(h.meta) + int64(h.body) }

// append writes h behind b, with its own checksum.
func (h *header) append(b []byte) []byte {
	le, at := binary.LittleEndian, len(b)
	b = le.AppendUint32(b, blockMagic)
	b = append(b, blockVersion, h.flags)
	b = le.AppendUint16(b, h.worker)
	b = le.AppendUint64(b, h.run)
	b = le.AppendUint64(b, h.number)
	b = le.AppendUint64(b, h.segment)
	b = le.AppendUint64(b, uint64(h.first))
	b = le.AppendUint64(b, uint64(h.last))
	b = le.AppendUint64(b, uint64(h.written))
	b = append(b, h.keyID[:]...)
	for _, v := range [...]uint32{h.packets, h.raw, h.octets, h.meta, h.body, h.metaCRC, h.bodyCRC} {
		b = le.AppendUint32(b, v)
	}
	return le.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

// boundBytes of a header are authenticated with what is sealed: all that is known
// before sealing.
const boundBytes = 76

// readHeader takes a header off the disk.
func readHeader(b []byte) (h header, err error) {
	le := binary.LittleEndian
	switch {
	case len(b) < headerBytes:
		return h, damaged("a header of %d octets", len(b))
	case le.Uint32(b) != blockMagic:
		return h, damaged("no block")
	case crc32.Checksum(b[:headerBytes-4], castagnoli) != le.Uint32(b[headerBytes-4:]):
		return h, damaged("checksum of a header")
	case b[4] != blockVersion:
		return h, damaged("version %d of a block", b[4])
	}
	h = header{flags: b[5], worker: le.Uint16(b[6:]), run: le.Uint64(b[8:]), number: le.Uint64(b[16:]), segment: le.Uint64(b[24:]),
		first: int64(le.Uint64(b[32:])), last: int64(le.Uint64(b[40:])), written: int64(le.Uint64(b[48:])), keyID: [8]byte(b[56:64]),
		packets: le.Uint32(b[64:]), raw: le.Uint32(b[68:]), octets: le.Uint32(b[72:]), meta: le.Uint32(b[76:]), body: le.Uint32(b[80:]),
		metaCRC: le.Uint32(b[84:]), bodyCRC: le.Uint32(b[88:])}
	if h.raw > maxRawBody || h.body > maxRawBody+maxRawBody/8 || h.meta > maxMeta+seal.Overhead || h.last < h.first ||
		uint64(h.packets)*recordBytes > uint64(h.raw) {
		return h, damaged("sizes of a block")
	}
	return h, nil
}

// meta is the index of a block.
type meta struct {
	links       []link
	communities []byte // upper halves of Community hashes, sorted
	hosts       []byte // hashes of addresses, sorted
}

// appendMeta writes the index; both lists are sorted and without doubles.
func appendMeta(b []byte, links []link, communities, hosts []uint32) []byte {
	le := binary.LittleEndian
	b = le.AppendUint16(b, uint16(len(links)))
	for _, l := range links {
		b = le.AppendUint16(b, l.kind)
		b = append(append(b, uint8(len(l.name))), l.name...)
	}
	for _, list := range [...][]uint32{communities, hosts} {
		b = le.AppendUint32(b, uint32(len(list)))
		for _, v := range list {
			b = le.AppendUint32(b, v)
		}
	}
	return b
}

// readMeta takes an index off the disk. Its lists are parts of b.
func readMeta(b []byte) (m meta, err error) {
	le := binary.LittleEndian
	if len(b) < 2 {
		return m, damaged("an index of %d octets", len(b))
	}
	n := int(le.Uint16(b))
	b = b[2:]
	if n > maxLinks {
		return m, damaged("an index with %d interfaces", n)
	}
	for range n {
		if len(b) < 3 || len(b) < 3+int(b[2]) {
			return m, damaged("interfaces of an index")
		}
		m.links = append(m.links, link{kind: le.Uint16(b), name: string(b[3 : 3+int(b[2])])})
		b = b[3+int(b[2]):]
	}
	for _, list := range [...]*[]byte{&m.communities, &m.hosts} {
		if len(b) < 4 || uint64(le.Uint32(b))*4 > uint64(len(b)-4) {
			return m, damaged("lists of an index")
		}
		end := 4 + int(le.Uint32(b))*4
		*list, b = b[4:end:end], b[end:]
	}
	if len(b) != 0 {
		return m, damaged("%d octets behind an index", len(b))
	}
	return m, nil
}

// has says whether v is in a sorted list of the index.
func has(list []byte, v uint32) bool {
	lo, hi := 0, len(list)/4
	for lo < hi {
		mid := (lo + hi) / 2
		switch x := binary.LittleEndian.Uint32(list[4*mid:]); {
		case x == v:
			return true
		case x < v:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return false
}

// record is a packet in a body.
type record struct {
	time   int64
	length uint32 // on the wire
	flow   uint16 // its number, noFlow: none
	link   uint16
	data   []byte // part of the body
}

// body is what a block holds, unpacked.
type body struct {
	flows   []byte
	records []byte
}

func readBody(raw []byte) (b body, err error) {
	if len(raw) < 4 {
		return b, damaged("a body of %d octets", len(raw))
	}
	n := binary.LittleEndian.Uint32(raw[len(raw)-4:])
	raw = raw[:len(raw)-4]
	if n > maxFlows || int(n)*flowKeyBytes > len(raw) {
		return b, damaged("%d flows in a body of %d octets", n, len(raw))
	}
	at := len(raw) - int(n)*flowKeyBytes
	return body{flows: raw[at:], records: raw[:at]}, nil
}

func (b *body) flowCount() int { return len(b.flows) / flowKeyBytes }

func (b *body) flow(i int) flowKey { return readFlowKey(b.flows[i*flowKeyBytes:]) }

// next takes the next packet; ok is false at the end.
func (b *body) next(links int) (r record, ok bool, err error) {
	if len(b.records) == 0 {
		return r, false, nil
	}
	le, p := binary.LittleEndian, b.records
	if len(p) < recordBytes {
		return r, false, damaged("a packet's head")
	}
	n := le.Uint32(p[8:])
	if uint64(n) > uint64(len(p)-recordBytes) {
		return r, false, damaged("a packet of %d octets", n)
	}
	r = record{time: int64(le.Uint64(p)), length: le.Uint32(p[12:]), flow: le.Uint16(p[16:]), link: le.Uint16(p[18:]),
		data: p[recordBytes : recordBytes+n : recordBytes+n]}
	if r.flow != noFlow && int(r.flow) >= b.flowCount() || int(r.link) >= links {
		return r, false, damaged("numbers of a packet")
	}
	b.records = p[recordBytes+n:]
	return r, true, nil
}

// place is what the parts of a sealed block are bound to.
func place(part string, head []byte) []byte {
	return append([]byte("tapwatch keep "+part+"\x00"), head[:boundBytes]...)
}

// openMeta and openBody undo sealing.
func openPart(key *seal.Key, h *header, part string, stored []byte) ([]byte, error) {
	if !h.sealed() {
		return stored, nil
	}
	if key == nil {
		return nil, kit.Hint(errors.New("packets are encrypted"), "set key_file")
	}
	plain, err := key.Open(nil, stored, place(part, h.append(nil)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errDamaged)
	}
	return plain, nil
}

// check compares a part with its checksum.
func check(stored []byte, sum uint32) error {
	if crc32.Checksum(stored, castagnoli) != sum {
		return damaged("checksum of a block")
	}
	return nil
}
