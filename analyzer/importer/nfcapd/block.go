package nfcapd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// ErrFormat says that a file does not begin as those of nfcapd do.
var ErrFormat = errors.New("no file of nfcapd")

// Headers of a file and of a block, octets (nffile.h of 1.6, nffileV2.h of 1.7).
const (
	magic       = 0xa50c
	fileHeader1 = 140 + 136 // with the sums behind it
	fileHeader2 = 40
	blockHeader = 12
)

// maxBlock is the longest block, octets, packed or not: what nfdump itself takes (BUFFSIZE of nffile.h).
const maxBlock = 5 << 20

// block is a block as it stands in the file.
type block struct {
	kind    uint16
	records uint32 // as its header has it; nothing relies on it
	octets  []byte // valid until the next block
}

// blocks reads the blocks of a file, the appendix among them.
type blocks struct {
	r       io.Reader
	packing packing
	number  int64  // of the block that next returned, from 1
	told    uint32 // how many there are at least; 0 in a file that was not closed
	buf     []byte
}

// open reads the header of a file.
func open(r io.Reader) (*blocks, error) {
	b := make([]byte, 4, fileHeader1)
	if _, err := io.ReadFull(r, b); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("%w: less than 4 octets", ErrFormat)
		}
		return nil, fmt.Errorf("read header: %w", err)
	}
	if binary.BigEndian.Uint16(b) == magic {
		return nil, kit.Hint(errors.New("a file of nfcapd from a big-endian machine"),
			"send it again on such a machine with nfreplay, to: import live")
	}
	if binary.LittleEndian.Uint16(b) != magic {
		return nil, fmt.Errorf("%w: begins with %x", ErrFormat, b[:2])
	}
	length := fileHeader2
	version := binary.LittleEndian.Uint16(b[2:])
	switch version {
	case 1:
		length = fileHeader1
	case 2:
	default:
		return nil, kit.Hint(fmt.Errorf("a file of nfcapd of layout %d: 1 and 2 are known", version),
			"send it again with nfreplay, to: import live")
	}
	b = b[:length]
	if _, err := io.ReadFull(r, b[4:]); err != nil {
		return nil, fmt.Errorf("%w: ends within its header", ErrFormat)
	}
	x := &blocks{r: r}
	if version == 1 {
		x.packing, x.told = packing1(binary.LittleEndian.Uint32(b[4:])), binary.LittleEndian.Uint32(b[8:])
		return x, nil
	}
	x.packing, x.told = packing(b[16]), binary.LittleEndian.Uint32(b[36:])
	if x.packing > packedZSTD {
		return nil, kit.Hint(fmt.Errorf("a file of nfcapd packed by method %d: 0 to %d are known", x.packing, packedZSTD),
			"write it unpacked: nfdump -r FILE -w FILE.new")
	}
	if b[17] != 0 {
		return nil, kit.Hint(errors.New("an encrypted file of nfcapd"), "write it in clear with the nfdump that made it")
	}
	return x, nil
}

// next returns the next block, or io.EOF behind the last.
func (x *blocks) next() (block, error) {
	var h [blockHeader]byte
	if _, err := io.ReadFull(x.r, h[:]); errors.Is(err, io.EOF) && uint64(x.number) >= uint64(x.told) {
		return block{}, io.EOF
	} else if err != nil {
		return block{}, fmt.Errorf("read header after block %d of %d: %w", x.number, x.told, within(err))
	}
	x.number++
	b := block{records: binary.LittleEndian.Uint32(h[:]), kind: binary.LittleEndian.Uint16(h[8:])}
	size := binary.LittleEndian.Uint32(h[4:])
	if size > maxBlock {
		return block{}, fmt.Errorf("block %d of %d octets: more than %d", x.number, size, maxBlock)
	}
	if uint32(cap(x.buf)) < size {
		x.buf = make([]byte, size)
	}
	b.octets = x.buf[:size]
	if n, err := io.ReadFull(x.r, b.octets); err != nil {
		return block{}, fmt.Errorf("read block %d: %d of %d octets: %w", x.number, n, size, within(err))
	}
	return b, nil
}

// within is the error of a read for octets that must be there: only the end of all blocks is io.EOF.
func within(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
