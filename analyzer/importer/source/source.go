// Package source reads what importers are given: plain and compressed files of
// lines or octets, with the number of each line, and an account of what was
// read, converted and skipped. Files belong to the caller; lines are valid
// until the next one is asked for.
package source

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// MaxLine is the longest line that is read, octets; longer ones are skipped.
const MaxLine = 1 << 20

// Open opens a file; gzip, bzip2 and zstd are recognised by their first octets
// and unpacked. The error names the file.
func Open(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	r, err := Unpack(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open log %s: %w", path, err)
	}
	return unpacked{r, f}, nil
}

type unpacked struct {
	io.Reader
	file *os.File
}

func (u unpacked) Close() error { return u.file.Close() }

// Unpack returns what is in r, unpacked if it is gzip, bzip2 or zstd. A zstd
// stream may ask for at most 64 MiB of window.
func Unpack(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 256<<10)
	head, err := b.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(b)
	case bytes.HasPrefix(head, []byte("BZh")):
		return bzip2.NewReader(b), nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
	}
	return b, nil
}

// Identity is a number for the unpacked content of a file, never 0: the first
// 64 bits of its SHA-256 behind the given kind. So the same log has the same
// identity under any name, packed or not.
func Identity(kind, path string) (uint64, error) {
	f, err := Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	h := sha256.New()
	io.WriteString(h, kind+"\x00")
	// What can be read of a damaged archive is imported, so it is what counts.
	if _, err := io.Copy(h, f); err != nil && !damaged(err) {
		return 0, fmt.Errorf("read log %s: %w", path, err)
	}
	return max(binary.BigEndian.Uint64(h.Sum(nil)), 1), nil
}

// damaged says that the content is at fault rather than the reading.
func damaged(err error) bool {
	var path *os.PathError
	return !errors.As(err, &path)
}

// Lines reads lines and counts them.
type Lines struct {
	r      *bufio.Reader
	buf    []byte
	number int64
	offset int64 // octets up to the end of the line before
	long   bool
	err    error
}

// NewLines returns a reader of the lines of r.
func NewLines(r io.Reader) *Lines { return &Lines{r: bufio.NewReaderSize(r, 256<<10)} }

// Next returns the next line without its end, and whether there was one. A line
// beyond MaxLine comes as what fits; TooLong says so. The last line may lack
// its end.
func (l *Lines) Next() ([]byte, bool) {
	l.buf, l.long = l.buf[:0], false
	n := int64(0)
	for {
		part, err := l.r.ReadSlice('\n')
		n += int64(len(part))
		if room := MaxLine - len(l.buf); len(part) > room {
			part, l.long = part[:room], true
		}
		l.buf = append(l.buf, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			l.err = err
		}
		break
	}
	if n == 0 {
		return nil, false
	}
	l.number++
	l.offset += n
	return bytes.TrimRight(l.buf, "\r\n"), true
}

// Number is that of the line that Next returned, from 1.
func (l *Lines) Number() int64 { return l.number }

// Offset is the number of octets up to the end of that line.
func (l *Lines) Offset() int64 { return l.offset }

// TooLong says that the line was longer than MaxLine.
func (l *Lines) TooLong() bool { return l.long }

// Err is what ended the lines before the end of the file: a damaged archive,
// a disk that fails; nil at the end of the file.
func (l *Lines) Err() error { return l.err }
