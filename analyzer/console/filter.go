package console

import (
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
)

// FilterInput is the part of a question that says which flows.
type FilterInput struct {
	Host        string `query:"host" maxLength:"64" doc:"address or CIDR network on either side"`
	SrcIP       string `query:"src_ip" maxLength:"64" doc:"address or CIDR network of the initiator"`
	DstIP       string `query:"dst_ip" maxLength:"64" doc:"address or CIDR network of the responder"`
	Port        string `query:"port" maxLength:"5" doc:"destination port"`
	Protocol    string `query:"protocol" maxLength:"16" doc:"tcp, udp, icmp, icmp6, sctp or an IP protocol number"`
	App         string `query:"app" maxLength:"64" doc:"application protocol, as tls or dns; - for undetermined"`
	Probe       string `query:"probe" maxLength:"256" doc:"name of the probe"`
	SNI         string `query:"sni" maxLength:"256" doc:"server name of TLS or QUIC, exactly; *.example.org for the names beneath"`
	JA4         string `query:"ja4" maxLength:"64" doc:"JA4 of the client, exactly"`
	CommunityID string `query:"community_id" maxLength:"64" doc:"Community ID, 1:…"`
	Flow        string `query:"flow" maxLength:"4096" doc:"flows by name, probe/epoch/worker/flow_id, separated by commas"`
}

// where collects the conditions of a question. The texts come from this
// package only; what a client gave is in the params.
type where struct {
	terms  []string
	params params
	raw    bool // a condition that only the table flows can answer
}

func (w *where) add(term string, name, value string) {
	w.terms = append(w.terms, term)
	w.params[name] = value
}

// sql is the conditions, each behind an AND.
func (w *where) sql() string {
	var b strings.Builder
	for _, t := range w.terms {
		b.WriteString(" AND (" + t + ")")
	}
	return b.String()
}

var protocols = map[string]uint8{"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "icmp6": 58, "ipv6-icmp": 58, "sctp": 132}

// where turns the filter into conditions over flows or flows_1m.
func (f FilterInput) where() (*where, error) {
	w := &where{params: params{}}
	for _, a := range []struct{ name, value, term string }{
		{"host", f.Host, "src_ip BETWEEN {host_lo:IPv6} AND {host_hi:IPv6} OR dst_ip BETWEEN {host_lo:IPv6} AND {host_hi:IPv6}"},
		{"src_ip", f.SrcIP, "src_ip BETWEEN {src_ip_lo:IPv6} AND {src_ip_hi:IPv6}"},
		{"dst_ip", f.DstIP, "dst_ip BETWEEN {dst_ip_lo:IPv6} AND {dst_ip_hi:IPv6}"},
	} {
		if a.value == "" {
			continue
		}
		lo, hi, err := network(a.name, a.value)
		if err != nil {
			return nil, err
		}
		w.add(a.term, a.name+"_lo", lo)
		w.params[a.name+"_hi"] = hi
	}
	if f.Port != "" {
		n, err := strconv.ParseUint(f.Port, 10, 16)
		if err != nil {
			return nil, badRequest("port: %s is not a number from 0 to 65535", layoutSafe(f.Port))
		}
		w.add("dst_port = {port:UInt16}", "port", strconv.FormatUint(n, 10))
	}
	if f.Protocol != "" {
		n, known := protocols[strings.ToLower(f.Protocol)]
		if !known {
			v, err := strconv.ParseUint(f.Protocol, 10, 8)
			if err != nil {
				return nil, badRequest("protocol: %s is neither a known name nor a number from 0 to 255", layoutSafe(f.Protocol))
			}
			n = uint8(v)
		}
		w.add("protocol = {protocol:UInt8}", "protocol", strconv.Itoa(int(n)))
	}
	if f.App == "-" {
		w.terms = append(w.terms, "app = ''")
	} else if f.App != "" {
		w.add("app = {app:String}", "app", text(f.App))
	}
	if f.Probe != "" {
		w.add("probe = {probe:String}", "probe", text(f.Probe))
	}
	if f.SNI != "" {
		w.raw = true
		if rest, ok := strings.CutPrefix(f.SNI, "*."); ok {
			w.add("endsWith(tls_sni, {sni:String})", "sni", text("."+rest))
		} else {
			w.add("tls_sni = {sni:String}", "sni", text(f.SNI))
		}
	}
	if f.JA4 != "" {
		w.raw = true
		w.add("ja4 = {ja4:String}", "ja4", text(f.JA4))
	}
	if f.CommunityID != "" {
		w.raw = true
		sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(f.CommunityID, "1:"))
		if err != nil || len(sum) != 20 || !strings.HasPrefix(f.CommunityID, "1:") {
			return nil, badRequest("community_id: %s is not a Community ID, 1: and 28 characters of base64", layoutSafe(f.CommunityID))
		}
		w.add("community_hash = {community_hash:UInt64}", "community_hash", strconv.FormatUint(binary.BigEndian.Uint64(sum), 10))
	}
	if f.Flow != "" {
		w.raw = true
		if err := w.flows(f.Flow); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// flows adds the condition for flows by name, at most 100 of them.
func (w *where) flows(list string) error {
	names := strings.Split(list, ",")
	if len(names) > 100 {
		return badRequest("flow: %d names, at most 100 are taken", len(names))
	}
	var any []string
	for i, name := range names {
		at := strings.LastIndex(name, "/")
		at = strings.LastIndex(name[:max(at, 0)], "/")
		at = strings.LastIndex(name[:max(at, 0)], "/")
		var numbers []string
		if at >= 0 {
			numbers = strings.Split(name[at+1:], "/")
		}
		if len(numbers) != 3 {
			return badRequest("flow: %s is not probe/epoch/worker/flow_id", layoutSafe(name))
		}
		n := strconv.Itoa(i)
		for j, bits := range []int{64, 16, 64} {
			if _, err := strconv.ParseUint(numbers[j], 10, bits); err != nil {
				return badRequest("flow: %s is not probe/epoch/worker/flow_id", layoutSafe(name))
			}
		}
		w.params["f_probe"+n], w.params["f_epoch"+n] = text(name[:at]), numbers[0]
		w.params["f_worker"+n], w.params["f_id"+n] = numbers[1], numbers[2]
		any = append(any, "(probe = {f_probe"+n+":String} AND epoch = {f_epoch"+n+":UInt64} AND worker = {f_worker"+n+":UInt16} AND flow_id = {f_id"+n+":UInt64})")
	}
	w.terms = append(w.terms, strings.Join(any, " OR "))
	return nil
}

// network returns the first and last address of an address or CIDR, as IPv6;
// IPv4 is mapped (::ffff:0:0/96), as the tables have it.
func network(name, s string) (first, last string, err error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return "", "", badRequest("%s: %s is neither an address nor a network such as 10.0.0.0/8", name, layoutSafe(s))
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	lo := p.Masked().Addr().As16()
	hi := lo
	for i := range hi {
		switch free := (i+1)*8 - bits; {
		case free >= 8:
			hi[i] = 0xff
		case free > 0:
			hi[i] |= 1<<free - 1
		}
	}
	return netip.AddrFrom16(lo).String(), netip.AddrFrom16(hi).String(), nil
}
