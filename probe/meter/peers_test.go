package meter

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// TestIpfixprobe compares first_sizes and first_gaps_us with the lists of
// ipfixprobe's pstats plugin, with its timeouts. Of ICMP it counts the header of
// eight octets as payload; it keeps packets without payload out, as we do. Its
// flows are others where it takes all ICMP between two hosts for one flow, and
// the sender of a first answer for the initiator.
func TestIpfixprobe(t *testing.T) {
	root := corpus.Dir(t)
	text, err := os.ReadFile(filepath.Join(root, "ipfixprobe/expected/mixed.pcap.pstats.csv"))
	if err != nil {
		t.Skip("no expected results of ipfixprobe in ../shared/captures")
	}
	const layout = "2006-01-02T15:04:05.000000"
	want := map[string]string{}
	var column []string
	rows := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, row := range rows {
		if strings.HasPrefix(row, "ipaddr") {
			for _, c := range strings.Split(row, ",") {
				column = append(column, c[strings.Index(c, " ")+1:])
			}
		}
	}
	for _, row := range rows {
		if strings.HasPrefix(row, "ipaddr") {
			continue
		}
		f := map[string]string{}
		for i, v := range strings.Split(row, ",") {
			f[column[i]] = strings.Trim(v, "[]")
		}
		var sizes, gaps []string
		var last time.Time
		directions, times := strings.Split(f["PPI_PKT_DIRECTIONS"], "|"), strings.Split(f["PPI_PKT_TIMES"], "|")
		for i, size := range strings.Split(f["PPI_PKT_LENGTHS"], "|") {
			n, _ := strconv.Atoi(size)
			if n == 0 || len(sizes) == maxFirsts {
				continue
			}
			if f["PROTOCOL"] == "1" || f["PROTOCOL"] == "58" {
				if n -= 8; n == 0 {
					continue
				}
			}
			if directions[i] == "-1" {
				n = -n
			}
			at, err := time.Parse(layout, times[i])
			if err != nil {
				t.Fatal(err)
			}
			if len(sizes) == 0 {
				last = at
			}
			sizes, gaps = append(sizes, strconv.Itoa(n)), append(gaps, strconv.FormatInt(at.Sub(last).Microseconds(), 10))
			last = at
		}
		name := fmt.Sprint(f["SRC_IP"], " ", f["DST_IP"], " ", f["PROTOCOL"], " ", f["TIME_FIRST"], " ", f["PACKETS"], "/", f["PACKETS_REV"])
		want[name] = fmt.Sprint(sizes, " ", gaps)
	}
	same, different, ours := 0, 0, 0
	cfg := Config{ActiveTimeout: 5 * time.Minute, IdleTimeout: 30 * time.Second, UnansweredTimeout: 30 * time.Second, ResumeTime: -1}
	run(t, filepath.Join(root, "ipfixprobe/mixed.pcap"), cfg, nil, func(r *flow.Record) {
		ours++
		name := fmt.Sprint(r.SrcIP, " ", r.DstIP, " ", r.Protocol, " ", r.StartTime().Format(layout), " ", r.SrcPackets, "/", r.DstPackets)
		w, ok := want[name]
		if !ok {
			t.Logf("only ours: %s", name)
			return
		}
		if g := fmt.Sprint(r.FirstSizes, " ", r.FirstGaps); g != w {
			different++
			t.Errorf("%s (-got +want)\n-%s\n+%s", name, g, w)
		} else {
			same++
		}
	})
	t.Logf("%d of ipfixprobe's %d flows have the same first packets", same, len(want))
	if same < len(want)*9/10 {
		t.Errorf("only %d of %d flows are comparable, we have %d", same, len(want), ours)
	}
}

// TestArkime compares volumes and the distribution of packet sizes with the
// packet lengths that Arkime lists: each is the frame with 16 octets of its own.
func TestArkime(t *testing.T) {
	root := corpus.Dir(t)
	files, _ := filepath.Glob(filepath.Join(root, "arkime/expected/*.test.json"))
	if len(files) == 0 {
		t.Skip("no expected results of Arkime in ../shared/captures")
	}
	compared := 0
	for _, file := range files {
		capture := filepath.Join(root, "arkime", strings.TrimSuffix(filepath.Base(file), ".test.json")+".pcap")
		if strings.Contains(capture, "80211") { // another link layer: frames and IP do not differ by 14
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var sessions struct {
			Sessions3 []struct {
				Body struct {
					PacketLen []int
					Network   struct {
						CommunityID string `json:"community_id"`
					}
				}
			}
		}
		if err := json.Unmarshal(text, &sessions); err != nil {
			t.Fatal(err)
		}
		type volume struct {
			frames  uint64
			packets int
			bins    []uint32
		}
		got, want := map[string]volume{}, map[string]volume{}
		add := func(m map[string]volume, id string, frames uint64, packets int, bins []uint32) {
			v := m[id]
			if v.bins == nil {
				v.bins = make([]uint32, sizeBins)
			}
			for i, n := range bins {
				v.bins[i] += n
			}
			m[id] = volume{v.frames + frames, v.packets + packets, v.bins}
		}
		padded := map[string]bool{}
		for _, s := range sessions.Sessions3 {
			for _, n := range s.Body.PacketLen {
				id := s.Body.Network.CommunityID
				frame := n - 16
				padded[id] = padded[id] || frame <= 60
				bins := make([]uint32, sizeBins)
				bins[sizeBin(uint32(max(frame-14, 0)))] = 1
				add(want, id, uint64(frame), 1, bins)
			}
		}
		run(t, capture, Config{}, nil, func(r *flow.Record) {
			id := flow.CommunityID(r.SrcIP, r.DstIP, r.SrcPort, r.DstPort, r.Protocol)
			bins := make([]uint32, sizeBins)
			copy(bins, r.SrcSizeBins)
			for i, n := range r.DstSizeBins {
				bins[i] += n
			}
			add(got, id, r.FrameBytes(), int(r.Packets()), bins)
		})
		for id, w := range want {
			g := got[id]
			if g.packets != w.packets || g.frames != w.frames || !padded[id] && !slices.Equal(g.bins, w.bins) {
				t.Errorf("%s: session %s: %+v, want %+v", filepath.Base(capture), id, g, w)
			}
			compared++
		}
	}
	t.Logf("%d sessions", compared)
	if compared < 5 {
		t.Errorf("only %d sessions compared", compared)
	}
}
