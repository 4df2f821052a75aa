package capture

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tapwatch/tapwatch/probe/corpus"
)

// inBlocks reads a capture in blocks of that many frames, 0: by Next, and gives
// each frame its own bytes.
func inBlocks(t *testing.T, path string, opt FileOptions, block int) (frames []Frame, st Stats, last error) {
	t.Helper()
	src, err := OpenFile(path, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	keep := func(fs []Frame) {
		for _, f := range fs {
			f.Data = bytes.Clone(f.Data)
			frames = append(frames, f)
		}
	}
	room := make([]Frame, max(block, 1))
	for last == nil {
		n := 1
		if block == 0 {
			last = src.Next(&room[0])
		} else {
			n, last = NextBlock(src, room)
		}
		switch {
		case last == ErrTimeout:
			last = nil
		case last != nil:
		case n < 1 || n > len(room):
			t.Fatalf("%d frames in a block of %d", n, len(room))
		default:
			keep(room[:n])
		}
	}
	return frames, src.Stats(), last
}

// TestBlocksAreTheFrames: blocks hold what Next gives, and their bytes stay in
// place until the next block, however a file is read.
func TestBlocksAreTheFrames(t *testing.T) {
	dir := corpus.Dir(t)
	files := []string{filepath.Join(dir, "bench/mix.pcap"), filepath.Join(dir, "zeek/dns-tcp-multi-message.pcap")}
	more, _ := filepath.Glob(filepath.Join(dir, "wireshark/*.pcapng*"))
	demo, _ := filepath.Glob("../../deploy/demo/captures/*.gz")
	for _, path := range slices.Concat(files, more[:min(len(more), 5)], demo) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			if src, err := OpenFile(path, FileOptions{}); err != nil {
				t.Skip(err)
			} else {
				src.Close()
			}
			want, wantStats, wantErr := inBlocks(t, path, FileOptions{}, 0)
			for _, block := range []int{1, 7, 64} {
				for _, opt := range ways() {
					got, st, err := inBlocks(t, path, opt, block)
					if len(got) != len(want) || st.Received != wantStats.Received || st.ReceivedBytes != wantStats.ReceivedBytes ||
						errors.Is(err, io.EOF) != errors.Is(wantErr, io.EOF) {
						t.Fatalf("blocks of %d, %+v: (-got +want)\n-%d frames, %v\n+%d frames, %v", block, opt, len(got), err, len(want), wantErr)
					}
					for i := range got {
						g, w := got[i], want[i]
						if g.Time != w.Time || g.Len != w.Len || g.LinkType != w.LinkType || g.Interface != w.Interface || !bytes.Equal(g.Data, w.Data) {
							t.Fatalf("blocks of %d, %+v: frame %d is %+v, want %+v", block, opt, i, g, w)
						}
					}
				}
			}
		})
	}
}

// TestBlockEndsBeforeError: what was read before the damage is handed out.
func TestBlockEndsBeforeError(t *testing.T) {
	whole := threePackets()
	for _, cut := range []int{1, 17} {
		path := writeFile(t, "cut.pcap", whole[:len(whole)-cut])
		for _, opt := range ways() {
			one, _, _ := inBlocks(t, path, opt, 0)
			got, st, err := inBlocks(t, path, opt, 64)
			if len(got) != len(one) || !errors.Is(err, io.EOF) || !errors.Is(st.Truncation, ErrTruncatedFile) {
				t.Errorf("%d frames, want %d; %v, %v", len(got), len(one), err, st.Truncation)
			}
		}
	}
}
