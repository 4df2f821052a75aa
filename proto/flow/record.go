// Package flow holds the flow record: its fields and enumerations, the
// Community ID, and its three forms: Record (one flow, in the probe),
// FlowBatch (columns, on the wire; see flow.proto) and Block (columns, on
// their way into ClickHouse). The table in columns.go is the one place that
// ties the forms together; the documentation of each field stands in flow.proto.
package flow

import (
	"net/netip"
	"time"
)

// Addr is an IPv6 address, or an IPv4 address mapped into IPv6. The zero value
// is unset.
type Addr [16]byte

// AddrFrom returns a as 16 octets; IPv4 is mapped, a zone is dropped.
func AddrFrom(a netip.Addr) Addr { return Addr(a.As16()) }

// Netip returns the address with IPv4 unmapped.
func (a Addr) Netip() netip.Addr { return netip.AddrFrom16(a).Unmap() }

// Is4 reports whether a is a mapped IPv4 address.
func (a *Addr) Is4() bool {
	return a[10] == 0xff && a[11] == 0xff && [10]byte(a[:10]) == [10]byte{}
}

func (a Addr) String() string { return a.Netip().String() }

// MAC is a 48-bit hardware address in the low bits; 0 is none.
type MAC uint64

// MACFrom reads the six octets of a hardware address.
func MACFrom(b []byte) MAC {
	_ = b[5]
	return MAC(b[0])<<40 | MAC(b[1])<<32 | MAC(b[2])<<24 | MAC(b[3])<<16 | MAC(b[4])<<8 | MAC(b[5])
}

func (m MAC) appendText(dst []byte) []byte {
	if m == 0 {
		return dst
	}
	const digits = "0123456789abcdef"
	for shift := 40; shift >= 0; shift -= 8 {
		b := byte(m >> shift)
		dst = append(dst, digits[b>>4], digits[b&15])
		if shift > 0 {
			dst = append(dst, ':')
		}
	}
	return dst
}

func (m MAC) String() string { return string(m.appendText(nil)) }

// Record is one flow record: a bidirectional flow (RFC 5103), or one segment of
// it. Units and the meaning of zero are those of flow.proto. Whoever is handed
// a *Record may read it until the call returns; slices and strings in it may be
// reused after that.
type Record struct {
	Interface       string
	VLAN, VLANInner uint16
	Tunnel          Tunnel
	TunnelID        uint32
	SrcMAC, DstMAC  MAC

	SrcIP, DstIP     Addr
	SrcPort, DstPort uint16
	Protocol         uint8
	InitiatorGuessed bool

	// Start and End are nanoseconds since the Unix epoch, UTC.
	Start, End int64
	EndReason  EndReason
	FlowID     uint64
	Segment    uint32

	SrcPackets, DstPackets           uint64
	SrcBytes, DstBytes               uint64
	SrcFrameBytes, DstFrameBytes     uint64
	SrcPayloadBytes, DstPayloadBytes uint64

	SrcTCPFlags, DstTCPFlags       uint8
	ConnState                      ConnState
	History                        string
	DstRTT, SrcRTT                 uint32 // microseconds
	SrcRetransmits, DstRetransmits uint32
	SrcOutOfOrder, DstOutOfOrder   uint32
	SrcTTL, DstTTL                 uint8
	Response                       uint32 // microseconds

	App       string
	AppSource AppSource
	Cut       Cut

	TLSVersion      uint16
	TLSSNI, TLSALPN string
	TLSCipher       uint16
	JA3, JA3S, JA4  string
	QUICVersion     uint32

	HTTPMethod, HTTPHost, HTTPURI, HTTPUserAgent string
	HTTPStatus                                   uint16
	HTTPContentType                              string
	HTTPRequests                                 []string
	HTTPStatuses                                 []uint16

	DNSNames   []string
	DNSQTypes  []uint16
	DNSRcodes  []uint16
	DNSAnswers []string
	DNSLatency uint32 // microseconds

	SSHClient, SSHServer string
	HASSH, HASSHServer   string

	OuterSrcIP      Addr
	OuterDstIP      Addr
	EtherType       uint16
	Sampling        uint32
	AggregatedFlows uint32

	SrcDSCP uint8
	DstDSCP uint8
	SrcECN  uint8
	DstECN  uint8

	SrcSizeBins []uint32
	DstSizeBins []uint32
	SrcSizeMin  uint16
	DstSizeMin  uint16
	SrcSizeMax  uint16
	DstSizeMax  uint16
	SrcSizeStd  float32
	DstSizeStd  float32
	SrcIATMin   uint32
	DstIATMin   uint32
	SrcIATMax   uint32
	DstIATMax   uint32
	SrcIATMean  uint32
	DstIATMean  uint32
	SrcIATStd   uint32
	DstIATStd   uint32
	FirstSizes  []int32
	FirstGaps   []uint32

	SrcMSS         uint16
	DstMSS         uint16
	SrcZeroWindows uint32
	DstZeroWindows uint32
	ICMPErrors     uint32
	ICMPError      uint16

	Transactions    uint32
	TransactionMin  uint32
	TransactionMean uint32
	TransactionMax  uint32

	PayloadEntropy   float32
	PayloadPrintable uint8

	Service        string
	Risks          Risk
	User           string
	Domain         string
	AppHost        string
	AppVersion     string
	ClientSoftware string
	ServerSoftware string
	AppRequests    []string
	AppResponses   []string
	AppErrors      uint32

	CertSubject   string
	CertIssuer    string
	CertSHA256    string
	CertNotBefore uint64
	CertNotAfter  uint64
	CertNames     []string
	TLSHandshake  uint32

	HTTPLatencies []uint32
	DNSLatencies  []uint32

	Origin string
}

// Reset empties the record and keeps the lists' memory.
func (r *Record) Reset() {
	*r = Record{
		HTTPRequests: r.HTTPRequests[:0], HTTPStatuses: r.HTTPStatuses[:0],
		DNSNames: r.DNSNames[:0], DNSQTypes: r.DNSQTypes[:0], DNSRcodes: r.DNSRcodes[:0], DNSAnswers: r.DNSAnswers[:0],
		SrcSizeBins:   r.SrcSizeBins[:0],
		DstSizeBins:   r.DstSizeBins[:0],
		FirstSizes:    r.FirstSizes[:0],
		FirstGaps:     r.FirstGaps[:0],
		AppRequests:   r.AppRequests[:0],
		AppResponses:  r.AppResponses[:0],
		CertNames:     r.CertNames[:0],
		HTTPLatencies: r.HTTPLatencies[:0],
		DNSLatencies:  r.DNSLatencies[:0],
	}
}

// StartTime is Start as a time in UTC.
func (r *Record) StartTime() time.Time { return time.Unix(0, r.Start).UTC() }

// Packets and FrameBytes are the sums of both directions.
func (r *Record) Packets() uint64    { return r.SrcPackets + r.DstPackets }
func (r *Record) FrameBytes() uint64 { return r.SrcFrameBytes + r.DstFrameBytes }

// Limits of a record. What exceeds them is shortened and marked in Cut, or, for
// lists, cuts the flow into a new segment.
const (
	MaxString = 1024 // octets of one string
	MaxList   = 32   // elements of one list
)
