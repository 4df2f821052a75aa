package nfcapd

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/importer/biflow"
	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/flow"
)

var update = flag.Bool("update", false, "write what nfdump reads into testdata")

// recorded are the files of ../testdata/record.sh, by what nfdump reads in them:
// packing does not change it.
var recorded = map[string][]string{
	"wikipedia-1.7":         {"wikipedia-1.7", "wikipedia-1.7-lzo", "wikipedia-1.7-lz4", "wikipedia-1.7-bz2", "wikipedia-1.7-zstd"},
	"wikipedia-1.7-biflow":  {"wikipedia-1.7-biflow"},
	"wikipedia-1.7-sampled": {"wikipedia-1.7-sampled"},
	"wikipedia-1.7-frames":  {"wikipedia-1.7-frames"},
	"wikipedia-1.6":         {"wikipedia-1.6", "wikipedia-1.6-lzo", "wikipedia-1.6-lz4", "wikipedia-1.6-bz2"},
	"wikipedia-1.6-sampled": {"wikipedia-1.6-sampled"},
}

// untimed are flows that softflowd tells to end 2.6 s before they begin.
var untimed = map[string]map[string]uint64{"wikipedia-1.7-biflow": {source.SkipTime: 1}}

// line is a record as it is compared, ours and nfdump's.
type line struct {
	first, last                             int64 // ms since the epoch
	src, dst                                string
	proto                                   uint8
	srcPort, dstPort                        uint16
	packets, bytes, packetsBack, octetsBack uint64
	flags, dscp, icmpType, icmpCode         uint8
	router                                  string
	input                                   uint32
	srcMAC, dstMAC                          flow.MAC
}

func (l line) String() string {
	return fmt.Sprintf("%d-%d %s:%d>%s:%d/%d icmp %d/%d packets %d+%d octets %d+%d flags %02x dscp %d of %s/%d mac %012x>%012x",
		l.first, l.last, l.src, l.srcPort, l.dst, l.dstPort, l.proto, l.icmpType, l.icmpCode, l.packets, l.packetsBack, l.bytes, l.octetsBack,
		l.flags, l.dscp, l.router, l.input, uint64(l.srcMAC), uint64(l.dstMAC))
}

// lineOf takes what is compared from a half.
func lineOf(h *biflow.Half) line {
	l := line{first: h.Start / 1e6, last: h.End / 1e6, src: h.Src.String(), dst: h.Dst.String(), proto: h.Protocol, srcPort: h.SrcPort, dstPort: h.DstPort,
		packets: h.Packets, bytes: h.Bytes, packetsBack: h.RevPackets, octetsBack: h.RevBytes, flags: h.Flags, dscp: h.DSCP,
		icmpType: h.ICMPType, icmpCode: h.ICMPCode, srcMAC: h.SrcMAC, dstMAC: h.DstMAC}
	if h.Interface != "" {
		fmt.Sscanf(h.Interface[strings.LastIndexByte(h.Interface, '/')+1:], "%d", &l.input)
		l.router = h.Exporter.String()
	}
	return l
}

// nfdumpRecord is a record of nfdump -o json.
type nfdumpRecord struct {
	First      string `json:"first"`
	Last       string `json:"last"`
	Src4       string `json:"src4_addr"`
	Dst4       string `json:"dst4_addr"`
	Src6       string `json:"src6_addr"`
	Dst6       string `json:"dst6_addr"`
	Proto      uint8  `json:"proto"`
	SrcPort    uint16 `json:"src_port"`
	DstPort    uint16 `json:"dst_port"`
	ICMPType   uint8  `json:"icmp_type"`
	ICMPCode   uint8  `json:"icmp_code"`
	Packets    uint64 `json:"in_packets"`
	Bytes      uint64 `json:"in_bytes"`
	OutPackets uint64 `json:"out_packets"`
	OutBytes   uint64 `json:"out_bytes"`
	Flags      string `json:"tcp_flags"`
	TOS        uint8  `json:"src_tos"`
	Router4    string `json:"ip4_router"`
	Router6    string `json:"ip6_router"`
	Input      uint32 `json:"input_snmp"`
	SrcMAC     string `json:"in_src_mac"`
	DstMAC     string `json:"out_dst_mac"` // nfpcapd's
}

