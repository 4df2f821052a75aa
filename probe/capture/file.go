package capture

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"unsafe"

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
	mapped  []byte // nil: streamed
	behind  int    // mapped: pages below this offset were given back
	ahead   int    // mapped: pages below this offset were asked for
	guarded bool   // within Guard
	touched byte   // keeps touch from being optimised away
	expr    string
	filters map[uint16]*Filter // by link type
	filter  *Filter            // of link; nil: all pass
	link    uint16
	stats   Stats
	done    error // what Next returns from now on
	closers []func() error
}

// releaseStep is how much of a map is kept before it is given back, so that a
// large file does not fill the resident set.
const releaseStep = 32 << 20

// populateStep is how many bytes of a map are brought in at once: one system
// call in place of a page fault for every 4 to 64 KiB.
const populateStep = 2 << 20

func (s *fileSource) Next(f *Frame) (err error) {
	if s.done != nil {
		return s.done
	}
	if s.mapped != nil {
		if s.win.pos-s.behind >= releaseStep {
			s.release()
		}
		if s.win.pos >= s.ahead {
			s.populate()
		}
		if !s.guarded {
			defer s.recoverFault(debug.SetPanicOnFault(true), &err)
		}
	}
	if err := s.next(f); err != nil {
		return s.stop(err)
	}
	if s.mapped != nil && !s.guarded {
		s.touch(f.Data)
	}
	return nil
}

// NextBlock stops short of what would move the bytes of a frame it has already
// filled.
func (s *fileSource) NextBlock(frames []Frame) (n int, err error) {
	if err := s.Next(&frames[0]); err != nil {
		return 0, err
	}
	if s.mapped != nil && !s.guarded {
		return 1, nil
	}
	s.win.held = true
	for n = 1; n < len(frames); n++ {
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

// touch reads one byte of every page of b while Next can still catch the fault.
func (s *fileSource) touch(b []byte) {
	if len(b) == 0 {
		return
	}
	t := b[len(b)-1]
	for i := 0; i < len(b); i += 4096 {
		t += b[i]
	}
	s.touched += t
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

// release gives the pages behind the read position back to the system.
func (s *fileSource) release() {
	end := s.win.pos &^ (1<<16 - 1)
	if end > s.behind {
		releasePages(s.mapped[s.behind:end])
		s.behind = end
	}
}

// populate brings in the next pages.
func (s *fileSource) populate() {
	begin := s.win.pos &^ (1<<16 - 1)
	s.ahead = min(begin+populateStep, len(s.mapped))
	populatePages(s.mapped[begin:s.ahead])
	if s.ahead == len(s.mapped) {
		s.ahead++ // never again
	}
}

// recoverFault ends the file when its map faulted, which is what happens when
// somebody truncates the file meanwhile. Any other panic goes on.
func (s *fileSource) recoverFault(before bool, err *error) {
	debug.SetPanicOnFault(before)
	if r := recover(); r != nil {
		if !faultIn(r, s.mapped) {
			panic(r)
		}
		*err = s.cut("shrank while it was read")
	}
}

// Guard runs fn, which reads frames and their bytes, and returns an error
// wrapping ErrTruncatedFile instead of dying when a mapped file shrinks after
// Next and before its bytes are looked at. Next alone guards only itself. The
// cost is one defer per call of fn: put the whole loop into it.
func Guard(src Source, fn func() error) (err error) {
	s, ok := src.(*fileSource)
	if !ok || s.mapped == nil {
		return fn()
	}
	before := debug.SetPanicOnFault(true)
	s.guarded = true
	defer func() {
		s.guarded = false
		debug.SetPanicOnFault(before)
		if r := recover(); r != nil {
			if !faultIn(r, s.mapped) {
				panic(r)
			}
			s.cut("shrank while it was read")
			err = s.stats.Truncation
		}
	}()
	return fn()
}

// faultIn says whether the panic r is a memory fault within m.
func faultIn(r any, m []byte) bool {
	e, ok := r.(interface{ Addr() uintptr })
	if !ok || len(m) == 0 {
		return false
	}
	first := uintptr(unsafe.Pointer(unsafe.SliceData(m)))
	return e.Addr() >= first && e.Addr()-first < uintptr(len(m))
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
	s.closers, s.mapped, s.win = nil, nil, window{}
	if s.done == nil {
		s.done = io.EOF
	}
	return first
}
