package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/meter"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// A spread deals the frames of files out to several workers: one reader walks
// the files, and frames go to workers in parcels, by the hash of the two
// innermost addresses (capture.FlowHash), so that both directions of a flow and
// the connections of two hosts meet in one worker. There is a fixed number of
// parcels: when no worker has given one back, the reader waits.
//
// The records are those of one worker: every frame carries the traffic time of
// the whole capture; what only one decoder can know, that is fragments, tunnels
// and whatever else is rare, is decoded by the reader; and an ICMP error is
// told to the worker of the flow that it quotes.
type spread struct {
	to     []chan *parcel // one for each worker
	free   chan *parcel
	filled []*parcel // one for each worker, being filled
	chunks *capture.Chunks
	chunk  *capture.Chunk // that holds the frames being dealt
	clock  meter.Clock
	sample sampler // packets are counted here, in the order of the capture
	dec    *decode.Decoder
	packet decode.Packet
	set    *settings
	limits *limits // of set, that are in effect
	handed time.Time
	log    *slog.Logger
}

// parcel is a run of frames on its way from the reader to a worker.
type parcel struct {
	names  []string         // of src's interfaces
	chunks []*capture.Chunk // where the bytes of frames are
	frames []capture.Frame
	clocks []int64 // traffic time at each frame
	kinds  []frameKind
	ready  []readyPacket // in the order of the frames that are readyFrame or quoteFrame
	now    int64         // traffic time at the end
	stats  capture.Stats // of src; only the first worker gets them
	begin  bool          // of src
	limits *limits       // in effect
}

// frameKind says what a worker does with a frame.
type frameKind uint8

const (
	rawFrame   frameKind = iota // decode and count it
	leftFrame                   // left out by sampling; it has no bytes
	readyFrame                  // decoded already
	quoteFrame                  // counted elsewhere, it quotes a flow here
)

// readyPacket is what the reader's decoder made of a frame.
type readyPacket struct {
	packet  decode.Packet
	verdict decode.Verdict
}

const (
	parcelFrames = 256
	// parcelsQueued is how many parcels may wait for a worker: enough for some
	// milliseconds in which only another one has work.
	parcelsQueued = 16
	// chunksRead is how many buffers of the file may be in use: all of them fit
	// into the third level cache.
	chunksRead = 24
	// parcelEvery is after how long a parcel goes out that is not full.
	parcelEvery = 100 * time.Millisecond
)

func newSpread(workers int, set *settings, log *slog.Logger) *spread {
	s := &spread{set: set, dec: decode.New(decode.DefaultConfig()), limits: set.now(), log: log, handed: time.Now(), chunks: capture.NewChunks(chunksRead), free: make(chan *parcel, workers*(parcelsQueued+2))}
	s.sample.set(s.limits.sampleFlows, s.limits.samplePackets)
	for range cap(s.free) {
		s.free <- &parcel{frames: make([]capture.Frame, 0, parcelFrames), clocks: make([]int64, 0, parcelFrames), kinds: make([]frameKind, 0, parcelFrames)}
	}
	for range workers {
		s.to = append(s.to, make(chan *parcel, parcelsQueued))
		s.filled = append(s.filled, <-s.free)
	}
	return s
}

// work is run by worker i until the reader has ended.
func (s *spread) work(i int, w *worker) {
	for p := range s.to[i] {
		w.parcel(p)
		for _, c := range p.chunks {
			c.Release()
		}
		p.names, p.begin = nil, false
		p.frames, p.clocks, p.kinds, p.ready, p.chunks = p.frames[:0], p.clocks[:0], p.kinds[:0], p.ready[:0], p.chunks[:0]
		s.free <- p
	}
}

// parcel takes the frames of p.
func (w *worker) parcel(p *parcel) {
	if p.begin {
		w.captured = capture.Stats{}
	}
	w.apply(p.limits)
	w.names = p.names
	w.block(p.frames, p)
	w.table.Follow(p.now)
	w.account(p.stats)
	if now := time.Now(); now.Sub(w.lastCut) >= cutEvery {
		w.tick(now)
	}
}

// read takes all files; the workers end when it returns.
func (s *spread) read(ctx context.Context, files []string) error {
	defer func() {
		for _, to := range s.to {
			close(to)
		}
	}()
	return eachFile(ctx, files, s.set, s.chunks, func(src capture.Source) error { return s.file(ctx, src) })
}

// file deals out one file, and waits until no worker looks at its frames.
func (s *spread) file(ctx context.Context, src capture.Source) error {
	for _, p := range s.filled {
		p.begin = true
	}
	err := s.loop(ctx, src)
	s.handOver(src)
	s.wait()
	return err
}

