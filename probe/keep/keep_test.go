package keep

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/decode"
)

// frame is a frame of its own, with what the decoder made of it.
type frame struct {
	capture.Frame
	iface   string
	packet  decode.Packet
	decoded bool
}

// readFrames reads a capture, at most limit frames; 0: all.
func readFrames(t testing.TB, path string, limit int) []frame {
	t.Helper()
	src, err := capture.OpenFile(path, capture.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dec := decode.New(decode.DefaultConfig())
	var list []frame
	for limit == 0 || len(list) < limit {
		var f frame
		if err := src.Next(&f.Frame); errors.Is(err, io.EOF) {
			break
		} else if errors.Is(err, capture.ErrTimeout) {
			continue
		} else if err != nil {
			t.Logf("%s: %v", path, err)
			break
		}
		f.Data = slices.Clone(f.Data)
		f.decoded = dec.Decode(&f.Frame, &f.packet) == decode.OK
		if names := src.Interfaces(); int(f.Interface) < len(names) {
			f.iface = names[f.Interface]
		}
		list = append(list, f)
	}
	return list
}

// testConfig has small blocks and segments, so that there are many.
func testConfig(t testing.TB) Config {
	cfg := DefaultConfig()
	cfg.Dir = t.TempDir()
	cfg.MaxBytes, cfg.MinFree, cfg.MaxAge, cfg.CutoffBytes = 1<<30, 0, 0, 0
	cfg.BlockBytes, cfg.SegmentBytes = 64<<10, 256<<10
	return cfg
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func openRing(t testing.TB, cfg Config) *Ring {
	t.Helper()
	r, err := Open(cfg, quiet(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func (f *frame) add(w *Writer) {
	if f.decoded {
		w.Add(&f.Frame, &f.packet, f.iface)
	} else {
		w.Add(&f.Frame, nil, f.iface)
	}
}

// fill keeps frames and closes the ring.
func fill(t testing.TB, cfg Config, frames []frame) Stats {
	t.Helper()
	r := openRing(t, cfg)
	w := r.Writer(0)
	w.Wait = true
	for i := range frames {
		frames[i].add(w)
	}
	w.Close()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return r.Stats()
}

// found is what Find gives, read back.
func found(t testing.TB, r *Ring, q Query) []frame {
	t.Helper()
	var out bytes.Buffer
	res, err := r.Find(context.Background(), q, &out, Limits{})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	if int(res.Bytes) != out.Len() {
		t.Fatalf("the result tells of %d bytes, %d came", res.Bytes, out.Len())
	}
	list := reread(t, out.Bytes())
	if int(res.Packets) != len(list) {
		t.Fatalf("the result tells of %d packets, %d came", res.Packets, len(list))
	}
	return list
}

func reread(t testing.TB, file []byte) []frame {
	t.Helper()
	path := filepath.Join(t.TempDir(), "found")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return readFrames(t, path, 0)
}

// inOrder is frames as Find gives them: by time, equal times as they came.
func inOrder(frames []frame) []frame {
	list := slices.Clone(frames)
	slices.SortStableFunc(list, func(a, b frame) int {
		switch {
		case a.Time < b.Time:
			return -1
		case a.Time > b.Time:
			return 1
		}
		return 0
	})
	return list
}

// same compares frames.
func same(t testing.TB, what string, got, want []frame) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d packets, %d are right", what, len(got), len(want))
		return
	}
	for i := range got {
		g, w := &got[i], &want[i]
		if g.Time != w.Time || g.Len != w.Len || g.LinkType != w.LinkType || !bytes.Equal(g.Data, w.Data) {
			t.Errorf("%s: packet %d: time %d, length %d, link type %d, %d octets; %d, %d, %d, %d are right, or the octets differ", what, i+1,
				g.Time, g.Len, g.LinkType, len(g.Data), w.Time, w.Len, w.LinkType, len(w.Data))
			return
		}
	}
}

// keyOf is a flow's identity, the same for both directions.
func keyOf(p *decode.Packet) flowKey {
	k := flowKey{src: p.Src, dst: p.Dst, srcPort: p.SrcPort, dstPort: p.DstPort, protocol: p.Protocol}
	if bytes.Compare(k.src[:], k.dst[:]) > 0 || k.src == k.dst && k.srcPort > k.dstPort {
		k.src, k.dst, k.srcPort, k.dstPort = k.dst, k.src, k.dstPort, k.srcPort
	}
	return k
}

// endsOf are the conditions for one flow.
func endsOf(k flowKey) Query {
	return Query{Src: k.src.Netip(), Dst: k.dst.Netip(), SrcPort: int(k.srcPort), DstPort: int(k.dstPort), Protocol: int(k.protocol)}
}

func writeFile(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
