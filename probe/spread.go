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
// innermost addresses (capture.PairHash), so that both directions of a flow and
// the connections of two hosts meet in one worker. There is a fixed number of
// parcels: when no worker has given one back, the reader waits.
//
// The records are those of one worker: every packet carries the traffic time of
// the whole capture, all frames go through the one decoder, which remembers
// fragments, and an ICMP error is told to the worker of the flow that it quotes.
// That decoding is done here also costs least: a worker would have to fetch
// each header from the other core's cache, whereas packets lie in a row.
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
	names   []string         // of src's interfaces
	chunks  []*capture.Chunk // where the bytes of frames are
	frames  []capture.Frame
	packets []decode.Packet // what the frames hold
	fates   []fate
	clocks  []int64       // traffic time at each frame
	now     int64         // traffic time at the end
	stats   capture.Stats // of src; only the first worker gets them
	begin   bool          // of src
	limits  *limits       // in effect
}

// fate says what becomes of a frame: that of a decode.Verdict, or one of these.
type fate uint8

const (
	leftOut fate = iota + fate(decode.Verdicts) // by sampling
	quoting                                     // it quotes a flow here, and is counted elsewhere
)

const (
	parcelFrames = 128
	// parcelsQueued is how many parcels may wait for a worker: enough for some
	// milliseconds in which only another one has work.
	parcelsQueued = 8
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
		s.free <- &parcel{frames: make([]capture.Frame, 0, parcelFrames), packets: make([]decode.Packet, 0, parcelFrames),
			fates: make([]fate, 0, parcelFrames), clocks: make([]int64, 0, parcelFrames)}
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
		p.frames, p.packets, p.fates, p.clocks, p.chunks = p.frames[:0], p.packets[:0], p.fates[:0], p.clocks[:0], p.chunks[:0]
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
	w.mirror.On(w.interfaceName())
	w.ready(p)
	w.table.Follow(p.now)
	w.account(p.stats)
	now := time.Now()
	if w.keep != nil {
		w.keep.Tick(now)
	}
	if now.Sub(w.lastCut) >= cutEvery {
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

// deal decodes f and puts it into the parcel of its worker.
func (s *spread) deal(src capture.Source, f *capture.Frame) {
	if s.clock.Tick(f.Time) {
		s.handOver(src) // all learn of it, also those without frames now
	}
	if s.sample.skip() {
		s.add(src, 0, f, &decode.Packet{}, leftOut)
		return
	}
	p := &s.packet
	if decode.Simple(f, p) {
		to := s.worker(&p.Src, &p.Dst)
		if !s.sample.has(p) {
			s.add(src, to, f, p, leftOut)
			return
		}
		s.add(src, to, f, p, fate(decode.OK))
		return
	}
	s.dealRare(src, f)
}

func (s *spread) worker(a, b *flow.Addr) int {
	return int(capture.PairHash((*[16]byte)(a), (*[16]byte)(b)) % uint32(len(s.to)))
}

// dealRare takes what may be a fragment or an ICMP error, or no packet at all.
func (s *spread) dealRare(src capture.Source, f *capture.Frame) {
	if v := s.dec.Decode(f, &s.packet); v != decode.OK {
		s.add(src, 0, f, &decode.Packet{}, fate(v))
		return
	}
	p := s.packet
	// What was put together of fragments is the decoder's own.
	p.Reassembled = slices.Clone(p.Reassembled)
	if !within(f.Data, p.Payload) {
		p.Payload = slices.Clone(p.Payload)
	}
	to := s.worker(&p.Src, &p.Dst)
	if !s.sample.has(&p) {
		s.add(src, to, f, &p, leftOut)
		return
	}
	if q := &p.Quoted; q.Protocol != 0 {
		if other := s.worker(&q.Src, &q.Dst); other != to {
			s.add(src, other, f, &p, quoting)
		}
	}
	s.add(src, to, f, &p, fate(decode.OK))
}

// add puts f and its packet into the parcel of a worker, which holds the bytes
// from now on.
func (s *spread) add(src capture.Source, to int, f *capture.Frame, packet *decode.Packet, what fate) {
	p := s.filled[to]
	if n := len(p.chunks); n == 0 || p.chunks[n-1] != s.chunk {
		s.chunk.Hold()
		p.chunks = append(p.chunks, s.chunk)
	}
	p.frames = append(p.frames, *f)
	p.packets = append(p.packets, *packet)
	p.fates = append(p.fates, what)
	p.clocks = append(p.clocks, s.clock.Now())
	if len(p.frames) == parcelFrames {
		s.send(to, src)
	}
}

// ready takes the packets of p, in runs between which nothing else is to be done.
func (w *worker) ready(p *parcel) {
	begin := 0
	for i := range p.frames {
		f := &p.frames[i]
		second := floorSecond(f.Time)
		if p.fates[i] == fate(decode.OK) && second == w.second && f.Interface == w.face {
			w.counted(f, &p.packets[i])
			continue
		}
		w.observe(p.packets[begin:i], p.clocks[begin:i])
		begin = i
		w.face = f.Interface
		w.mirror.On(w.interfaceName())
		if second != w.second {
			w.at(second)
		}
		switch what := p.fates[i]; what {
		case fate(decode.OK):
			w.counted(f, &p.packets[i])
			continue
		case quoting:
			w.table.Follow(p.clocks[i])
			w.table.Quote(&p.packets[i])
		case leftOut:
			w.ledger.Lost(flow.LossSampled, 1, uint64(f.Len))
		default:
			w.ledger.Lost(decode.Verdict(what).String(), 1, uint64(f.Len))
			w.store(f, nil)
		}
		begin = i + 1
	}
	w.observe(p.packets[begin:], p.clocks[begin:])
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
