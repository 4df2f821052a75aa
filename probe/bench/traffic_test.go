package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/probe"
)

// The traffic that is measured is what it says: so many connections, each with
// its handshake and nothing sent twice or lost, in any tunnel.
func TestTrafficIsSound(t *testing.T) {
	for _, tr := range []traffic{{flows: 300, packets: 1}, {flows: 300, packets: 3}, {flows: 300, packets: 9, payload: 100},
		{flows: 300, packets: 9, payload: 100, tunnel: "vlan"}, {flows: 300, packets: 9, payload: 100, tunnel: "gre"}, {flows: 300, packets: 9, payload: 100, tunnel: "vxlan"}} {
		path := filepath.Join(t.TempDir(), "t.pcap")
		if err := write(path, tr); err != nil {
			t.Fatal(err)
		}
		cfg := probe.DefaultConfig()
		cfg.Capture.Files = []string{path}
		var out strings.Builder
		totals, err := probe.Flows(context.Background(), cfg, probe.FormatJSON, &out, slog.New(slog.DiscardHandler))
		if err != nil || totals.FlowPackets != uint64(tr.flows*tr.packets) || totals.FlowsStarted != uint64(tr.flows) {
			t.Errorf("%+v: %+v, %v", tr, totals, err)
		}
		for dec := json.NewDecoder(strings.NewReader(out.String())); ; {
			var r struct {
				Tunnel         string `json:"tunnel"`
				VLAN           int    `json:"vlan"`
				History        string `json:"history"`
				SrcRetransmits int    `json:"src_retransmits"`
				DstRetransmits int    `json:"dst_retransmits"`
				SrcOutOfOrder  int    `json:"src_out_of_order"`
			}
			if err := dec.Decode(&r); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			want := map[int]string{1: "S", 3: "ShA", 9: "ShDd"}[tr.packets]
			if r.History != want || r.SrcRetransmits+r.DstRetransmits+r.SrcOutOfOrder != 0 || tr.tunnel != "vlan" && r.Tunnel != tr.tunnel || (r.VLAN == 7) != (tr.tunnel == "vlan") {
				t.Fatalf("%+v: %+v", tr, r)
			}
		}
	}
}
