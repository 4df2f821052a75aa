package keep

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"time"
)

// Limits bound what Find gives; 0: no bound.
type Limits struct {
	Packets uint64
	Bytes   uint64 // octets of the file
}

// Result tells what Find gave.
type Result struct {
	Packets     uint64
	Bytes       uint64 // of the file
	First, Last time.Time
	Format      Format
	Truncated   bool // a limit was reached: there are more
	Damaged     int  // blocks that could not be read; their packets are missing
	Unordered   bool // packets of very different times lay together, and the order is not exact
}

// maxPending is how many octets of packets Find holds to bring them into order.
const maxPending = 64 << 20

// Find writes the kept packets that match q to out, as one file in order of time;
// packets of the same time as they came. It sees what is on disk: a packet gets there
// Config.BlockTime after it was seen. Nothing is written when nothing matches. Memory
// is bounded, and capture has the processor first. out is written from another
// goroutine, while Find waits. Errors wrap ErrNotFound, ErrQuery, ErrLinkTypes, ctx's or the writer's
// error; the Result is valid with an error too. Any number of Finds may run.
func (r *Ring) Find(ctx context.Context, q Query, out io.Writer, lim Limits) (res Result, err error) {
	m, err := newMatcher(q)
	if err != nil {
		return Result{}, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlock: the thread's priority dies with it
		background()
		res, err = r.find(ctx, m, out, lim)
	}()
	<-done
	return res, err
}

func (r *Ring) find(ctx context.Context, m *matcher, out io.Writer, lim Limits) (Result, error) {
	unpack, err := newUnpacker(r.key)
	if err != nil {
		return Result{}, err
	}
	defer unpack.close()
	f := &finder{ring: r, m: m, unpack: unpack, segments: r.snapshot(m), lim: lim}
	defer f.close()
	if err := f.choose(ctx, out); err != nil {
		return f.res, err
	}
	if err := f.all(ctx); err != nil && !errors.Is(err, errLimit) {
		return f.res, err
	}
	if f.out == nil || f.res.Packets == 0 {
		if f.res.Truncated {
			return f.res, queryError("the limit of %d bytes does not even leave room for the first packet", lim.Bytes)
		}
		return f.res, ErrNotFound
	}
	return f.res, f.out.flush()
}

// snapshot copies the segments that may have packets that match.
func (r *Ring) snapshot(m *matcher) []segment {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []segment
	for _, s := range r.segments {
		if s.blocks > 0 && s.first <= m.end && s.last >= m.start {
			list = append(list, *s) // dir is only ever added to
		}
	}
	slices.SortStableFunc(list, func(a, b segment) int { return cmp.Compare(a.first, b.first) })
	return list
}

// candidate is a block that may have packets that match.
type candidate struct {
	segment int // index
	off     int64
	h       header
	links   []link
}

// pending is a packet that waits for its turn.
type pending struct {
	record
	link   link
	worker uint16
	number uint64
	index  int
}

// finder is one Find.
type finder struct {
	ring     *Ring
	m        *matcher
	unpack   *unpacker
	segments []segment
	lim      Limits
	out      packetWriter
	res      Result

	loaded  int // segments whose directory was read
	blocks  candidates
	waiting packets
	held    int // octets of waiting
	file    *os.File
	fileOf  int
	buf     []byte
}

var errLimit = errors.New("limit")

func (f *finder) close() {
	if f.file != nil {
		f.file.Close()
	}
}

// open returns the file of a segment, or nil when it was removed meanwhile.
func (f *finder) open(i int) (*os.File, error) {
	if f.file != nil && f.fileOf == i {
		return f.file, nil
	}
	f.close()
	f.file = nil
	file, err := os.Open(f.segments[i].path)
	if err != nil {
		if isGone(err) {
			return nil, nil
		}
		return nil, err
	}
	f.file, f.fileOf = file, i
	return file, nil
}

// candidates calls take for the blocks of a segment that may have packets that match.
func (f *finder) candidates(i int, take func(candidate)) error {
	s := &f.segments[i]
	dir := s.dir
	if dir == nil {
		file, err := f.open(i)
		if file == nil {
			return err
		}
		st, err := file.Stat()
		if err != nil {
			return err
		}
		if dir, err = s.directory(file, st.Size()); err != nil && !errors.Is(err, errDamaged) {
			return err
		}
	}
	for len(dir) > 0 {
		e, rest, err := readEntry(dir)
		if err != nil {
			f.skip(1)
			return nil
		}
		dir = rest
		if !f.m.wants(&e.h) || e.h.segment != s.id {
			continue
		}
		x, err := unpackMeta(f.ring.key, &e.h, e.meta)
		if err != nil {
			if errors.Is(err, errDamaged) {
				f.skip(1)
				continue
			}
			return err
		}
		if f.m.index(&x) {
			take(candidate{segment: i, off: e.off, h: e.h, links: x.links})
		}
	}
	return nil
}

// skip counts damage.
func (f *finder) skip(n int) {
	f.res.Damaged += n
	f.ring.damaged.Add(uint64(n))
}

