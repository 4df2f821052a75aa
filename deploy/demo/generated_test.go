package demo

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/deploy/demo/trace"
	"github.com/tapwatch/tapwatch/deploy/lab/scene"
)

// TestGenerated holds the generated capture and its truth against their generator.
func TestGenerated(t *testing.T) {
	w := scene.New(1, 20)
	w.Demo(time.Date(2026, 11, 9, 0, 0, 0, 0, time.UTC))
	var capture, truth bytes.Buffer
	if err := w.Capture(&capture); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteTruth(&truth); err != nil {
		t.Fatal(err)
	}
	want, err := trace.Read(&capture)
	if err != nil {
		t.Fatal(err)
	}
	got, err := trace.ReadFile(filepath.Join("generated", "1-more-attacks.pcap.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d packets, the generator makes %d", len(got), len(want))
	}
	for n := range got {
		if got[n].Time != want[n].Time || got[n].Length != want[n].Length || !bytes.Equal(got[n].Data, want[n].Data) {
			t.Fatalf("packet %d differs from what the generator makes", n+1)
		}
	}
	text, err := os.ReadFile(filepath.Join("generated", "truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, truth.Bytes()) {
		t.Error("generated/truth.json differs from what the generator says")
	}
	if info, err := os.Stat(filepath.Join("generated", "1-more-attacks.pcap.gz")); err != nil || info.Size() > 1e6 {
		t.Errorf("generated capture: %v, %v, want at most 1 000 000 octets", info.Size(), err)
	}
}
