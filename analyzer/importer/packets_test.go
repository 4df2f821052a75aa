package importer

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// counters of a flow, by its key as "src:port>dst:port/protocol".
type counters struct{ srcPackets, dstPackets, srcBytes, dstBytes uint64 }

func keyOf(r *flow.Record) string {
	return fmt.Sprintf("%s:%d>%s:%d/%d", r.SrcIP, r.SrcPort, r.DstIP, r.DstPort, r.Protocol)
}

// zeekCounters are those of Zeek's conn.log of the same capture; without IPv6 where asked for.
func zeekCounters(t *testing.T, path string, only4 bool) map[string]counters {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := make(map[string]counters)
	var column map[string]int
	for lines := bufio.NewScanner(f); lines.Scan(); {
		cells := strings.Split(lines.Text(), "\t")
		if cells[0] == "#fields" {
			column = make(map[string]int)
			for i, name := range cells[1:] {
				column[name] = i
			}
		}
		if strings.HasPrefix(cells[0], "#") || only4 && strings.Contains(cells[column["id.orig_h"]], ":") {
			continue
		}
		n := func(name string) uint64 {
			v, _ := strconv.ParseUint(cells[column[name]], 10, 64)
			return v
		}
		proto := map[string]int{"tcp": 6, "udp": 17, "icmp": 58}[cells[column["proto"]]]
		key := fmt.Sprintf("%s:%s>%s:%s/%d", cells[column["id.orig_h"]], cells[column["id.orig_p"]], cells[column["id.resp_h"]], cells[column["id.resp_p"]], proto)
		all[key] = counters{n("orig_pkts"), n("resp_pkts"), n("orig_ip_bytes"), n("resp_ip_bytes")}
	}
	return all
}

// What softflowd exported of a capture is what Zeek saw in it: the same flows in the same
// direction, to the packet and octet, from each version of the protocol.
func TestExportsAreTheFlowsOfZeek(t *testing.T) {
	conn := filepath.Join(captures(t), "zeek/expected/wikipedia.pcap/opt.basic/conn.log")
	for file, origin := range map[string]string{"wikipedia.netflow5": "netflow5", "wikipedia.netflow9": "netflow9", "wikipedia.ipfix": "ipfix", "wikipedia-biflow.ipfix": "ipfix"} {
		t.Run(file, func(t *testing.T) {
			want := zeekCounters(t, conn, origin == "netflow5")
			var k kept
			tally, err := Packets(context.Background(), []string{filepath.Join("testdata", file)}, &k)
			if err != nil {
				t.Fatal(err)
			}
			if tally.Read != tally.Converted+tally.Joined+tally.Lost() || len(tally.Skipped) > 1 {
				t.Errorf("%s", tally.String())
			}
			turned := 0
			for _, r := range k.records {
				got := counters{r.SrcPackets, r.DstPackets, r.SrcBytes, r.DstBytes}
				w, ok := want[keyOf(r)]
				if !ok {
					key := fmt.Sprintf("%s:%d>%s:%d/%d", r.DstIP, r.DstPort, r.SrcIP, r.SrcPort, r.Protocol)
					if w, ok = want[key]; ok {
						turned++
						w = counters{w.dstPackets, w.srcPackets, w.dstBytes, w.srcBytes}
						delete(want, key)
					}
				}
				delete(want, keyOf(r))
				if !ok || got != w || r.Origin != origin || r.Segment != 0 {
					t.Errorf("%s: %+v, origin %s, segment %d; Zeek has %+v", keyOf(r), got, r.Origin, r.Segment, w)
				}
			}
			if len(want) > 0 || turned > 0 {
				t.Errorf("%d flows begin at the other end, and these are missing: %v", turned, want)
			}
		})
	}
}

// A sampled export counts for what it stands for, says so, and does not claim to know who began.
func TestSamplingScales(t *testing.T) {
	var k kept
	if _, err := Packets(context.Background(), []string{"testdata/wikipedia-sampled.netflow9"}, &k); err != nil {
		t.Fatal(err)
	}
	if len(k.records) == 0 {
		t.Fatal("no records")
	}
	for _, r := range k.records {
		if r.Sampling != 10 || (r.SrcPackets+r.DstPackets)%10 != 0 || !r.InitiatorGuessed {
			t.Errorf("%s: 1 in %d, %d packets, initiator guessed %v", keyOf(r), r.Sampling, r.SrcPackets+r.DstPackets, r.InitiatorGuessed)
		}
	}
}

// member writes a file of a corpus to a directory of the test.
func member(t *testing.T, archive, name string) string {
	t.Helper()
	f, err := os.Open(filepath.Join(captures(t), "corpus", archive))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			t.Fatalf("%s has no %s", archive, name)
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Name != name {
			continue
		}
		path := filepath.Join(t.TempDir(), filepath.Base(name))
		b, err := io.ReadAll(r)
		if err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
}

// Captures of exporters: data whose templates never come, templates without data, and sFlow with one sample among counters.
func TestCapturesOfExporters(t *testing.T) {
	for name, want := range map[string]struct {
		records int
		reason  string
		skipped uint64
	}{
		"pcap/netflowv9.pcap":     {0, source.SkipTemplate, 23},
		"pcap/netflow-fritz.pcap": {0, "", 0},
		"pcap/sflow.pcap":         {1, source.SkipOptions, 8},
	} {
		var k kept
		tally, err := Packets(context.Background(), []string{member(t, "ndpi.tar.gz", name)}, &k)
		if err != nil || len(k.records) != want.records || tally.Skipped[want.reason].Count != want.skipped {
			t.Errorf("%s: %d records, %s, %v", name, len(k.records), tally.String(), err)
		}
	}
}
