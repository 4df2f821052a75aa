package keep

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// segment is one file of blocks. The fields are guarded by Ring.mu.
type segment struct {
	id             uint64
	path           string
	size           int64 // octets on disk
	blocks         int
	packets        uint64
	octets         uint64 // captured
	first, last    int64  // ns, of its packets
	since, written int64  // ns, wall clock, of its first and last block
	keyID          [8]byte
	dir            []byte // directory, while the segment is being written; then nil
}

func segmentName(id uint64) string { return fmt.Sprintf("packets-%016x.twp", id) }

// parseName is the reverse of segmentName.
func parseName(name string) (id uint64, ok bool) {
	if n, err := fmt.Sscanf(name, "packets-%016x.twp", &id); n != 1 || err != nil {
		return 0, false
	}
	return id, segmentName(id) == name
}

// count adds a block to the summary.
func (s *segment) count(h *header) {
	if s.blocks == 0 {
		s.first, s.last, s.since = h.first, h.last, h.written
	}
	s.first, s.last, s.written = min(s.first, h.first), max(s.last, h.last), h.written
	s.blocks++
	s.packets += uint64(h.packets)
	s.octets += uint64(h.octets)
	if h.sealed() {
		s.keyID = h.keyID
	}
}

const (
	entryHead    = 8
	trailerBytes = 104
	trailerMagic = 0x46505754 // "TWPF"
	maxDirectory = 16 << 20   // octets; a segment with a larger one is complete
)

// appendEntry adds a block at offset off to a directory: offset (8), header, meta.
func appendEntry(dir []byte, off int64, index []byte) []byte {
	return append(binary.LittleEndian.AppendUint64(dir, uint64(off)), index...)
}

// entry is a block in a directory.
type entry struct {
	off  int64
	h    header
	meta []byte // as stored, part of the directory
}

// readEntry takes the first entry off a directory.
func readEntry(dir []byte) (e entry, rest []byte, err error) {
	if len(dir) < entryHead+headerBytes {
		return e, nil, damaged("a directory")
	}
	e.off = int64(binary.LittleEndian.Uint64(dir))
	if e.h, err = readHeader(dir[entryHead:]); err != nil {
		return e, nil, err
	}
	end := entryHead + headerBytes + int(e.h.meta)
	if len(dir) < end || e.off < 0 {
		return e, nil, damaged("a directory")
	}
	e.meta = dir[entryHead+headerBytes : end : end]
	return e, dir[end:], nil
}

// trailer ends a complete segment.
func (s *segment) trailer(dir []byte) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, trailerMagic)
	b = le.AppendUint32(b, blockVersion)
	for _, v := range [...]uint64{s.id, uint64(s.size), uint64(len(dir)), uint64(s.blocks), s.packets, s.octets,
		uint64(s.first), uint64(s.last), uint64(s.since), uint64(s.written)} {
		b = le.AppendUint64(b, v)
	}
	b = append(b, s.keyID[:]...)
	b = le.AppendUint32(b, crc32.Checksum(dir, castagnoli))
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// readTrailer fills the summary of s from the end of a complete segment of size
// octets, and returns where its directory lies and the checksum of that.
func (s *segment) readTrailer(b []byte, size int64) (off, length int64, sum uint32, err error) {
	le := binary.LittleEndian
	if len(b) != trailerBytes || le.Uint32(b) != trailerMagic || le.Uint32(b[4:]) != blockVersion ||
		crc32.Checksum(b[:trailerBytes-4], castagnoli) != le.Uint32(b[trailerBytes-4:]) || le.Uint64(b[8:]) != s.id {
		return 0, 0, 0, damaged("a segment without a trailer")
	}
	off, length = int64(le.Uint64(b[16:])), int64(le.Uint64(b[24:]))
	if off < 0 || length < 0 || off > size || length > size || off+length+trailerBytes != size || length > 2*maxDirectory {
		return 0, 0, 0, damaged("sizes in a trailer")
	}
	s.blocks, s.packets, s.octets = int(le.Uint64(b[32:])), le.Uint64(b[40:]), le.Uint64(b[48:])
	s.first, s.last = int64(le.Uint64(b[56:])), int64(le.Uint64(b[64:]))
	s.since, s.written = int64(le.Uint64(b[72:])), int64(le.Uint64(b[80:]))
	s.keyID, sum = [8]byte(b[88:96]), le.Uint32(b[96:])
	s.size = size
	return off, length, sum, nil
}

