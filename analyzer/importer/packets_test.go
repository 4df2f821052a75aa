package importer

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
)

func TestPacketsTry(t *testing.T) {
	files, _ := filepath.Glob("/tmp/nf/w*.raw")
	files = append(files, "/tmp/nf/corp/pcap/netflow-fritz.pcap", "/tmp/nf/corp/pcap/netflowv9.pcap", "/tmp/nf/corp/pcap/sflow.pcap")
	for _, f := range files {
		var k kept
		tally, err := Packets(context.Background(), []string{f}, &k)
		fmt.Println(f, tally.String(), err)
		for i, r := range k.records {
			if i < 6 {
				fmt.Println("  ", r.StartTime(), r.SrcIP, r.SrcPort, r.DstIP, r.DstPort, r.Protocol, r.SrcPackets, r.DstPackets, r.SrcBytes, r.DstBytes, r.SrcPayloadBytes, r.DstPayloadBytes, r.ConnState, r.InitiatorGuessed, r.Segment, r.Interface, r.Sampling, r.Origin, r.EndReason)
			}
		}
	}
}
