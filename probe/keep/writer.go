package keep

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/decode"
)

// block is packets in memory, on their way from a Writer to the Ring's goroutine
// and back.
type block struct {
	home    chan *block
	buf     []byte    // records, see format.go
	flows   []flowKey // by number
	links   []link    // by number
	first   int64     // earliest and latest time, ns
	last    int64
	packets uint32
	octets  uint32 // captured
	worker  uint16
	number  uint64 // of this worker's blocks, in this run
}

func (b *block) reset() {
	b.buf, b.flows, b.links = b.buf[:0], b.flows[:0], b.links[:0]
	b.packets, b.octets = 0, 0
}

// Writer takes the frames of one capture goroutine, and belongs to it. Its memory
// is Config.Blocks blocks and the table of the cut-off.
type Writer struct {
	// Wait makes Add wait for the disk instead of dropping a block. It is for
	// files, which do not run away. Set it before the first Add.
	Wait bool

	ring   *Ring
	cut    cutoff
	cur    *block
	free   chan *block
	made   int   // blocks made so far
	room   int   // octets of a block
	snap   int   // octets kept of a frame
	span   int64 // ns a block may cover
	number uint64
	began  time.Time // when the first frame of cur was added, as Tick saw it

	iface     string // of the frame before
	index     uint32
	link      uint16
	linkKnown bool
	linkAt    uint16 // its number in cur
	second    int64  // ns at which the second of the frame before began
	second16  uint16

	cutPackets, cutBytes         uint64
	droppedPackets, droppedBytes uint64
	shared                       struct{ cutPackets, cutBytes, droppedPackets, droppedBytes atomic.Uint64 }
}

// Writer returns the Writer of a capture goroutine. worker is a number for the
// goroutine, modulo 2^16; packets of one worker with equal times keep their order.
func (r *Ring) Writer(worker int) *Writer {
	w := &Writer{ring: r, cut: newCutoff(r.cfg), free: make(chan *block, r.cfg.Blocks), room: int(r.cfg.BlockBytes),
		snap: maxKept, span: int64(r.cfg.BlockTime)}
	if r.cfg.Snaplen > 0 {
		w.snap = min(w.snap, r.cfg.Snaplen)
	}
	w.snap = min(w.snap, w.room-recordBytes)
	w.cur = w.newBlock()
	w.cur.worker = uint16(worker)
	r.add(w)
	return w
}

func (w *Writer) newBlock() *block {
	w.made++
	// Room for the flows' keys at the end, so that nothing grows as a rule.
	return &block{home: w.free, buf: make([]byte, 0, w.room+w.room/8), flows: make([]flowKey, 0, 1024)}
}

// Add keeps a copy of f, unless its flow has had its share. p is what the decoder
// made of f, or nil when the frame belongs to no flow: it is then kept without a
// cut-off, and found by time and BPF expression. iface is the name of the frame's
// interface. Nothing of f and p is referred to afterwards; nothing is allocated
// per packet.
func (w *Writer) Add(f *capture.Frame, p *decode.Packet, iface string) {
	n := min(len(f.Data), w.snap)
	b := w.cur
	if len(b.buf)+n+recordBytes > w.room || len(b.flows) >= maxFlows ||
		b.packets > 0 && uint64(f.Time-b.first+w.span) > uint64(2*w.span) && len(b.buf) >= w.room/16 {
		w.flush()
		b = w.cur
	}
	if !w.linkKnown || f.Interface != w.index || f.LinkType != w.link || iface != w.iface {
		w.setLink(f, iface)
		b = w.cur
	}
	number := uint16(noFlow)
	if p != nil {
		if since := f.Time - w.second; since < 0 || since >= 1e9 {
			s := f.Time / 1e9
			w.second, w.second16 = s*1e9, uint16(s)
		}
		e := w.cut.find(p, n, w.second16)
		if e == nil {
			w.cutPackets++
			w.cutBytes += uint64(len(f.Data))
			return
		}
		if mark := uint32(w.number) + 1; e.block != mark {
			e.block, e.number = mark, uint16(len(b.flows))
			b.flows = append(b.flows, flowKey{p.Src, p.Dst, p.OuterSrc, p.OuterDst, p.SrcPort, p.DstPort, p.Protocol})
		}
		number = e.number
	}
	if b.packets == 0 {
		b.first, b.last = f.Time, f.Time
	}
	b.first, b.last = min(b.first, f.Time), max(b.last, f.Time)
	at := len(b.buf)
	b.buf = b.buf[:at+recordBytes+n]
	h := b.buf[at : at+recordBytes : at+recordBytes]
	binary.LittleEndian.PutUint64(h, uint64(f.Time))
	binary.LittleEndian.PutUint32(h[8:], uint32(n))
	binary.LittleEndian.PutUint32(h[12:], f.Len)
	binary.LittleEndian.PutUint16(h[16:], number)
	binary.LittleEndian.PutUint16(h[18:], w.linkAt)
	copy(b.buf[at+recordBytes:], f.Data[:n])
	b.packets++
	b.octets += uint32(n)
}

// setLink finds the number of the frame's interface and link type in the block.
func (w *Writer) setLink(f *capture.Frame, iface string) {
	w.iface, w.index, w.link, w.linkKnown = iface, f.Interface, f.LinkType, true
	l := link{name: iface, kind: f.LinkType}
	l.name = l.name[:min(len(l.name), maxName)]
	for i, known := range w.cur.links {
		if known == l {
			w.linkAt = uint16(i)
			return
		}
	}
	if len(w.cur.links) >= maxLinks {
		w.flush()
		w.linkKnown = true
	}
	w.cur.links = append(w.cur.links, l)
	w.linkAt = uint16(len(w.cur.links) - 1)
}

// Tick hands over a block that is older than Config.BlockTime. Call it now and
// then, also when no frame comes; now is the wall clock's.
func (w *Writer) Tick(now time.Time) {
	switch {
	case w.cur.packets == 0:
		w.began = time.Time{}
		w.publish()
	case w.began.IsZero():
		w.began = now
	case now.Sub(w.began) >= time.Duration(w.span):
		w.flush()
	}
}

// Close hands over what there is. The Writer must not be used afterwards.
func (w *Writer) Close() {
	w.flush()
	w.ring.remove(w)
}

// flush hands the block over and goes on with a free one. There being none, the
// packets of the block are dropped and counted.
func (w *Writer) flush() {
	b := w.cur
	if b.packets == 0 {
		w.publish()
		return
	}
	w.began = time.Time{}
	b.number = w.number
	w.number++ // flows begin anew in the block that follows, dropped or not
	w.linkKnown = false
	next := w.take()
	if next == nil || !w.ring.hand(b) {
		w.droppedPackets += uint64(b.packets)
		w.droppedBytes += uint64(b.octets)
		if next != nil {
			w.free <- next // room for all that were made
		}
		next = b
	}
	next.reset()
	next.worker = b.worker
	w.cur = next
	w.publish()
}

// take returns a block to go on with, or nil.
func (w *Writer) take() *block {
	select {
	case b := <-w.free:
		return b
	default:
	}
	if w.made < w.ring.cfg.Blocks {
		return w.newBlock()
	}
	if !w.Wait {
		return nil
	}
	select {
	case b := <-w.free:
		return b
	case <-w.ring.done:
		return nil
	}
}

// publish shows the counts to others.
func (w *Writer) publish() {
	w.shared.cutPackets.Store(w.cutPackets)
	w.shared.cutBytes.Store(w.cutBytes)
	w.shared.droppedPackets.Store(w.droppedPackets)
	w.shared.droppedBytes.Store(w.droppedBytes)
}
