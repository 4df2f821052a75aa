package collector_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/flowpb"
)

// peak is the most memory that a process has had, in octets.
func peak(t testing.TB, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skipf("the memory of a process cannot be read here: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}

// TestBombs: messages made to take memory take none: a gigabyte of zeros in 32 kB,
// nine megabytes of noise, a million repeated fields; numbers that are none.
// What is odd but whole, a time of 1970, is stored; the neighbours are, too.
func TestBombs(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	cfg := r.cfg
	cfg.Rollup.Interval = 0
	g := newGenerator(1, "a")
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 64<<20)
	var bomb bytes.Buffer
	w, err := zstd.NewWriter(&bomb)
	if err != nil {
		t.Fatal(err)
	}
	for range 16 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 9<<20)
	for i := range noise {
		noise[i] = byte(g.rnd.Uint32())
	}
	odd := func(seq uint64, r *flow.Record) []byte {
		e := flow.NewEncoder()
		e.Add(r)
		value, err := e.Seal(&flowpb.FlowBatch{Probe: "odd", Epoch: 1, Seq: seq})
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	strange := odd(1, &flow.Record{Start: 0, End: 1})
	good := [][]byte{g.batch(t, 2000, monday, time.Minute), strange, g.batch(t, 2000, monday, time.Minute)}
	produce(t, r.client, cfg.Topic, 0, good[0])
	cmd := r.process(cfg)
	r.until("SELECT count() FROM flows", 2000, 60*time.Second)
	before := peak(t, cmd.Process.Pid)
	produce(t, r.client, cfg.Topic, 0, odd(2, &flow.Record{Start: monday.UnixNano(), SrcSizeStd: float32(math.NaN())}))
	bad := 1
	for range 6 {
		produce(t, r.client, cfg.Topic, 0, bomb.Bytes(), noise, encoder.EncodeAll(zeros, nil), encoder.EncodeAll(bytes.Repeat([]byte{0x0a, 0x00}, 4<<20), nil))
		bad += 4
	}
	produce(t, r.client, cfg.Topic, 0, good[1:]...)
	r.until("SELECT count() FROM flows", 4001, 60*time.Second)
	r.until("SELECT count() FROM batches FINAL WHERE status = 'quarantined'", uint64(bad), 60*time.Second)
	r.want("SELECT count() FROM flows WHERE probe = 'odd' AND toYear(start) = 1970", 1)
	after := peak(t, cmd.Process.Pid)
	t.Logf("peak %d MiB before, %d MiB after", before>>20, after>>20)
	if after-before > 64<<20 {
		t.Errorf("%d bad messages took %d MiB", bad, (after-before)>>20)
	}
}
