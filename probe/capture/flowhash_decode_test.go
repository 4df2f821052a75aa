package capture_test

import (
	"encoding/binary"
	"testing"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/probe/decode"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// TestFlowHashIsOfTheFlow: on all recorded captures the hash is a function of
// the two addresses of the flow that the decoder finds, so that no flow is cut
// in two. Tunnels whose packets are fragments are the exception: the decoder
// opens them when the last piece has come, of which a hash cannot know.
func TestFlowHashIsOfTheFlow(t *testing.T) {
	var packets, wrong, files int
	for _, c := range corpus.Captures(t) {
		src, err := capture.OpenFile(c.Path, capture.FileOptions{})
		if err != nil {
			continue // other tests look at files that cannot be read
		}
		files++
		n, bad := agreement(t, c.Name, src)
		src.Close()
		packets, wrong = packets+n, wrong+bad
	}
	t.Logf("%d captures, %d packets, %d of them with the hash of another pair", files, packets, wrong)
	if files < 100 || wrong*10000 > packets {
		t.Errorf("%d of %d packets have the hash of another pair (want at most 0.01 %%)", wrong, packets)
	}
}

func agreement(t *testing.T, path string, src capture.Source) (packets, wrong int) {
	type pair struct {
		a, b   flow.Addr
		tunnel flow.Tunnel
		id     uint32
	}
	var (
		f    capture.Frame
		p    decode.Packet
		dec  = decode.New(decode.DefaultConfig())
		hash = make(map[pair]uint32)
	)
	const most = 20000 // of one capture
	for packets < most && src.Next(&f) == nil {
		if dec.Decode(&f, &p) != decode.OK || p.EtherType != 0 { // ARP has no IP addresses to hash
			continue
		}
		if d := f.Data; f.LinkType == capture.LinkEthernet && len(d) > 24 && d[12] == 8 && d[13] == 0 &&
			binary.BigEndian.Uint16(d[20:])&0x3fff != 0 && p.Tunnel != flow.TunnelNone {
			continue
		}
		packets++
		k := pair{p.Src, p.Dst, p.Tunnel, p.TunnelID}
		if string(k.a[:]) > string(k.b[:]) {
			k.a, k.b = k.b, k.a
		}
		h := capture.FlowHash(f.LinkType, f.Data)
		if was, ok := hash[k]; !ok {
			hash[k] = h
		} else if was != h {
			if wrong++; wrong == 1 {
				t.Logf("%s, packet %d, %v and %v, protocol %d, tunnel %v: %08x, and %08x before", path, packets, p.Src, p.Dst, p.Protocol, p.Tunnel, h, was)
			}
		}
	}
	return packets, wrong
}
