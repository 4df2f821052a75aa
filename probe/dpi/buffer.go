package dpi

// bufferPool hands out the buffers of reassembly in four sizes and keeps the
// sum of what is in use within a limit. Buffers that come back are reused; the
// memory of idle buffers counts as used, so the limit is one of memory.
type bufferPool struct {
	limit int // octets
	used  int // octets in flows
	idle  int // octets in free lists
	free  [bufferSizes][][]byte
}

const (
	bufferSizes    = 4
	smallestBuffer = 2 << 10
	// streamLimit bounds what one flow holds, both directions together.
	streamLimit = smallestBuffer << (bufferSizes - 1) // 16 KiB
)

// get returns a buffer of at least n octets, length 0, or nil when n is more
// than a flow may hold or the limit is reached.
func (p *bufferPool) get(n int) []byte {
	class, size := 0, smallestBuffer
	for size < n {
		class, size = class+1, size*2
	}
	if class >= bufferSizes || p.used+size > p.limit {
		return nil
	}
	p.used += size
	if k := len(p.free[class]); k > 0 {
		b := p.free[class][k-1]
		p.free[class] = p.free[class][:k-1]
		p.idle -= size
		return b
	}
	for c := bufferSizes - 1; c >= 0 && p.used+p.idle > p.limit; c-- {
		p.idle -= len(p.free[c]) * (smallestBuffer << c)
		p.free[c] = nil
	}
	return make([]byte, 0, size)
}

// put takes *b back and clears it. Nil is nothing.
func (p *bufferPool) put(b *[]byte) {
	size := cap(*b)
	if size == 0 {
		return
	}
	class := 0
	for smallestBuffer<<class < size {
		class++
	}
	p.free[class] = append(p.free[class], (*b)[:0])
	*b = nil
	p.used -= size
	p.idle += size
}
