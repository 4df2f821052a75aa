package importer

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/analyzer/importer/zeek"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit/ops"
)

// Bounds of following.
const (
	pollEvery = 2 * time.Second // Zeek writes its logs once a second; conn.log waits a poll for the others
	perChunk  = 250             // connections in a batch, few enough that they are never two
	forget    = 24 * time.Hour  // how long lines wait for their connection, in the logs' time
)

// Follow imports Zeek logs that grow, and goes on with the new file when Zeek
// rotates them, until ctx ends. files are the current logs, such as
// current/conn.log and current/dns.log. What was read is remembered in cfg.State: a batch is
// noted there before it is made and again when Kafka has it, so that after a crash the very
// same lines make the very same batch, and the collector drops it if it is there already.
func Follow(ctx context.Context, cfg Config, files []string) (source.Tally, error) {
	if err := cfg.Check(); err != nil {
		return source.Tally{}, err
	}
	o, err := ops.New("import", cfg.Ops)
	if err != nil {
		return source.Tally{}, err
	}
	publish, closeKafka, err := direct(ctx, cfg, o)
	if err != nil {
		return source.Tally{}, err
	}
	defer closeKafka()
	f, err := newFollower(cfg, files, publish)
	if err != nil {
		return source.Tally{}, err
	}
	defer f.close()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if err := f.poll(ctx); err != nil {
			return f.zeek.Tally, err
		}
		select {
		case <-ctx.Done():
			return f.zeek.Tally, nil
		case <-tick.C:
		}
	}
}

// follower reads growing logs.
type follower struct {
	state *followState
	zeek  *zeek.Importer
	sink  *Batches
	files []*growing
	late  time.Duration
}

// growing is a log that grows.
type growing struct {
	path    string
	conn    bool
	f       *os.File
	at      int64 // octets read
	seen    int64 // octets that were there at the poll before
	line    int64
	header  []byte // its last header lines
	rotated bool   // another file has its name: what is left of this one, and then that
}

func newFollower(cfg Config, files []string, publish Publish) (*follower, error) {
	state, err := openState(cfg.State)
	if err != nil {
		return nil, err
	}
	f := &follower{state: state, zeek: zeek.New(), late: cfg.Lateness}
	f.sink = NewBatches(context.Background(), cfg.Name, cfg.Site, publish)
	f.sink.live, f.sink.perBatch = true, flow.MaxRecords
	f.zeek.Lost = f.sink.Lost
	for _, path := range files {
		f.files = append(f.files, &growing{path: path, conn: zeek.Kind(path) == "conn"})
	}
	// Other logs first: conn.log claims what they say.
	slices.SortStableFunc(f.files, func(a, b *growing) int {
		switch {
		case a.conn == b.conn:
			return 0
		case a.conn:
			return 1
		}
		return -1
	})
	return f, nil
}

func (f *follower) close() {
	f.state.lock.Close()
	for _, g := range f.files {
		if g.f != nil {
			g.f.Close()
		}
	}
}

// poll reads what has come since the poll before.
func (f *follower) poll(ctx context.Context) error {
	for _, g := range f.files {
		for {
			if err := g.open(f.state); err != nil {
				return err
			}
			if g.f == nil {
				break
			}
			if err := f.read(ctx, g); err != nil {
				return err
			}
			if !g.rotated {
				break
			}
			if g.conn {
				if err := f.end(g); err != nil {
					return err
				}
			}
			g.f.Close()
			*g = growing{path: g.path, conn: g.conn}
		}
	}
	if f.sink.clock > 0 {
		f.zeek.Expire(f.sink.clock - int64(forget))
	}
	return nil
}

// open opens a log that is there, and finds out whether the open one was rotated away.
func (g *growing) open(state *followState) error {
	info, err := os.Stat(g.path)
	if errors.Is(err, os.ErrNotExist) {
		g.rotated = false // between two files: what is open may still get its last lines
		return nil
	}
	if err != nil {
		return fmt.Errorf("follow log: %w", err)
	}
	if g.f != nil {
		have, err := g.f.Stat()
		if err != nil {
			return fmt.Errorf("follow log: %w", err)
		}
		g.rotated = !os.SameFile(info, have) || info.Size() < g.at
		return nil
	}
	path := g.path
	log := state.Logs[g.path]
	if g.conn && log != nil && !log.same(path) {
		// Rotated while nobody followed: the rest of the old file, if it is still beside the new one.
		if path = log.find(g.path); path == "" {
			delete(state.Logs, g.path)
			path, log = g.path, nil
		} else {
			g.rotated = true
		}
	}
	if g.f, err = os.Open(path); err != nil {
		return fmt.Errorf("follow log: %w", err)
	}
	if g.conn && log != nil {
		g.at, g.line, g.header = log.Offset, log.Line, log.Header
		g.seen = g.at
	}
	return nil
}

