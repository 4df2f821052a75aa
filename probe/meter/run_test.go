package meter

import (
	"errors"
	"io"
	"testing"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// totals is what a capture holds and what became of it.
type totals struct {
	packets, frameBytes         uint64 // in the file
	flowPackets, flowFrameBytes uint64 // in records
	lost                        [decode.Verdicts]uint64
	lostBytes                   uint64
	records                     int
}

// run sends a capture through Decode and Observe.
func run(t testing.TB, path string, cfg Config, in *dpi.Inspector, emit func(*flow.Record)) (n totals) {
	t.Helper()
	src, err := capture.OpenFile(path, capture.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dec := decode.New(decode.DefaultConfig())
	tbl := New(cfg, in, func(r *flow.Record) {
		n.records++
		n.flowPackets += r.Packets()
		n.flowFrameBytes += r.FrameBytes()
		emit(r)
	})
	var f capture.Frame
	var p decode.Packet
	for {
		if err := src.Next(&f); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, capture.ErrCorrupt) && !errors.Is(err, capture.ErrTruncatedFile) {
				t.Fatal(err)
			}
			break
		}
		n.packets++
		n.frameBytes += uint64(f.Len)
		if v := dec.Decode(&f, &p); v != decode.OK {
			n.lost[v]++
			n.lostBytes += uint64(f.Len)
			continue
		}
		tbl.Observe(&p)
	}
	tbl.Flush(flow.EndForced)
	if tbl.Open() != 0 {
		t.Errorf("%d flows open after Flush", tbl.Open())
	}
	return n
}
