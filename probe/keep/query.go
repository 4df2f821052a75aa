package keep

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/probe/capture"
	"github.com/tapwatch/tapwatch/proto/flow"
	"github.com/tapwatch/tapwatch/proto/kit"
)

// Query says which packets are wanted: those that meet every condition given. The
// zero value wants all. Addresses and ports are those of the innermost packet, as in
// flow records, and meant for both directions: a packet matches when Src with
// SrcPort is one of its ends and Dst with DstPort the other.
type Query struct {
	Start, End       time.Time  // of packets, both included; zero: open
	Src, Dst         netip.Addr // zero value: any
	SrcPort, DstPort int        // 0: any. ICMP: type and code of a message
	Protocol         int        // IP protocol number; 0: any
	Host             netip.Addr // one of both ends, of the packet or of its tunnel
	CommunityID      string     // version 1, seed 0: "1:" and base64
	Filter           string     // BPF expression as of tcpdump, on the whole frame
	Within           string     // another that must match too: what somebody may see
	Format           Format
}

// Format is a file format of Find.
type Format string

// Formats. FormatAuto is pcap when all interfaces that come into question are one,
// else pcapng; both with nanoseconds.
const (
	FormatAuto   Format = ""
	FormatPcap   Format = "pcap"
	FormatPcapng Format = "pcapng"
)

// protocols by name, as /etc/protocols has them.
var protocols = map[string]int{"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "esp": 50, "ah": 51, "icmp6": 58,
	"ipv6-icmp": 58, "ospf": 89, "pim": 103, "vrrp": 112, "sctp": 132}

func queryError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrQuery, fmt.Sprintf(format, args...))
}

// matcher is a Query made ready.
type matcher struct {
	q           Query
	start, end  int64
	src, dst    flow.Addr
	host        flow.Addr
	community   uint64
	byCommunity bool     // of the index
	hosts       []uint32 // that the index must have
	byFlow      bool     // something of the flow's key is asked for
	filters     map[uint16][]*capture.Filter
	expressions []string
}

// newMatcher checks q. Its errors wrap ErrQuery or capture.ErrNoLibpcap.
func newMatcher(q Query) (*matcher, error) {
	m := &matcher{q: q, start: -1 << 63, end: 1<<63 - 1, filters: make(map[uint16][]*capture.Filter)}
	if !q.Start.IsZero() {
		m.start = q.Start.UnixNano()
	}
	if !q.End.IsZero() {
		m.end = q.End.UnixNano()
	}
	switch {
	case m.start > m.end:
		return nil, queryError("the start, %s, is after the end, %s", q.Start.UTC().Format(time.RFC3339Nano), q.End.UTC().Format(time.RFC3339Nano))
	case q.SrcPort < 0 || q.SrcPort > 65535 || q.DstPort < 0 || q.DstPort > 65535:
		return nil, queryError("ports are 1 to 65535")
	case q.Protocol < 0 || q.Protocol > 255:
		return nil, queryError("protocol %d is not within 1 to 255", q.Protocol)
	case q.Format != FormatAuto && q.Format != FormatPcap && q.Format != FormatPcapng:
		return nil, queryError("format %q is not pcap or pcapng", q.Format)
	}
	for _, a := range [...]struct {
		in  netip.Addr
		out *flow.Addr
	}{{q.Src, &m.src}, {q.Dst, &m.dst}, {q.Host, &m.host}} {
		if a.in.IsValid() {
			*a.out = flow.AddrFrom(a.in)
			m.hosts = append(m.hosts, hostHash(a.out))
		}
	}
	if q.CommunityID != "" {
		if err := m.setCommunity(q.CommunityID); err != nil {
			return nil, err
		}
	}
	m.byFlow = len(m.hosts) > 0 || q.SrcPort != 0 || q.DstPort != 0 || q.Protocol != 0 || q.CommunityID != ""
	for _, e := range [...]string{q.Filter, q.Within} {
		if strings.TrimSpace(e) != "" {
			m.expressions = append(m.expressions, e)
		}
	}
	for _, e := range m.expressions {
		if _, err := capture.CompileFilter(e, capture.LinkEthernet, 0); err != nil {
			return nil, filterError(err)
		}
	}
	return m, nil
}

func filterError(err error) error {
	if errors.Is(err, capture.ErrNoLibpcap) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrQuery, err)
}

func (m *matcher) setCommunity(id string) error {
	text, ok := strings.CutPrefix(id, "1:")
	sum, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(sum) != 20 {
		return kit.Hint(queryError("community_id %q is not \"1:\" and 28 characters of base64", id), "in a URL write %2B for + and %2F for /")
	}
	for _, b := range sum[:8] {
		m.community = m.community<<8 | uint64(b)
	}
	m.byCommunity = true
	return nil
}

// wants says whether a block with this head may have packets that match.
func (m *matcher) wants(h *header) bool { return h.first <= m.end && h.last >= m.start }

// index says whether a block with this index may have packets that match.
func (m *matcher) index(x *meta) bool {
	if m.byCommunity && !has(x.communities, uint32(m.community>>32)) {
		return false
	}
	for _, h := range m.hosts {
		if !has(x.hosts, h) {
			return false
		}
	}
	return true
}

// flow says whether the packets of a flow match.
func (m *matcher) flow(k *flowKey) bool {
	q := &m.q
	if q.Protocol != 0 && int(k.protocol) != q.Protocol {
		return false
	}
	if q.Host.IsValid() && k.src != m.host && k.dst != m.host && (!k.tunnelled() || k.outerSrc != m.host && k.outerDst != m.host) {
		return false
	}
	if m.byCommunity && (k.community() != m.community || flow.CommunityID(k.src, k.dst, k.srcPort, k.dstPort, k.protocol) != q.CommunityID) {
		return false
	}
	return m.ends(&k.src, &k.dst, k.srcPort, k.dstPort) || m.ends(&k.dst, &k.src, k.dstPort, k.srcPort) || m.message(k)
}

func (m *matcher) ends(src, dst *flow.Addr, srcPort, dstPort uint16) bool {
	q := &m.q
	return (!q.Src.IsValid() || *src == m.src) && (!q.Dst.IsValid() || *dst == m.dst) &&
		(q.SrcPort == 0 || int(srcPort) == q.SrcPort) && (q.DstPort == 0 || int(dstPort) == q.DstPort)
}

// message compares an ICMP flow, whose key has the type of its first message: the
// question may be about the reply. Codes of such messages are left out.
func (m *matcher) message(k *flowKey) bool {
	if k.protocol != flow.ProtoICMP && k.protocol != flow.ProtoICMPv6 || m.q.DstPort != 0 {
		return false
	}
	reply, _, pair := flow.ICMPReply(k.protocol, uint8(k.srcPort))
	return pair && m.ends(&k.dst, &k.src, uint16(reply), 0)
}

// frame says whether the BPF expressions let a frame through. An expression that
// libpcap refuses for the frame's link type lets none of them through.
func (m *matcher) frame(kind uint16, r *record) bool {
	if len(m.expressions) == 0 {
		return true
	}
	list, known := m.filters[kind]
	if !known {
		for _, e := range m.expressions {
			f, err := capture.CompileFilter(e, kind, 0)
			if err != nil {
				list = nil
				break
			}
			list = append(list, f)
		}
		m.filters[kind] = list
	}
	for _, f := range list {
		if !f.Match(r.data, r.length) {
			return false
		}
	}
	return list != nil
}