// choose sets the format.
func (f *finder) choose(ctx context.Context, out io.Writer) error {
	format := f.m.q.Format
	if format == FormatPcapng {
		f.res.Format, f.out = format, newPcapng(out)
		return nil
	}
	names, kinds := make(map[link]bool), make(map[uint16]bool)
	for i := range f.segments {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.candidates(i, func(c candidate) {
			for _, l := range c.links {
				names[l], kinds[l.kind] = true, true
			}
		}); err != nil {
			return err
		}
	}
	f.res.Damaged = 0 // counted when they are read again
	switch {
	case len(kinds) == 0:
		return ErrNotFound
	case format == FormatPcap && len(kinds) > 1:
		return fmt.Errorf("%w come into question: ask for pcapng", ErrLinkTypes)
	case format == FormatAuto && len(names) > 1:
		f.res.Format, f.out = FormatPcapng, newPcapng(out)
	default:
		for kind := range kinds {
			f.res.Format, f.out = FormatPcap, newPcap(out, kind)
		}
	}
	return nil
}

// all merges the packets of all blocks. A block is read when everything that
// waits is at or behind its earliest packet.
func (f *finder) all(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		for f.loaded < len(f.segments) && (len(f.blocks) == 0 || f.segments[f.loaded].first <= f.blocks[0].h.first) {
			if err := f.candidates(f.loaded, func(c candidate) { heap.Push(&f.blocks, c) }); err != nil {
				return err
			}
			f.loaded++
		}
		if len(f.blocks) == 0 {
			break
		}
		c := heap.Pop(&f.blocks).(candidate)
		for len(f.waiting) > 0 && f.waiting[0].time < c.h.first {
			if err := f.emit(); err != nil {
				return err
			}
		}
		if err := f.read(&c); err != nil {
			return err
		}
		for f.held > maxPending {
			f.res.Unordered = true
			if err := f.emit(); err != nil {
				return err
			}
		}
	}
	for len(f.waiting) > 0 {
		if err := f.emit(); err != nil {
			return err
		}
	}
	return nil
}

// read takes the packets of a block that match.
func (f *finder) read(c *candidate) error {
	file, err := f.open(c.segment)
	if file == nil {
		return err
	}
	if cap(f.buf) < int(c.h.body) {
		f.buf = make([]byte, c.h.body)
	}
	f.buf = f.buf[:c.h.body]
	if _, err := file.ReadAt(f.buf, c.off+headerBytes+int64(c.h.meta)); err != nil {
		f.skip(1) // the disk, or a file that was cut
		return nil
	}
	b, err := f.unpack.unpack(&c.h, f.buf)
	if err != nil {
		f.skip(1)
		return nil
	}
	var wanted []bool
	if f.m.byFlow {
		any := false
		wanted = make([]bool, b.flowCount())
		for i := range wanted {
			k := b.flow(i)
			wanted[i] = f.m.flow(&k)
			any = any || wanted[i]
		}
		if !any {
			return nil
		}
	}
	for i := 0; ; i++ {
		r, ok, err := b.next(len(c.links))
		if err != nil {
			f.skip(1)
			return nil
		}
		if !ok {
			return nil
		}
		if r.time < f.m.start || r.time > f.m.end || f.m.byFlow && (r.flow == noFlow || !wanted[r.flow]) || !f.m.frame(c.links[r.link].kind, &r) {
			continue
		}
		r.data = slices.Clone(r.data)
		heap.Push(&f.waiting, pending{r, c.links[r.link], c.h.worker, c.h.number, i})
		f.held += len(r.data) + pendingBytes
	}
}

// pendingBytes is about what a waiting packet takes besides its octets.
const pendingBytes = 96

// emit writes the packet whose turn it is.
func (f *finder) emit() error {
	p := heap.Pop(&f.waiting).(pending)
	f.held -= len(p.data) + pendingBytes
	if f.lim.Packets > 0 && f.res.Packets >= f.lim.Packets || f.lim.Bytes > 0 && f.out.size(&p) > f.lim.Bytes {
		f.res.Truncated = true
		return errLimit
	}
	if err := f.out.write(&p); err != nil {
		return err
	}
	t := time.Unix(0, p.time).UTC()
	if f.res.Packets == 0 {
		f.res.First = t
	}
	f.res.Packets++
	f.res.Last = t
	f.res.Bytes = f.out.written()
	return nil
}

// candidates is a heap by earliest packet.
type candidates []candidate

func (c candidates) Len() int { return len(c) }
func (c candidates) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(c[i].h.first, c[j].h.first), cmp.Compare(c[i].h.number, c[j].h.number)) < 0
}
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c *candidates) Push(x any)   { *c = append(*c, x.(candidate)) }
func (c *candidates) Pop() any {
	old := *c
	x := old[len(old)-1]
	old[len(old)-1] = candidate{}
	*c = old[:len(old)-1]
	return x
}

// packets is a heap by time; then as they came.
type packets []pending

func (p packets) Len() int { return len(p) }
func (p packets) Less(i, j int) bool {
	a, b := &p[i], &p[j]
	return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.worker, b.worker), cmp.Compare(a.number, b.number), cmp.Compare(a.index, b.index)) < 0
}
func (p packets) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *packets) Push(x any)   { *p = append(*p, x.(pending)) }
func (p *packets) Pop() any {
	old := *p
	x := old[len(old)-1]
	old[len(old)-1] = pending{}
	*p = old[:len(old)-1]
	return x
}
