package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// FileOptions adjusts OpenFile. The zero value reads every packet of a file.
type FileOptions struct {
	// Filter is a BPF expression in tcpdump's language; empty lets all through.
	Filter string
	// BlockTime is after how long Next returns ErrTimeout when the file is a
	// pipe in which nothing moves; 0 means 100 ms. Regular and compressed
	// files never time out.
	BlockTime time.Duration
	// Chunks is where a file is read to, so that frames outlive the block they
	// came in (see ChunkOf); nil: a buffer of its own.
	Chunks *Chunks
}

// zstdWindow bounds what a zstd frame may ask for. Level 19 uses 8 MiB; only
// --ultra and --long exceed it.
const zstdWindow = 8 << 20

// OpenFile opens a pcap or pcapng file, plain or compressed with gzip or zstd.
// The path "-" is standard input. Errors name the path and, where an operator
// can do something, say what; they wrap ErrNotCapture, ErrEmptyFile,
// ErrTruncatedFile, ErrCorrupt, ErrFilter, ErrNoLibpcap or the system's error.
func OpenFile(path string, opt FileOptions) (Source, error) {
	s, err := openFile(path, opt)
	if err != nil {
		return nil, fmt.Errorf("open capture %s: %w", shownName(path), err)
	}
	return s, nil
}

func openFile(path string, opt FileOptions) (*fileSource, error) {
	f, err := openPath(path)
	if err != nil {
		return nil, err
	}
	s := &fileSource{path: path, closers: []func() error{f.Close}}
	if err := s.start(f, opt); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// start finds out what f holds and sets up window, reader and filter.
func (s *fileSource) start(f *os.File, opt FileOptions) error {
	st, err := f.Stat()
	if err != nil {
		return cause(err)
	}
	if st.IsDir() {
		return errors.New("it is a directory: name its files, or use -r with the directory")
	}
	if st.Mode().IsRegular() && st.Size() == 0 {
		return fmt.Errorf("%w (0 bytes): whatever wrote it captured nothing or was stopped before its first flush", ErrEmptyFile)
	}
	if err := s.stream(f, st.Mode(), opt); err != nil {
		return err
	}
	if err := s.detect(); err != nil {
		return err
	}
	if opt.Chunks != nil {
		s.win.useChunks(opt.Chunks)
		s.closers = append(s.closers, func() error { s.win.chunk.Release(); return nil })
	}
	if opt.Filter == "" {
		return nil
	}
	s.expr = opt.Filter
	link := LinkEthernet // pcapng: shows a wrong expression before the first packet
	if p, ok := s.format.(*pcapReader); ok {
		link = p.link
	}
	return s.compile(link)
}

// stream sets the window up over f, through a decompressor when f needs one.
func (s *fileSource) stream(f *os.File, mode fs.FileMode, opt FileOptions) error {
	s.win = window{r: f}
	if err := s.win.need(4); err != nil && s.win.ended != io.EOF {
		return cause(err)
	}
	kind := ""
	if len(s.win.buf) >= 4 {
		kind = compression(s.win.buf)
	}
	if kind == "" {
		if !mode.IsRegular() && f.SetReadDeadline(time.Time{}) == nil {
			s.win.dl, s.win.block = f, opt.BlockTime
			if s.win.block <= 0 {
				s.win.block = 100 * time.Millisecond
			}
		}
		return nil
	}
	raw := io.MultiReader(bytes.NewReader(s.win.buf), f)
	if kind == "gzip" {
		z, err := gzip.NewReader(raw)
		if err != nil {
			return fmt.Errorf("gzip: %w", asTruncated(err))
		}
		s.win = window{r: z}
		return nil
	}
	z, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
	if err != nil {
		return fmt.Errorf("zstd: %w", err)
	}
	s.closers = append(s.closers, func() error { z.Close(); return nil })
	s.win = window{r: z}
	return nil
}

// detect looks at the first bytes of the decompressed file.
func (s *fileSource) detect() error {
	err := s.win.need(4)
	switch {
	case err == io.EOF:
		return fmt.Errorf("%w (0 bytes)", ErrEmptyFile)
	case err == io.ErrUnexpectedEOF:
		return fmt.Errorf("it has only %d bytes: %w", len(s.win.buf), ErrNotCapture)
	case err != nil:
		return s.decompressError(err)
	}
	if binary.LittleEndian.Uint32(s.win.buf) == blockSection {
		s.format = newPcapngReader(&s.win)
		return nil
	}
	if _, _, ok := isPcap(s.win.buf); !ok {
		return fmt.Errorf("%w: it begins with % x; pcap, pcapng, or gzip or zstd of one, is expected%s",
			ErrNotCapture, s.win.buf[:4], otherFormat(s.win.buf))
	}
	name := filepath.Base(s.path)
	if s.path == "-" {
		name = "stdin"
	}
	s.format, err = newPcapReader(&s.win, name)
	return err
}

// compression names the packing that b begins with, or "".
func compression(b []byte) string {
	switch {
	case b[0] == 0x1f && b[1] == 0x8b: // RFC 1952 section 2.3.1
		return "gzip"
	case binary.LittleEndian.Uint32(b) == 0xfd2fb528: // RFC 8878 section 3.1.1
		return "zstd"
	}
	return ""
}

// otherFormat is a hint for files that are often taken for captures.
func otherFormat(b []byte) string {
	switch {
	case bytes.HasPrefix(b, []byte("PK")):
		return " (this is a zip archive: unpack it first)"
	case bytes.HasPrefix(b, []byte("BZh")), bytes.HasPrefix(b, []byte("\xfd7zX")):
		return " (this is a bzip2 or xz file: unpack it first)"
	case bytes.HasPrefix(b, []byte("snoo")):
		return " (this is a snoop file: convert it with editcap)"
	}
	return ""
}

// normalLink maps the two values that systems wrote for DLT_RAW.
func normalLink(link uint16) uint16 {
	if link == 12 || link == 14 {
		return LinkRaw
	}
	return link
}

func shownName(path string) string {
	if path == "-" {
		return "from standard input"
	}
	return path
}

// cause strips the operation and path that the os package adds, since ours
// names them already.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// unexpected is for a need within a record: the end of the file is a cut there.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func asTruncated(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrTruncatedFile
	}
	return err
}