// summary reads the trailer of a segment of size octets.
func (s *segment) summary(f io.ReaderAt, size int64) (off, length int64, sum uint32, err error) {
	if size < trailerBytes {
		return 0, 0, 0, damaged("a segment without a trailer")
	}
	b := make([]byte, trailerBytes)
	if _, err := f.ReadAt(b, size-trailerBytes); err != nil {
		return 0, 0, 0, err
	}
	return s.readTrailer(b, size)
}

// directory reads the directory of a complete segment; when that is damaged it is
// made again from the blocks.
func (s *segment) directory(f io.ReaderAt, size int64) ([]byte, error) {
	off, length, sum, err := s.summary(f, size)
	if err == nil {
		dir := make([]byte, length)
		if _, err = f.ReadAt(dir, off); err == nil && crc32.Checksum(dir, castagnoli) == sum {
			return dir, nil
		}
	}
	found, err := scan(f, size, s.id)
	return found.dir, err
}

// scanned is what scan found.
type scanned struct {
	segment         // its summary, with the directory
	end       int64 // behind the last whole block
	torn      int64 // octets behind that
	corrupted int   // blocks that are damaged
}

// blockID tells the blocks of a ring apart.
type blockID struct {
	run, number uint64
	worker      uint16
}

func (h *header) id() blockID { return blockID{h.run, h.number, h.worker} }

// scan finds the blocks of a segment one after the other by their headers, and
// checks them. A header that is damaged is passed over: the next that is found
// counts. The error is one of reading the file.
func scan(f io.ReaderAt, size int64, id uint64) (scanned, error) {
	s := scanned{segment: segment{id: id}}
	seen := make(map[blockID]bool)
	head := make([]byte, headerBytes)
	var buf []byte
	for off := int64(0); off < size; {
		if n, err := f.ReadAt(head, off); err != nil && err != io.EOF {
			return s, err
		} else if n < headerBytes {
			break
		}
		h, err := readHeader(head)
		if err != nil || h.segment != id {
			next, err := resync(f, off+1, size)
			if err != nil {
				return s, err
			}
			if next < 0 {
				break
			}
			if isTrailer(head) {
				break
			}
			s.corrupted++
			off = next
			continue
		}
		if seen[h.id()] { // this is the copy in the directory of a complete segment
			break
		}
		if off+h.size() > size {
			break
		}
		seen[h.id()] = true
		buf = append(buf[:0], make([]byte, h.size()-headerBytes)...)
		if _, err := f.ReadAt(buf, off+headerBytes); err != nil {
			return s, err
		}
		if check(buf[:h.meta], h.metaCRC) != nil || check(buf[h.meta:], h.bodyCRC) != nil {
			s.corrupted++
			off++ // the lengths are right, but a block may have been overwritten by another
			if next, err := resync(f, off, size); err != nil {
				return s, err
			} else if next >= 0 {
				off = next
				continue
			}
			break
		}
		s.dir = appendEntry(s.dir, off, h.append(nil))
		s.dir = append(s.dir, buf[:h.meta]...)
		s.count(&h)
		off += h.size()
		s.end = off
	}
	s.torn = size - s.end
	s.segment.size = size
	return s, nil
}

func isTrailer(b []byte) bool { return binary.LittleEndian.Uint32(b) == trailerMagic }

// resync returns the offset of the next header from off on, or -1.
func resync(f io.ReaderAt, off, size int64) (int64, error) {
	var magic [4]byte
	binary.LittleEndian.PutUint32(magic[:], blockMagic)
	buf := make([]byte, min(1<<18, size-off))
	for off < size {
		n, err := f.ReadAt(buf, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		b := buf[:n]
		for at := 0; ; {
			i := bytes.Index(b[at:], magic[:])
			if i < 0 {
				break
			}
			at += i
			if len(b)-at < headerBytes {
				break
			}
			if _, err := readHeader(b[at:]); err == nil {
				return off + int64(at), nil
			}
			at++
		}
		if off+int64(n) >= size || n <= headerBytes {
			return -1, nil
		}
		off += int64(n - headerBytes) // a header may lie across
	}
	return -1, nil
}
