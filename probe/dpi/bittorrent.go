package dpi

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// BitTorrent: peers over TCP and uTP (BEP 3, BEP 29), the distributed hash
// table (BEP 5), trackers over UDP (BEP 15) and local discovery (BEP 14).
func bittorrentProtocol() protocol {
	return protocol{app: "bittorrent", udp: []uint16{6771, 6881, 6882, 6883, 6889}, tcp: []uint16{6881, 6882, 6883, 6884, 6885, 6886, 6887, 6888, 6889},
		stream:   func(b []byte, _ *hint) verdict { return prefixOf(b, peerGreeting) },
		datagram: looksBitTorrent, parse: (*Inspector).bittorrentStream, message: (*Inspector).bittorrentMessage}
}

const (
	peerGreeting    = "\x13BitTorrent protocol"
	trackerGreeting = "\x00\x00\x04\x17\x27\x10\x19\x80\x00\x00\x00\x00" // connect
	localSearch     = "BT-SEARCH * HTTP/1.1\r\n"
	utpHeader       = 20
	utpNote         = 0x757470 // marks hint.note
)

func looksBitTorrent(b []byte, h *hint) bool {
	switch {
	case len(b) < 12:
		return false
	case b[0] == 'd':
		return looksDHT(b)
	case len(b) == 16 && string(b[:12]) == trackerGreeting:
		return true
	case bytes.HasPrefix(b, []byte(localSearch)):
		return true
	case len(b) >= utpHeader+len(peerGreeting) && bytes.Contains(b[utpHeader:min(len(b), utpHeader+64)], []byte(peerGreeting)):
		return true
	}
	return looksUTP(b, h)
}

// looksDHT recognises a dictionary with the keys that each message has.
func looksDHT(b []byte) bool {
	if len(b) < 20 || b[len(b)-1] != 'e' {
		return false
	}
	head := b[:min(len(b), 8)]
	known := false
	for _, p := range [...]string{"d1:ad", "d1:rd", "d1:el", "d2:ip", "d1:q", "d1:t", "d1:v", "d1:y"} {
		known = known || bytes.HasPrefix(head, []byte(p))
	}
	return known && bytes.Contains(b, []byte("1:y1:")) && bytes.Contains(b, []byte("1:t"))
}

// looksUTP recognises the SYN with which a connection begins: version 1, no
// time difference yet, sequence number 1, nothing acknowledged. In the middle
// of one, two packets on the port that name the same connection.
func looksUTP(b []byte, h *hint) bool {
	if len(b) < utpHeader || b[0]&15 != 1 || b[0]>>4 > 4 || b[1] > 2 {
		return false
	}
	if b[0]>>4 != 4 {
		note := uint64(utpNote)<<32 | uint64(binary.BigEndian.Uint16(b[2:]))
		before := *h.note
		if h.onPort {
			*h.note = note
		}
		return h.onPort && before == note
	}
	if b[1] == 0 && len(b) != utpHeader {
		return false
	}
	return binary.BigEndian.Uint32(b[8:]) == 0 && binary.BigEndian.Uint16(b[16:]) == 1 && binary.BigEndian.Uint16(b[18:]) == 0 && binary.BigEndian.Uint32(b[12:]) != 0
}

func (in *Inspector) bittorrentStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	const handshake = len(peerGreeting) + 8 + 20 + 20
	if len(b) < handshake {
		return 0
	}
	if string(b[:len(peerGreeting)]) == peerGreeting {
		in.peerHandshake(st, d, b[:handshake], rec)
	}
	st.packets = 0
	return in.endSide(st, d, b)
}

// peerHandshake notes the torrent, and the client by its peer id (BEP 20).
func (in *Inspector) peerHandshake(st *State, d side, b []byte, rec *flow.Record) {
	b = b[len(peerGreeting)+8:]
	if st.flags == 0 {
		st.flags = 1
		in.addRequest(st, in.infoHash(b[:20]), rec)
	}
	if id := b[20:]; id[0] == '-' && id[7] == '-' {
		in.software(d, id[1:7], rec)
	}
}

func (in *Inspector) infoHash(hash []byte) []byte {
	in.scratch = hex.AppendEncode(append(in.scratch[:0], "info_hash "...), hash)
	return in.scratch
}

// bittorrentMessage notes the torrents that are asked for.
func (in *Inspector) bittorrentMessage(st *State, d side, b []byte, rec *flow.Record, _ int64) {
	switch {
	case len(b) > 0 && b[0] == 'd':
		if _, after, ok := bytes.Cut(b, []byte("9:info_hash20:")); ok && len(after) >= 20 {
			in.addRequest(st, in.infoHash(after[:20]), rec)
		} else if _, after, ok := bytes.Cut(b, []byte("1:q")); ok {
			if name := bencodeString(after); name != nil && st.count[0] < 4 {
				in.addRequest(st, in.verb(string(name), nil), rec)
			}
		}
		if bytes.Contains(b, []byte("1:y1:e")) {
			rec.AppErrors++
		}
	case len(b) >= 98 && d == sideSrc && binary.BigEndian.Uint32(b[8:]) == 1: // announce
		in.addRequest(st, in.infoHash(b[16:36]), rec)
	case len(b) > utpHeader+len(peerGreeting)+48:
		if i := bytes.Index(b[:min(len(b), 128)], []byte(peerGreeting)); i >= 0 && len(b) >= i+68 {
			in.peerHandshake(st, d, b[i:i+68], rec)
		}
	}
	if st.count[0]++; st.count[0] >= flow.MaxList {
		st.finished = true
	}
}

// bencodeString reads "4:ping".
func bencodeString(b []byte) []byte {
	size, rest, ok := bytes.Cut(b[:min(len(b), 32)], []byte{':'})
	n := number(size)
	if !ok || n < 0 || n > int64(len(rest)) {
		return nil
	}
	return rest[:n]
}
