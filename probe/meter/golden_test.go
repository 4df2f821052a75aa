package meter

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/proto/flow"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden keeps whole records of a few captures: tags, tunnels, fragments,
// every transport. Fields that are empty are left out.
func TestGolden(t *testing.T) {
	root := corpus.Dir(t)
	for _, path := range []string{
		"community-id/icmp6.pcap", "community-id/sctp.pcap", "zeek/q-in-q.pcap", "zeek/mixed-vlan-mpls.pcap", "zeek/pppoe.pcap",
		"zeek/tunnels/vxlan.pcap", "zeek/tunnels/geneve.pcap", "pcapplusplus/ip6_fragments.pcap", "ndpi/6in4tunnel.pcap", "corelight/long_connection.pcap",
	} {
		t.Run(path, func(t *testing.T) {
			var got bytes.Buffer
			run(t, filepath.Join(root, path), DefaultConfig(), nil, func(r *flow.Record) {
				line := string(r.AppendJSON(nil))
				var kept []string
				for _, field := range strings.Split(strings.Trim(line, "{}"), ",\"") {
					if _, v, _ := strings.Cut(field, "\":"); v != "0" && v != "\"\"" && v != "[]" && v != "false" && v != "null" && v != "\"::\"" {
						kept = append(kept, strings.Replace(strings.TrimPrefix(field, "\""), "\":", "=", 1))
					}
				}
				got.WriteString(strings.Join(kept, " ") + "\n")
			})
			file := filepath.Join("testdata", strings.ReplaceAll(path, "/", "_")+".golden")
			if *update {
				os.MkdirAll("testdata", 0o755)
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			g, w := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
			for i := range max(len(g), len(w)) {
				if i >= len(g) || i >= len(w) || g[i] != w[i] {
					t.Fatalf("record %d of %d, want %d (-got +want)\n-%s\n+%s", i, len(g)-1, len(w)-1, strings.Join(g[min(i, len(g)):min(i+1, len(g))], ""), strings.Join(w[min(i, len(w)):min(i+1, len(w))], ""))
				}
			}
		})
	}
}

// TestEntrySize keeps what Config.MaxFlows promises about memory.
func TestEntrySize(t *testing.T) {
	for _, c := range []struct {
		name      string
		size, max uintptr
	}{
		{"entry", unsafe.Sizeof(entry{}), 192}, {"talk", unsafe.Sizeof(talk{}), 256}, {"conn", unsafe.Sizeof(conn{}), 320},
		{"firsts", unsafe.Sizeof(firsts{}), 112}, {"carrier", unsafe.Sizeof(carrier{}), 40}, {"found", unsafe.Sizeof(found{}), 16},
	} {
		if c.size > c.max {
			t.Errorf("%s: %d octets, at most %d are meant", c.name, c.size, c.max)
		}
		t.Logf("%s: %d octets", c.name, c.size)
	}
	t.Logf("record: %d octets", unsafe.Sizeof(flow.Record{}))
}
