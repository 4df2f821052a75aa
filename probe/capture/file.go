package capture

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// format is a file format's reader: it delivers frames out of a window, io.EOF
// between two records at the end, and io.ErrUnexpectedEOF within one.
type format interface {
	next(*Frame) error
	interfaces() []string
	recordedDropped() uint64
}

// fileSource is the Source of a file.
type fileSource struct {
	path    string
	win     window
	format  format
	expr    string
	filters map[uint16]*Filter // by link type
	filter  *Filter            // of link; nil: all pass
	link    uint16
	stats   Stats
	done    error // what Next returns from now on
	closers []func() error
}

func (s *fileSource) Next(f *Frame) error {
	if s.done != nil {
		return s.done
	}
	if err := s.next(f); err != nil {
		return s.stop(err)
	}
	return nil
}

// NextBlock stops short of what would move the bytes of a frame it has already
// filled.
func (s *fileSource) NextBlock(frames []Frame) (n int, err error) {
	if err := s.Next(&frames[0]); err != nil {
		return 0, err
	}
	s.win.held = true
	n = 1
	if p, ok := s.format.(*pcapReader); ok && s.expr == "" {
		n += p.run(frames[1:], &s.stats)
	}
	for ; n < len(frames); n++ {
		if err := s.next(&frames[n]); err != nil {
			if err != errHeld {
				_ = s.stop(err) // the next call returns it
			}
			break
		}
	}
	s.win.held = false
	return n, nil
}

// next reads one frame that the filter lets through.
func (s *fileSource) next(f *Frame) error {
	for {
		if err := s.format.next(f); err != nil {
			return err
		}
		if s.expr != "" {
			if f.LinkType != s.link || s.filter == nil {
				if err := s.compile(f.LinkType); err != nil {
					return err
				}
			}
			if !s.filter.Match(f.Data, f.Len) {
				s.stats.Filtered++
				s.stats.FilteredBytes += uint64(f.Len)
				continue
			}
		}
		s.stats.Received++
		s.stats.ReceivedBytes += uint64(f.Len)
		return nil
	}
}

// stop turns what the format's reader returned into what Next returns.
func (s *fileSource) stop(err error) error {
	switch {
	case err == ErrTimeout:
		return err
	case err == io.EOF:
		s.done = io.EOF
		return io.EOF
	case err == io.ErrUnexpectedEOF:
		return s.cut("ends in the middle of a packet")
	}
	return s.fail(s.decompressError(err))
}

// cut ends the source early but in order: what came before counts.
func (s *fileSource) cut(how string) error {
	s.stats.TruncatedFile = true
	s.stats.Truncation = fmt.Errorf("read capture %s: %s at byte %d, after %d packets: %w",
		shownName(s.path), how, s.win.offset(), s.packets(), ErrTruncatedFile)
	s.done = io.EOF
	return io.EOF
}

func (s *fileSource) fail(err error) error {
	s.done = fmt.Errorf("read capture %s: after %d packets: %w", shownName(s.path), s.packets(), err)
	return s.done
}

func (s *fileSource) packets() uint64 { return s.stats.Received + s.stats.Filtered }

func (s *fileSource) decompressError(err error) error {
	switch {
	case errors.Is(err, ErrCorrupt), errors.Is(err, io.ErrNoProgress):
		return err
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("it needs a zstd window above %d MiB: compress it without --long and --ultra: %w", zstdWindow>>20, err)
	}
	return cause(err)
}

// compile makes s.filter the filter for frames of link.
func (s *fileSource) compile(link uint16) error {
	if s.filters == nil {
		s.filters = make(map[uint16]*Filter)
	}
	flt := s.filters[link]
	if flt == nil {
		var err error
		if flt, err = CompileFilter(s.expr, link, 0); err != nil {
			return err
		}
		s.filters[link] = flt
	}
	s.filter, s.link = flt, link
	return nil
}

func (s *fileSource) Stats() Stats {
	st := s.stats
	st.RecordedDropped = s.format.recordedDropped()
	return st
}

func (s *fileSource) Interfaces() []string { return s.format.interfaces() }

// Close may be called more than once.
func (s *fileSource) Close() error {
	var first error
	for i := len(s.closers) - 1; i >= 0; i-- {
		if err := s.closers[i](); err != nil && first == nil {
			first = fmt.Errorf("close capture %s: %w", shownName(s.path), cause(err))
		}
	}
	s.closers, s.win = nil, window{}
	if s.done == nil {
		s.done = io.EOF
	}
	return first
}
