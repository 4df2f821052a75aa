package nfcapd

import (
	"bytes"
	"compress/bzip2"
	"fmt"
	"io"

	"github.com/anchore/go-lzo"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// packing is how the blocks of a file are packed, each for itself, as layout 2 numbers it.
type packing uint8

const (
	unpacked packing = iota
	packedLZO
	packedBZ2
	packedLZ4
	packedZSTD
)

// packing1 is what the flags in the header of layout 1 say.
func packing1(flags uint32) packing {
	switch {
	case flags&0x01 != 0:
		return packedLZO
	case flags&0x08 != 0:
		return packedBZ2
	case flags&0x10 != 0:
		return packedLZ4
	}
	return unpacked
}

// unpacker unpacks blocks. The zero value is ready.
type unpacker struct {
	buf  []byte
	zstd *zstd.Decoder
}

// block returns what is packed in b: at most maxBlock octets, valid until the next call.
func (u *unpacker) block(by packing, b []byte) (records []byte, err error) {
	defer func() { // decoders that are not ours read what anyone can give
		if p := recover(); p != nil {
			err = fmt.Errorf("unpack: %v", p)
		}
	}()
	switch by {
	case packedLZO:
		records, err = u.sized(b, lzo.Decompress)
	case packedLZ4:
		records, err = u.sized(b, lz4.UncompressBlock)
	case packedBZ2:
		records, err = io.ReadAll(io.LimitReader(bzip2.NewReader(bytes.NewReader(b)), maxBlock+1))
		if err == nil && len(records) > maxBlock {
			err = fmt.Errorf("more than %d octets", maxBlock)
		}
	case packedZSTD:
		records, err = u.unzstd(b)
	default:
		records = b
	}
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	return records, nil
}

// sized unpacks what does not say its length.
func (u *unpacker) sized(b []byte, decode func(src, dst []byte) (int, error)) ([]byte, error) {
	if u.buf == nil {
		u.buf = make([]byte, maxBlock)
	}
	n, err := decode(b, u.buf)
	if err != nil {
		return nil, err
	}
	return u.buf[:n], nil
}

func (u *unpacker) unzstd(b []byte) ([]byte, error) {
	if u.zstd == nil {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBlock))
		if err != nil {
			return nil, err
		}
		u.zstd = d
	}
	return u.zstd.DecodeAll(b, nil)
}
