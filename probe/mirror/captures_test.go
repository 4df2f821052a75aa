package mirror

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/probe/meter"
	"github.com/tapwatch/tapwatch/proto/flow"
)

var update = flag.Bool("update", false, "write golden files anew")

// observe sends the frames of src through decoder, flow table and o, as a worker does.
func observe(t testing.TB, o *Observer, src capture.Source) {
	t.Helper()
	dec := decode.New(decode.DefaultConfig())
	table := meter.New(meter.DefaultConfig(), dpi.NewInspector(dpi.DefaultConfig()), o.Record)
	var f capture.Frame
	var p decode.Packet
	for {
		if err := src.Next(&f); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, capture.ErrCorrupt) {
				t.Fatal(err)
			}
			break
		}
		name := ""
		if names := src.Interfaces(); int(f.Interface) < len(names) {
			name = names[f.Interface]
		}
		if dec.Decode(&f, &p) == decode.OK {
			o.On(name)
			o.Packet(&f, &p)
			table.ObserveOn(&p, name)
		}
	}
	table.Flush(flow.EndForced)
}

func observeFile(t testing.TB, o *Observer, path string) {
	t.Helper()
	src, err := capture.OpenFile(path, capture.FileOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	observe(t, o, src)
}

// TestRealCaptures: what is found in the real captures, all of which were looked at: testdata/real.golden says why each finding is right.
// Nothing may be found in any other.
func TestRealCaptures(t *testing.T) {
	var got strings.Builder
	for _, c := range corpus.Captures(t) {
		o := New(DefaultConfig())
		observeFile(t, o, c.Path)
		for _, f := range o.Findings() {
			fmt.Fprintf(&got, "%s: %s %s: %s\n", c.Name, f.Severity, f.Kind, f.Text)
		}
	}
	golden := filepath.Join("testdata", "real.golden")
	old, _ := os.ReadFile(golden)
	reasons, want := make(map[string]string), new(strings.Builder) // a line that begins with # explains the one above
	last := ""
	for line := range strings.Lines(string(old)) {
		if strings.HasPrefix(line, "#") {
			reasons[last] += line
			continue
		}
		last = line
		want.WriteString(line)
	}
	if *update {
		var b strings.Builder
		b.WriteString(reasons[""])
		for line := range strings.Lines(got.String()) {
			b.WriteString(line + reasons[line])
		}
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got.String() != want.String() {
		t.Errorf("(-got +want)\n-%s\n+%s", &got, want)
	}
	for line := range strings.Lines(want.String()) {
		if reasons[line] == "" {
			t.Errorf("no reason is given for: %s", line)
		}
	}
}