// read reads the lines that are complete; of conn.log those that were at the poll before, so that the other logs have theirs.
func (f *follower) read(ctx context.Context, g *growing) error {
	info, err := g.f.Stat()
	if err != nil {
		return fmt.Errorf("follow log: %w", err)
	}
	end := info.Size()
	if g.conn && !g.rotated {
		end, g.seen = g.seen, end
	}
	if g.conn {
		if err := f.again(ctx, g); err != nil {
			return err
		}
	}
	for g.at < end {
		chunk, n, lines, err := g.chunk(end)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		f.zeek.Line = g.line - int64(bytes.Count(g.header, []byte("\n")))
		if g.conn {
			err = f.batch(ctx, g, g.at+n, chunk)
		} else {
			err = f.zeek.Others(ctx, g.path, io.MultiReader(bytes.NewReader(g.header), bytes.NewReader(chunk)))
		}
		if err != nil {
			return err
		}
		g.at += n
		g.line += lines
		g.note(chunk)
		if g.conn {
			if err := f.done(g); err != nil {
				return err
			}
		}
	}
	return nil
}

// chunk reads whole lines from where the log was read to, at most perChunk of them, up to end.
func (g *growing) chunk(end int64) (b []byte, n, lines int64, err error) {
	r := source.NewLines(io.NewSectionReader(g.f, g.at, end-g.at))
	for lines < perChunk {
		line, ok := r.Next()
		if !ok {
			break
		}
		if !g.whole(r.Offset()) && !g.rotated {
			break // its rest is still to be written
		}
		b, n, lines = append(append(b, line...), '\n'), r.Offset(), lines+1
	}
	return b, n, lines, r.Err()
}

// whole says whether the octet before an offset of the unread part ends a line.
func (g *growing) whole(offset int64) bool {
	var last [1]byte
	_, err := g.f.ReadAt(last[:], g.at+offset-1)
	return err == nil && last[0] == '\n'
}

// note keeps the header lines of a chunk for those that follow.
func (g *growing) note(chunk []byte) {
	for line := range bytes.Lines(chunk) {
		if bytes.HasPrefix(line, []byte("#separator")) {
			g.header = nil
		}
		if bytes.HasPrefix(line, []byte("#")) && len(g.header) < source.MaxLine {
			g.header = append(g.header, line...)
		}
	}
}

// batch makes a batch of the lines of conn.log up to an offset.
func (f *follower) batch(ctx context.Context, g *growing, to int64, chunk []byte) error {
	log := f.state.log(g)
	if log.Pending != to {
		log.Pending = to
		if err := f.state.write(); err != nil {
			return err
		}
	}
	f.sink.epoch, f.sink.seq, f.zeek.First = log.Epoch, log.Seq, log.FlowID
	err := f.zeek.Connections(ctx, g.path, io.MultiReader(bytes.NewReader(g.header), bytes.NewReader(chunk)), func(r *flow.Record) error {
		log.made = r.FlowID
		return f.sink.Add(r)
	})
	if err != nil {
		return err
	}
	f.sink.watermark = max(f.sink.clock-int64(f.late), 0)
	return f.sink.cut(false)
}

// done notes that a batch is in Kafka.
func (f *follower) done(g *growing) error {
	log := f.state.log(g)
	log.Offset, log.Line, log.Header, log.Pending = g.at, g.line, g.header, 0
	log.Seq, log.FlowID = f.sink.seq, max(log.FlowID, log.made)
	log.fingerprint(g.f)
	return f.state.write()
}

// again makes the batch that was noted when the process ended: of the same lines.
func (f *follower) again(ctx context.Context, g *growing) error {
	log := f.state.Logs[g.path]
	if log == nil || log.Pending <= g.at {
		return nil
	}
	chunk, n, lines, err := g.chunk(log.Pending)
	if err != nil {
		return err
	}
	if g.at+n != log.Pending {
		return fmt.Errorf("follow log %s: it has changed before octet %d", g.path, log.Pending)
	}
	if err := f.batch(ctx, g, log.Pending, chunk); err != nil {
		return err
	}
	g.at += n
	g.line += lines
	g.note(chunk)
	return f.done(g)
}

// end says the end of the stream of a file that was rotated away.
func (f *follower) end(g *growing) error {
	log := f.state.Logs[g.path]
	if log == nil {
		return nil
	}
	f.sink.epoch, f.sink.seq = log.Epoch, log.Seq
	if err := f.sink.Close(); err != nil {
		return err
	}
	delete(f.state.Logs, g.path)
	return f.state.write()
}

// newEpoch is random: how a growing file is cut depends on when it grows.
func newEpoch() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return max(binary.LittleEndian.Uint64(b[:]), 1)
}

// find looks for a rotated log beside its former place, packed ones left aside.
func (l *logState) find(path string) string {
	names, _ := filepath.Glob(filepath.Join(filepath.Dir(path), zeek.Kind(path)+"*"))
	for _, name := range slices.Sorted(slices.Values(names)) {
		if name != path && l.same(name) {
			return name
		}
	}
	return ""
}
