package contract

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/dpi"
	"github.com/tapwatch/tapwatch/probe/meter"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// FuzzProbe reads any file as a capture through the whole chain up to the
// records: nothing panics, what is read is in records or verdicts, and files of
// a few octets open no large ones.
func FuzzProbe(f *testing.F) {
	f.Add(soundPcap())
	f.Add(soundPcapng())
	for _, h := range streams() {
		var b bytes.Buffer
		h.write(newWire(&b, 1), 12)
		if b.Len() < 20_000 {
			f.Add(b.Bytes())
		}
	}
	for _, link := range linkTypes {
		b := soundPcap()
		b[20] = byte(link)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		src, err := capture.OpenFile(path, capture.FileOptions{})
		if err != nil {
			return
		}
		defer src.Close()
		var packets, octets, inRecords, inOctets uint64
		dec := decode.New(decode.Config{Fragments: 8, FragmentBytes: 1 << 16})
		in := dpi.NewInspector(dpi.Config{BufferBytes: 64 << 10, InternStrings: 16})
		tbl := meter.New(meter.Config{MaxFlows: 8, FloodRate: 2}, in, func(r *flow.Record) {
			inRecords += r.Packets()
			inOctets += r.FrameBytes()
		})
		var fr capture.Frame
		var p decode.Packet
		for {
			if err := src.Next(&fr); err == io.EOF || errors.Is(err, capture.ErrCorrupt) {
				break
			} else if err != nil {
				return // of decompression
			}
			if dec.Decode(&fr, &p) == decode.OK {
				packets++
				octets += uint64(fr.Len)
				tbl.Observe(&p)
			}
		}
		tbl.Flush(flow.EndForced)
		if packets != inRecords || octets != inOctets || tbl.Stats().FlowsStarted != tbl.Stats().FlowsEnded {
			t.Fatalf("%d packets %d octets, in records %d, %d; %+v", packets, octets, inRecords, inOctets, tbl.Stats())
		}
	})
}
