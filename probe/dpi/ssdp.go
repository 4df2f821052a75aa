package dpi

import (
	"bytes"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// SSDP, the discovery of UPnP (UPnP Device Architecture 2.0, section 1).
func ssdpProtocol() protocol {
	return protocol{app: "ssdp", udp: []uint16{1900}, datagram: looksSSDP, message: (*Inspector).ssdpMessage}
}

func looksSSDP(b []byte, h *hint) bool {
	return bytes.HasPrefix(b, []byte("M-SEARCH * HTTP/1.")) || bytes.HasPrefix(b, []byte("NOTIFY * HTTP/1.")) ||
		bytes.HasPrefix(b, []byte("HTTP/1.1 200 OK")) && (h.onPort || containsFold(b[:min(len(b), maxLine)], "\nUSN:"))
}

// ssdpMessage lists what is searched, announced or found, once each.
func (in *Inspector) ssdpMessage(st *State, d side, b []byte, rec *flow.Record, _ int64) {
	verb, rest := word(b)
	answer := bytes.HasPrefix(verb, []byte("HTTP/"))
	if answer {
		verb = []byte("200")
	}
	var target []byte
	for i := 0; i < 40; i++ {
		j := bytes.IndexByte(rest, '\n')
		if j < 0 {
			break
		}
		rest = rest[j+1:]
		name, value, ok := bytes.Cut(rest[:max(bytes.IndexByte(rest, '\n'), 0)], []byte{':'})
		if !ok {
			continue
		}
		value = bytes.TrimSpace(value)
		switch {
		case isFold(name, "ST"), isFold(name, "NT"):
			target = value
		case isFold(name, "USER-AGENT"):
			in.setOnce(&rec.ClientSoftware, value, rec)
		case isFold(name, "SERVER"): // of who speaks
			s := &rec.ServerSoftware
			if d == sideSrc && !answer {
				s = &rec.ClientSoftware
			}
			in.setOnce(s, value, rec)
		}
	}
	in.scratch = append(append(append(in.scratch[:0], verb...), ' '), target...)
	list := &rec.AppRequests
	if answer {
		list = &rec.AppResponses
	}
	for _, s := range *list {
		if s == string(in.scratch) {
			return
		}
	}
	in.addTo(list, st, in.scratch, rec)
}