func (s *spread) loop(ctx context.Context, src capture.Source) error {
	frames := make([]capture.Frame, blockFrames)
	for {
		if s.chunks.Free() == 0 { // parcels that wait to be filled may hold the last ones
			s.handOver(src)
		}
		n, err := capture.NextBlock(src, frames)
		switch {
		case err == nil:
			s.chunk = capture.ChunkOf(src)
			for i := range frames[:n] {
				s.deal(src, &frames[i])
			}
		case errors.Is(err, capture.ErrTimeout):
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(s.handed) >= parcelEvery {
			s.handOver(src)
			if l := s.set.now(); l != s.limits {
				s.limits = l
				s.sample.set(l.sampleFlows, l.samplePackets)
			}
		}
	}
}

// deal puts f into the parcel of its worker.
func (s *spread) deal(src capture.Source, f *capture.Frame) {
	if s.clock.Tick(f.Time) {
		s.handOver(src) // all learn of it, also those without frames now
	}
	switch {
	case s.sample.skip():
		left := *f
		left.Data = nil
		s.add(src, 0, &left, leftFrame)
	case decode.Simple(f, &s.packet):
		s.add(src, s.worker(&s.packet.Src, &s.packet.Dst), f, rawFrame)
	default:
		s.dealRare(src, f)
	}
}

func (s *spread) worker(a, b *flow.Addr) int {
	return int(capture.PairHash((*[16]byte)(a), (*[16]byte)(b)) % uint32(len(s.to)))
}

// dealRare decodes f here.
func (s *spread) dealRare(src capture.Source, f *capture.Frame) {
	r := readyPacket{verdict: s.dec.Decode(f, &s.packet)}
	r.packet = s.packet
	// What was put together of fragments is the decoder's own.
	r.packet.Reassembled = slices.Clone(r.packet.Reassembled)
	if !within(f.Data, r.packet.Payload) {
		r.packet.Payload = slices.Clone(r.packet.Payload)
	}
	if r.verdict != decode.OK {
		s.addReady(src, 0, f, readyFrame, &r)
		return
	}
	to := s.worker(&r.packet.Src, &r.packet.Dst)
	if q := &r.packet.Quoted; q.Protocol != 0 && s.sample.has(&r.packet) {
		if other := s.worker(&q.Src, &q.Dst); other != to {
			s.addReady(src, other, f, quoteFrame, &r)
		}
	}
	s.addReady(src, to, f, readyFrame, &r)
}

func (s *spread) addReady(src capture.Source, to int, f *capture.Frame, kind frameKind, r *readyPacket) {
	p := s.filled[to]
	p.ready = append(p.ready, *r)
	s.add(src, to, f, kind)
}

// add puts f into the parcel of a worker, which holds its bytes from now on.
func (s *spread) add(src capture.Source, to int, f *capture.Frame, kind frameKind) {
	p := s.filled[to]
	if n := len(p.chunks); n == 0 || p.chunks[n-1] != s.chunk {
		s.chunk.Hold()
		p.chunks = append(p.chunks, s.chunk)
	}
	p.frames = append(p.frames, *f)
	p.clocks = append(p.clocks, s.clock.Now())
	p.kinds = append(p.kinds, kind)
	if len(p.frames) == parcelFrames {
		s.send(to, src)
	}
}

// handOver gives each worker what there is for it, be it only the time.
func (s *spread) handOver(src capture.Source) {
	for i := range s.to {
		s.send(i, src)
	}
	s.handed = time.Now()
}

// send gives worker i its parcel, and returns the next one to fill.
func (s *spread) send(i int, src capture.Source) *parcel {
	p := s.filled[i]
	p.names, p.now, p.limits = src.Interfaces(), s.clock.Now(), s.limits
	if p.stats = (capture.Stats{}); i == 0 {
		p.stats = src.Stats()
	}
	s.to[i] <- p
	s.filled[i] = <-s.free
	return s.filled[i]
}

// wait returns when the workers have given back all parcels.
func (s *spread) wait() {
	back := make([]*parcel, cap(s.free)-len(s.filled))
	for i := range back {
		back[i] = <-s.free
	}
	for _, p := range back {
		s.free <- p
	}
}

// eachFile opens one capture after another. A file that cannot be read does
// not keep the others.
func eachFile(ctx context.Context, files []string, set *settings, chunks *capture.Chunks, read func(capture.Source) error) error {
	var failed error
	for _, path := range files {
		if ctx.Err() != nil {
			return failed
		}
		src, err := capture.OpenFile(path, capture.FileOptions{Filter: set.now().filter, Chunks: chunks})
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		if err := read(src); err != nil {
			failed = errors.Join(failed, fmt.Errorf("read capture %s: %w", path, err))
		}
		src.Close()
	}
	return failed
}
