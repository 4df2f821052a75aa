package importer

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/analyzer/importer/nfcapd"
	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/kit"
)

// What collectors stored of a capture is what Zeek saw in it
// to the packet and octet, whether softflowd's export or nfpcapd stood between.
func TestFilesOfNfcapdAreTheFlowsOfZeek(t *testing.T) {
	conn := filepath.Join(captures(t), "zeek/expected/wikipedia.pcap/opt.basic/conn.log")
	for _, file := range []string{"wikipedia-1.7.nfcapd", "wikipedia-1.7-zstd.nfcapd", "wikipedia-1.6.nfcapd", "wikipedia-1.6-lzo.nfcapd", "wikipedia-1.7-frames.nfcapd"} {
		t.Run(file, func(t *testing.T) {
			want := zeekCounters(t, conn, false)
			var k kept
			tally, err := Nfcapd(context.Background(), []string{filepath.Join("testdata", file)}, &k)
			if err != nil {
				t.Fatal(err)
			}
			closes(t, tally)
			for _, r := range k.records {
				got := counters{r.SrcPackets, r.DstPackets, r.SrcBytes, r.DstBytes}
				if w, ok := want[keyOf(r)]; !ok || got != w || r.Origin != nfcapd.Origin || r.Segment != 0 {
					t.Errorf("%s: %+v, origin %s, segment %d; Zeek has %+v", keyOf(r), got, r.Origin, r.Segment, w)
				}
				delete(want, keyOf(r))
			}
			if len(want) > 0 {
				t.Errorf("missing: %v", want)
			}
		})
	}
}

// A collector's folder also holds what is no file of flows: it is counted. What no reader of ours can read ends the import.
func TestFolderOfNfcapd(t *testing.T) {
	flows, err := os.ReadFile("testdata/wikipedia-1.7.nfcapd")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, b := range map[string][]byte{".nfstat": []byte("first=1\n"), "nfcapd.202611231210": flows, "nfcapd.current.17": flows[:2000]} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := expand([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	var k kept
	tally, err := Nfcapd(context.Background(), files, &k)
	if err != nil || len(k.records) == 0 || tally.Skipped[source.SkipMalformed].Count != 1 || tally.Skipped[source.SkipDamaged].Count != 1 {
		t.Errorf("%d records, %s, %v", len(k.records), tally.String(), err)
	}
	closes(t, tally)
	if err := os.WriteFile(files[1], []byte{0xa5, 0x0c, 0, 2}, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Nfcapd(context.Background(), files, &k); err == nil || !strings.Contains(err.Error(), files[1]) || kit.HintOf(err) == "" {
		t.Errorf("big-endian: %v, hint %q", err, kit.HintOf(err))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Nfcapd(ctx, []string{"testdata/wikipedia-1.7.nfcapd"}, &k); err == nil {
		t.Error("goes on after its context has ended")
	}
}
