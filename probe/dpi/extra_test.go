package dpi

import (
	"testing"

	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/probe/plugin"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// A user's recognisers name what the package does not know, over TCP in pieces and over UDP, and take nothing from it.
func TestExtraRecognisers(t *testing.T) {
	list, err := plugin.ParsePatterns([]byte("patterns: [{app: acme, match: [{text: 'ACME/1 hello'}]}, {app: mine, match: [{text: 'GET /'}]}]"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		protocol uint8
		pieces   []string
		app      string
	}{
		{protoTCP, []string{"ACME/1 hello world"}, "acme"}, {protoTCP, []string{"ACME", "/1 hel", "lo"}, "acme"}, {protoUDP, []string{"ACME/1 hello"}, "acme"},
		{protoTCP, []string{"GET / HTTP/1.1\r\nHost: a\r\n\r\n"}, "http"}, {protoUDP, []string{"BCME/1 hello"}, "unknown"},
	} {
		cfg := DefaultConfig()
		cfg.Recognisers = list
		in := NewInspector(cfg)
		rec := &flow.Record{Protocol: c.protocol, SrcPort: 40000, DstPort: 7777}
		var st *State
		seq := uint32(1)
		for _, piece := range c.pieces {
			p := decode.Packet{Protocol: c.protocol, SrcPort: 40000, DstPort: 7777, Payload: []byte(piece), PayloadLen: uint32(len(piece)), Seq: seq, Flags: decode.ACK}
			seq += uint32(len(piece))
			st, _ = in.Inspect(st, &p, true, rec)
		}
		in.Close(st, rec)
		if rec.App != c.app {
			t.Errorf("%q: %q, want %q", c.pieces, rec.App, c.app)
		}
	}
}