func (r nfdumpRecord) line(t *testing.T) line {
	t.Helper()
	ms := func(s string) int64 {
		at, err := time.Parse("2006-01-02T15:04:05.000", s)
		if err != nil {
			t.Fatal(err)
		}
		return at.UnixMilli()
	}
	addr := func(a, b string) string {
		if a+b == "" {
			return ""
		}
		return netip.MustParseAddr(a + b).String()
	}
	mac := func(s string) (m flow.MAC) {
		var b [6]byte
		if _, err := fmt.Sscanf(s, "%02x:%02x:%02x:%02x:%02x:%02x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]); err == nil {
			m = flow.MACFrom(b[:])
		}
		return m
	}
	l := line{first: ms(r.First), last: ms(r.Last), src: addr(r.Src4, r.Src6), dst: addr(r.Dst4, r.Dst6), proto: r.Proto, srcPort: r.SrcPort, dstPort: r.DstPort,
		packets: r.Packets, bytes: r.Bytes, packetsBack: r.OutPackets, octetsBack: r.OutBytes, dscp: r.TOS >> 2, icmpType: r.ICMPType, icmpCode: r.ICMPCode,
		router: addr(r.Router4, r.Router6), input: r.Input, srcMAC: mac(r.SrcMAC), dstMAC: mac(r.DstMAC)}
	for i, letter := range "CEUAPRSF" {
		if len(r.Flags) == 8 && r.Flags[i] == byte(letter) {
			l.flags |= 0x80 >> i
		}
	}
	return l
}

// nfdump is what nfdump reads in a file; it must be installed and know the packing. A flow
// that ends before it begins ends as it begins, and beyond a second it is left out, as of us.
func nfdump(t *testing.T, file string) (lines []string, err error) {
	t.Helper()
	cmd := exec.Command("nfdump", "-r", "../testdata/"+file+".nfcapd", "-o", "json")
	cmd.Env = append(os.Environ(), "TZ=UTC")
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var all []nfdumpRecord
	if err := json.Unmarshal(out, &all); err != nil {
		return nil, err
	}
	if len(all) == 0 || all[0].First == "" {
		return nil, errors.New("other names in JSON than those of 1.7")
	}
	for _, r := range all {
		l := r.line(t)
		if l.last < l.first && l.first-l.last < 1000 {
			l.last = l.first
		}
		if l.last >= l.first {
			lines = append(lines, l.String())
		}
	}
	return lines, nil
}

// halves is what we read in a file of testdata.
func halves(t *testing.T, file string) (all []biflow.Half, skipped map[string]uint64) {
	t.Helper()
	b, err := os.ReadFile("../testdata/" + file + ".nfcapd")
	if err != nil {
		t.Fatal(err)
	}
	all, skipped, err = readBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	return all, skipped
}

// Every record of every file is what nfdump reads in it.
func TestReadsWhatNfdumpReads(t *testing.T) {
	for golden, files := range recorded {
		path := "../testdata/" + golden + ".golden"
		if *update {
			lines, err := nfdump(t, golden)
			if err != nil {
				t.Fatalf("nfdump %s: %v", golden, err)
			}
			if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Split(strings.TrimSpace(string(b)), "\n")
		for _, file := range files {
			t.Run(file, func(t *testing.T) {
				all, skipped := halves(t, file)
				var got []string
				for i := range all {
					got = append(got, lineOf(&all[i]).String())
				}
				compare(t, got, want)
				delete(skipped, source.SkipOptions)
				if !maps.Equal(skipped, untimed[file]) {
					t.Errorf("skipped: %v", skipped)
				}
			})
		}
	}
}

// The golden files are what the nfdump that is installed reads.
func TestGoldenIsNfdump(t *testing.T) {
	if _, err := exec.LookPath("nfdump"); err != nil {
		t.Skip("nfdump is not installed")
	}
	for golden := range recorded {
		t.Run(golden, func(t *testing.T) {
			lines, err := nfdump(t, golden)
			if err != nil {
				t.Skipf("nfdump cannot read it: %v", err)
			}
			b, err := os.ReadFile("../testdata/" + golden + ".golden")
			if err != nil {
				t.Fatal(err)
			}
			compare(t, lines, strings.Split(strings.TrimSpace(string(b)), "\n"))
		})
	}
}

func compare(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("record %d (-got +want):\n-%s\n+%s", i+1, got[i], want[i])
		}
	}
}
