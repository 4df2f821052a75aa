package capture

import "sync/atomic"

// chunkBytes is the size of a Chunk: as much as is read at once, and small
// enough for what is read to be found in a cache.
const chunkBytes = 256 << 10

// Chunks is a fixed number of buffers for Sources whose frames are looked at
// elsewhere after the next block has been read (FileOptions.Chunks). It is safe
// for concurrent use.
type Chunks struct{ free chan *Chunk }

// A Chunk is a stretch of a file with the bytes of frames. Whoever holds it
// keeps them in place.
type Chunk struct {
	buf     []byte // of it, its capacity counts
	holders atomic.Int32
	from    *Chunks // nil: of no pool, and left to the garbage collector
}

// NewChunks returns n free buffers of 256 KiB, n at least 2.
func NewChunks(n int) *Chunks {
	c := &Chunks{free: make(chan *Chunk, n)}
	for range n {
		c.free <- &Chunk{buf: make([]byte, 0, chunkBytes), from: c}
	}
	return c
}

// Free is how many chunks nobody holds. With none, the next read of a Source
// waits until one is released.
func (c *Chunks) Free() int { return len(c.free) }

// take returns a chunk of at least size octets, held once.
func (c *Chunks) take(size int) *Chunk {
	var k *Chunk
	if size > chunkBytes { // a giant frame
		k = &Chunk{buf: make([]byte, 0, size)}
	} else {
		k = <-c.free
	}
	k.holders.Store(1)
	return k
}

// Hold keeps the chunk; it needs a Release of its own.
func (k *Chunk) Hold() { k.holders.Add(1) }

// Release gives up one Hold. After the last one the bytes change.
func (k *Chunk) Release() {
	if k.holders.Add(-1) == 0 && k.from != nil {
		k.from.free <- k
	}
}

// ChunkOf returns where the bytes of all frames of src's last block are, for a
// Source that was opened with FileOptions.Chunks. The Source itself holds it
// until it reads on.
func ChunkOf(src Source) *Chunk {
	if s, ok := src.(*fileSource); ok {
		return s.win.chunk
	}
	return nil
}
