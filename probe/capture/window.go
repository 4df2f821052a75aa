package capture

import (
	"errors"
	"io"
	"os"
	"time"
)

// streamMax bounds a stream's buffer: the largest frame, and a pcapng block's
// head and options around it.
const streamMax = MaxFrame + 128<<10

// streamStart is what a stream's buffer begins with; it fits into the second
// level cache. It grows only when bytes
// that have really arrived fill it, never because a length field says so.
const streamStart = 256 << 10

// deadliner is the part of *os.File that a pipe or socket needs for timeouts.
type deadliner interface{ SetReadDeadline(time.Time) error }

// window is the stretch of a file that can be looked at: a bounded buffer that
// slides over it.
type window struct {
	buf  []byte
	pos  int   // the next unread byte in buf
	base int64 // offset of buf[0] in the (decompressed) file
	debt int64 // bytes to be thrown away before the next unread one

	r     io.Reader
	ended error // what r ended with; nil while it may deliver more
	// With chunks, bytes are never moved or written over within a buffer: the
	// next one is taken, and buf is the current chunk's.
	chunks *Chunks
	chunk  *Chunk
	held   bool          // buf must stay as it is: need returns errHeld rather than read
	dl     deadliner     // nil: reads may block for ever
	block  time.Duration // with dl: after how long need returns ErrTimeout
}

// offset is the file offset of the next unread byte.
func (w *window) offset() int64 { return w.base + int64(w.pos) + w.debt }

// need makes n unread bytes available at buf[pos:]. io.EOF: the file ended just
// here; io.ErrUnexpectedEOF: it ended within the n bytes, or within bytes that
// were to be skipped. ErrTimeout leaves everything as it was: call again.
func (w *window) need(n int) error {
	if w.debt == 0 && len(w.buf)-w.pos >= n {
		return nil
	}
	return w.fill(n)
}

func (w *window) fill(n int) error {
	for {
		if w.debt > 0 && w.pos < len(w.buf) {
			step := min(w.debt, int64(len(w.buf)-w.pos))
			w.pos += int(step)
			w.debt -= step
		}
		have := len(w.buf) - w.pos
		if w.debt == 0 && have >= n {
			return nil
		}
		if w.ended != nil {
			if w.ended != io.EOF {
				return w.ended
			}
			if w.debt == 0 && have == 0 {
				return io.EOF
			}
			return io.ErrUnexpectedEOF
		}
		if w.held {
			return errHeld
		}
		if err := w.read(); err != nil {
			return err
		}
	}
}

// errHeld is returned by need in place of moving bytes that somebody looks at;
// everything is left as it was.
var errHeld = errors.New("the window is held")

// read takes what the stream has, after making room.
func (w *window) read() error {
	switch {
	case w.chunks != nil:
		if len(w.buf) == cap(w.buf) {
			w.nextChunk()
		}
	default:
		w.makeRoom()
	}
	if w.dl != nil {
		if err := w.dl.SetReadDeadline(time.Now().Add(w.block)); err != nil {
			w.dl = nil
		}
	}
	// A reader that keeps giving nothing without an error is broken; io.Reader
	// allows a few of these.
	for range 100 {
		n, err := w.r.Read(w.buf[len(w.buf):cap(w.buf)])
		w.buf = w.buf[:len(w.buf)+n]
		if w.dl != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			if n > 0 {
				return nil
			}
			return ErrTimeout
		}
		if err != nil {
			w.ended = err
			return nil
		}
		if n > 0 {
			return nil
		}
	}
	w.ended = io.ErrNoProgress
	return nil
}

// makeRoom moves what is unread to the front, or takes a larger buffer.
func (w *window) makeRoom() {
	if w.pos > 0 && (w.pos == len(w.buf) || len(w.buf) == cap(w.buf)) {
		have := copy(w.buf, w.buf[w.pos:])
		w.base += int64(w.pos)
		w.buf, w.pos = w.buf[:have], 0
	}
	if len(w.buf) == cap(w.buf) {
		grown := make([]byte, len(w.buf), min(max(2*cap(w.buf), streamStart), streamMax))
		copy(grown, w.buf)
		w.buf = grown
	}
}

// nextChunk goes on in another buffer, with what is unread at its front.
func (w *window) nextChunk() {
	have := len(w.buf) - w.pos
	size := chunkBytes
	for size <= have {
		size = min(2*size, streamMax)
	}
	next := w.chunks.take(size)
	buf := next.buf[:have]
	copy(buf, w.buf[w.pos:])
	w.chunk.Release()
	w.chunk, w.buf = next, buf
	w.base += int64(w.pos)
	w.pos = 0
}

// useChunks makes all further reading go into chunks.
func (w *window) useChunks(c *Chunks) {
	w.chunks, w.chunk = c, &Chunk{buf: w.buf}
	w.chunk.Hold()
}

// skip passes over n bytes, of which some may not have arrived yet.
func (w *window) skip(n int64) {
	if n <= int64(len(w.buf)-w.pos) {
		w.pos += int(n)
		return
	}
	w.debt += n - int64(len(w.buf)-w.pos)
	w.pos = len(w.buf)
}
