package keep

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/tapwatch/tapwatch/proto/seal"
)

// levels of compression; 0 is none.
var levels = map[string]zstd.EncoderLevel{
	"none": 0, "fastest": zstd.SpeedFastest, "default": zstd.SpeedDefault, "better": zstd.SpeedBetterCompression,
}

// packer makes the stored form of blocks. It belongs to one goroutine.
type packer struct {
	enc                *zstd.Encoder // nil: none
	key                *seal.Key     // nil: plain
	out                []byte        // header and meta
	meta, body, box    []byte
	communities, hosts []uint32
}

func newPacker(compression string, key *seal.Key) (*packer, error) {
	p := &packer{key: key}
	if level := levels[compression]; level != 0 {
		var err error
		p.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
			zstd.WithWindowSize(maxBlockBytes), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return nil, fmt.Errorf("make compressor: %w", err)
		}
	}
	return p, nil
}

// pack returns the stored form of b in two parts that follow each other: the index,
// which is header and meta and goes into the directory too, and the body. Both are
// valid until the next pack or until b is reset. hurry leaves the body uncompressed.
func (p *packer) pack(b *block, h header, hurry bool) (index, body []byte) {
	p.index(b)
	for i := range b.flows {
		b.buf = appendFlowKey(b.buf, &b.flows[i])
	}
	b.buf = binary.LittleEndian.AppendUint32(b.buf, uint32(len(b.flows)))
	h.worker, h.number, h.first, h.last, h.packets, h.octets = b.worker, b.number, b.first, b.last, b.packets, b.octets
	h.raw = uint32(len(b.buf))
	p.meta = appendMeta(p.meta[:0], b.links, p.communities, p.hosts)
	body = b.buf
	if p.enc != nil && !hurry {
		if p.body = p.enc.EncodeAll(b.buf, p.body[:0]); len(p.body) < len(b.buf) {
			body = p.body
			h.flags |= flagZstd
		}
	}
	p.out = append(p.out[:0], make([]byte, headerBytes)...)
	if p.key == nil {
		p.out = append(p.out, p.meta...)
	} else {
		id := p.key.ID()
		copy(h.keyID[:], id[:])
		head := h.append(nil)
		p.out = p.key.Seal(p.out, p.meta, place("meta", head))
		p.box = p.key.Seal(p.box[:0], body, place("body", head))
		body = p.box
	}
	h.meta, h.body = uint32(len(p.out)-headerBytes), uint32(len(body))
	h.metaCRC, h.bodyCRC = crc32.Checksum(p.out[headerBytes:], castagnoli), crc32.Checksum(body, castagnoli)
	h.append(p.out[:0])
	return p.out, body
}

// index collects the hashes of a block's flows and hosts.
func (p *packer) index(b *block) {
	p.communities, p.hosts = p.communities[:0], p.hosts[:0]
	for i := range b.flows {
		k := &b.flows[i]
		p.communities = append(p.communities, uint32(k.community()>>32))
		p.hosts = append(p.hosts, hostHash(&k.src), hostHash(&k.dst))
		if k.tunnelled() {
			p.hosts = append(p.hosts, hostHash(&k.outerSrc), hostHash(&k.outerDst))
		}
	}
	slices.Sort(p.communities)
	slices.Sort(p.hosts)
	p.communities, p.hosts = slices.Compact(p.communities), slices.Compact(p.hosts)
}

// unpacker reads the bodies of blocks. It belongs to one goroutine.
type unpacker struct {
	dec *zstd.Decoder
	key *seal.Key
}

func newUnpacker(key *seal.Key) (*unpacker, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxRawBody),
		zstd.WithDecoderMaxWindow(2*maxBlockBytes+maxRawBody))
	if err != nil {
		return nil, fmt.Errorf("make decompressor: %w", err)
	}
	return &unpacker{dec, key}, nil
}

func (u *unpacker) close() { u.dec.Close() }

// unpack returns what is in the stored body of a block, in memory of its own or
// in stored.
func (u *unpacker) unpack(h *header, stored []byte) (body, error) {
	if err := check(stored, h.bodyCRC); err != nil {
		return body{}, err
	}
	raw, err := openPart(u.key, h, "body", stored)
	if err != nil {
		return body{}, err
	}
	if h.flags&flagZstd != 0 {
		if raw, err = u.dec.DecodeAll(raw, make([]byte, 0, h.raw)); err != nil {
			return body{}, damaged("unpack: %v", err)
		}
	}
	if len(raw) != int(h.raw) {
		return body{}, damaged("a body of %d octets, %d were written", len(raw), h.raw)
	}
	return readBody(raw)
}

// unpackMeta returns the index of a block; parts of it lie in stored.
func unpackMeta(key *seal.Key, h *header, stored []byte) (meta, error) {
	if err := check(stored, h.metaCRC); err != nil {
		return meta{}, err
	}
	plain, err := openPart(key, h, "meta", stored)
	if err != nil {
		return meta{}, err
	}
	return readMeta(plain)
}
