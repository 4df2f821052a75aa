package dpi

import (
	"encoding/binary"
	"slices"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// QUIC versions that have Initial packets we can open.
const (
	quicV1      = 0x00000001 // RFC 9001
	quicV2      = 0x6b3343cf // RFC 9369
	quicDraft   = 0xff000000 // draft-NN is 0xff0000NN
	quicMVFST27 = 0xfaceb002 // Facebook's number for draft-27
)

// Frame types of Initial packets (RFC 9000, section 12.4).
const (
	framePadding = 0x00
	framePing    = 0x01
	frameAck     = 0x02
	frameAckECN  = 0x03
	frameCrypto  = 0x06
)

const (
	maxConnID     = 20 // octets (RFC 9000, section 17.2)
	quicMaxFails  = 8  // Initial packets of a flow that may fail to open
	quicPatience  = 32 // packets after which a missing hello is not waited for
	quicCoalesced = 8  // packets looked at in one datagram
	quicFrames    = 64 // CRYPTO frames looked at in one packet
)

// quicState is what a flow remembers between Initial packets.
type quicState struct {
	dcid   [maxConnID]byte // connection id of the keys
	dlen   uint8
	opened bool // dcid is known to be right
	client side
	fails  uint8
}

// quicScratch is memory for one packet at a time.
type quicScratch struct {
	packet []byte
	frames []cryptoFrame
}

// cryptoFrame is a piece of the handshake; data points into the packet.
type cryptoFrame struct {
	offset uint64
	data   []byte
}

// longHeader is a packet with a long header (RFC 9000, section 17.2).
type longHeader struct {
	version uint32
	kind    packetKind
	dcid    []byte
	number  int // offset of the protected packet number
	end     int // offset after the packet
}

type packetKind uint8

const (
	packetInitial packetKind = iota
	packet0RTT
	packetHandshake
	packetRetry
)

// parseLongHeader reads the header at the start of b. False: not one, or not
// one of a known version, or it breaks off.
func parseLongHeader(b []byte) (h longHeader, ok bool) {
	if len(b) < 7 || b[0]&0x80 == 0 {
		return h, false
	}
	h.version = binary.BigEndian.Uint32(b[1:])
	if quicSalt(h.version) == nil {
		return h, false
	}
	h.kind = packetKind(b[0] >> 4 & 3)
	if h.version == quicV2 { // RFC 9369, section 3.2
		h.kind = (h.kind + 3) & 3
	}
	r := reader{b: b[5:]}
	if n := r.u8(); n <= maxConnID {
		h.dcid = r.take(n)
	} else {
		return h, false
	}
	if n := r.u8(); n <= maxConnID {
		r.take(n)
	} else {
		return h, false
	}
	if h.kind == packetRetry {
		h.end = len(b)
		return h, !r.bad
	}
	if h.kind == packetInitial {
		r.take(int(min(r.varint(), 1<<16)))
	}
	size := r.varint()
	if r.bad || size > uint64(len(r.b)) {
		return h, false
	}
	h.number = len(b) - len(r.b)
	h.end = h.number + int(size)
	return h, true
}

// varint takes a variable-length integer (RFC 9000, section 16).
func (r *reader) varint() uint64 {
	first := r.take(1)
	if first == nil {
		return 0
	}
	v := uint64(first[0] & 0x3f)
	for _, c := range r.take(1<<(first[0]>>6) - 1) {
		v = v<<8 | uint64(c)
	}
	return v
}

func quicProtocol() protocol {
	return protocol{app: "quic", kind: kindQUIC, udp: []uint16{80, 443, 784, 853, 8443},
		datagram: func(b []byte, _ *hint) bool { return looksQUIC(b) }, message: (*Inspector).quicDatagram}
}

// looksQUIC recognises a long header of a known version, or of Google's QUIC.
func looksQUIC(b []byte) bool {
	if len(b) < 13 {
		return false
	}
	if b[0]&0xc0 == 0xc0 {
		if h, ok := parseLongHeader(b); ok {
			return h.kind == packetInitial || len(h.dcid) > 0
		}
		v := binary.BigEndian.Uint32(b[1:])
		return googleVersion(v) || v&0x0f0f0f0f == 0x0a0a0a0a && len(b) >= 1200 && b[5] <= maxConnID
	}
	return b[0]&0x89 == 0x09 && googleVersion(binary.BigEndian.Uint32(b[9:]))
}

// googleVersion tells the versions of Google's QUIC: "Q043", "T051" …
func googleVersion(v uint32) bool {
	a, b, c, d := byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
	return (a == 'Q' || a == 'T') && b == '0' && c >= '0' && c <= '9' && d >= '0' && d <= '9'
}

// quicDatagram opens the Initial packets of a datagram and gathers their CRYPTO
// frames until both hellos are read.
func (in *Inspector) quicDatagram(st *State, d side, b []byte, rec *flow.Record, _ int64) {
	if rec.QUICVersion == 0 && len(b) >= 13 {
		for _, at := range [2]int{1, 9} {
			if v := binary.BigEndian.Uint32(b[at:]); googleVersion(v) {
				rec.QUICVersion, st.finished = v, true // its handshake is not TLS
				in.googleHello(b, rec)
				return
			}
		}
	}
	for range quicCoalesced {
		h, ok := parseLongHeader(b)
		if !ok {
			break
		}
		if h.kind == packetInitial {
			if rec.QUICVersion == 0 {
				rec.QUICVersion = h.version
			}
			if !st.half[d].dead {
				in.quicInitial(st, d, b[:h.end], &h, rec)
			}
		}
		b = b[h.end:]
	}
	if st.packets >= quicPatience || st.quic.fails >= quicMaxFails {
		st.finished = true
	}
}

// quicInitial opens one packet with the keys of the client's connection id. A
// Retry makes the client choose a new one (RFC 9001, section 5.2), so its own
// id is tried second.
func (in *Inspector) quicInitial(st *State, d side, b []byte, h *longHeader, rec *flow.Record) {
	q := &st.quic
	var plain []byte
	switch {
	case !q.opened:
		if plain = in.openInitial(b, h, h.dcid, true); plain != nil {
			q.opened, q.client, q.dlen = true, d, uint8(copy(q.dcid[:], h.dcid))
		}
	case d == q.client:
		if plain = in.openInitial(b, h, q.dcid[:q.dlen], true); plain == nil {
			if plain = in.openInitial(b, h, h.dcid, true); plain != nil {
				q.dlen = uint8(copy(q.dcid[:], h.dcid))
			}
		}
	default:
		plain = in.openInitial(b, h, q.dcid[:q.dlen], false)
	}
	if plain == nil {
		in.stats.QUICFailed++
		if q.fails < 255 {
			q.fails++
		}
		return
	}
	in.quicFrames(st, d, plain, rec)
}

// quicFrames stores the CRYPTO frames of a packet. Clients shuffle them, so
// they are sorted first: fewer holes to remember.
func (in *Inspector) quicFrames(st *State, d side, plain []byte, rec *flow.Record) {
	frames := in.quic.frames[:0]
	for r := (reader{b: plain}); len(r.b) > 0 && len(frames) < quicFrames; {
		switch kind := r.varint(); kind {
		case framePadding, framePing:
		case frameAck, frameAckECN:
			r.varint()
			r.varint()
			ranges := r.varint()
			r.varint()
			for i := uint64(0); i < ranges && !r.bad; i++ {
				r.varint()
				r.varint()
			}
			if kind == frameAckECN {
				r.varint()
				r.varint()
				r.varint()
			}
		case frameCrypto:
			offset := r.varint()
			size := r.varint()
			if data := r.take(int(min(size, 1<<20))); !r.bad && len(data) > 0 {
				frames = append(frames, cryptoFrame{offset, data})
			}
		default:
			r.b = nil // CONNECTION_CLOSE, or nothing that may stand here
		}
	}
	in.quic.frames = frames
	slices.SortFunc(frames, func(a, b cryptoFrame) int { return int(min(a.offset, 1<<20)) - int(min(b.offset, 1<<20)) })
	s := &st.half[d]
	for i, f := range frames {
		frames[i].data = nil
		if f.offset > streamLimit || !in.store(st, s, int(f.offset), f.data) {
			in.cutStream(rec)
			in.quicEnd(st, s)
			return
		}
	}
	if s.n < 4 {
		return
	}
	m := s.buf[s.off : s.off+s.n]
	size := 4 + int(m[1])<<16 + int(m[2])<<8 + int(m[3])
	if len(m) < size {
		return
	}
	switch m[0] {
	case helloClient:
		in.clientHello(m[4:size], 'q', rec)
	case helloServer:
		if in.serverHello(m[4:size], rec) {
			return // HelloRetryRequest: the next hello follows on, and is not needed
		}
	}
	in.quicEnd(st, s)
}

func (in *Inspector) quicEnd(st *State, s *stream) {
	in.drop(s)
	s.dead = true
	in.checkDone(st)
}
