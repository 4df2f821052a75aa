package probe

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// What can change takes effect; the rest is logged and stays.
func TestReloadSaysWhatItDoes(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Capture.Files = []string{demo}
	set := newSettings(cfg.limits())
	in := &input{files: cfg.Capture.Files}
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	next := cfg
	next.Meter.IdleTimeout, next.Capture.SampleFlows, next.Topic = time.Minute, 8, "other"
	got := in.change(cfg, next, set, log)
	if got.Meter.IdleTimeout != time.Minute || got.Capture.SampleFlows != 8 || got.Topic != cfg.Topic || *set.now() != got.limits() {
		t.Errorf("now %+v", got)
	}
	for _, want := range []string{"a setting has changed\" key=meter.idle_timeout was=30s is=1m", "key=capture.sample_flows was=0 is=8", "waits for a restart\" key=topic"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("no line has %q:\n%s", want, said.String())
		}
	}
	said.Reset()
	if in.change(got, got, set, log); !strings.Contains(said.String(), "has not changed") {
		t.Error(said.String())
	}
	for key, take := range reloadable() {
		if take == nil || key == "" {
			t.Errorf("key %q", key)
		}
	}
}

// kept is a sink that adds up.
type kept struct {
	packets uint64
	records []flow.Record
}

func (k *kept) Add(r *flow.Record) { k.packets += r.Packets(); k.records = append(k.records, *r) }
func (k *kept) Cut()               {}

// A worker takes new limits between two blocks; no packet is lost by it, and a
// record is of one sampling rate.
func TestWorkerTakesNewLimits(t *testing.T) {
	cfg := DefaultConfig()
	set := newSettings(cfg.limits())
	w, err := newWorker(cfg, false, set, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	out := new(kept)
	w.sink = out
	src, err := capture.OpenFile(demo+"/2-attacks.pcap.gz", capture.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	frames := make([]capture.Frame, 100)
	for i := 0; ; i++ {
		n, err := capture.NextBlock(src, frames)
		if err != nil {
			break
		}
		switch i {
		case 20:
			cfg.Meter.UnansweredTimeout, cfg.Meter.MaxFlows = time.Second, 50
			set.set(cfg.limits())
		case 40:
			cfg.Capture.SamplePackets = 5
			set.set(cfg.limits())
		}
		w.apply(set.now())
		w.block(frames[:n])
	}
	w.finish()
	w.ledger.Take()
	totals := w.ledger.Totals()
	checkTotals(t, totals)
	var full, scaled uint64
	for _, r := range out.records {
		switch r.Sampling {
		case 0:
			full += r.Packets()
		case 5:
			scaled += r.Packets()
		default:
			t.Fatalf("sampling %d", r.Sampling)
		}
	}
	if full == 0 || scaled == 0 || full+scaled/5 != totals.FlowPackets || totals.FlowsStarted != totals.FlowsEnded {
		t.Errorf("%d packets in full, %d scaled; %+v", full, scaled, totals)
	}
}
