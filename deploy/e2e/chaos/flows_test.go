package chaos

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-faster/city"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// base is when the traffic of the kill test begins: an hour before midnight, so
// that days change on the way.
var base = time.Date(2026, 3, 1, 23, 0, 0, 0, time.UTC).UnixNano()

// flowStep is the time between two generated flows: 200 000 of them span two and
// a half days, 20 000 six hours.
const flowStep = 1100 * time.Millisecond

// makeFlow sets r to flow number i of a seed; nothing else goes into it.
func makeFlow(seed uint64, i int, r *flow.Record) {
	rnd := rand.New(rand.NewPCG(seed, uint64(i)))
	pick := func(n int) int { return rnd.IntN(n) }
	text := func(prefix string, n int) string { return prefix + strconv.Itoa(pick(n)) }
	r.Reset()
	r.Interface = text("eth", 3)
	r.VLAN, r.VLANInner = uint16(pick(4)*100), uint16(pick(2)*7)
	r.Tunnel, r.TunnelID = flow.Tunnel(pick(5)), rnd.Uint32()
	r.SrcMAC, r.DstMAC = flow.MAC(rnd.Uint64()>>16), flow.MAC(rnd.Uint64()>>16)
	r.SrcIP, r.DstIP = makeAddr(rnd, 40), makeAddr(rnd, 200)
	r.SrcPort, r.DstPort = uint16(pick(65536)), uint16(pick(1024))
	r.Protocol = []uint8{6, 6, 6, 17, 1, 58, 132}[pick(7)]
	r.InitiatorGuessed = pick(5) == 0
	r.Start = base + int64(i)*int64(flowStep) + int64(pick(1_000_000_000))
	if pick(16) == 0 {
		r.Start -= int64(12 * time.Hour) // into the day before, now and then
	}
	r.End = r.Start + rnd.Int64N(int64(time.Hour))
	r.EndReason = flow.EndReason(1 + pick(5))
	r.FlowID, r.Segment = rnd.Uint64()>>1, uint32(pick(3))
	count := func() uint64 { return rnd.Uint64() >> (24 + pick(40)) }
	r.SrcPackets, r.DstPackets, r.SrcBytes, r.DstBytes = count(), count(), count(), count()
	r.SrcFrameBytes, r.DstFrameBytes, r.SrcPayloadBytes, r.DstPayloadBytes = count(), count(), count(), count()
	r.SrcTCPFlags, r.DstTCPFlags = uint8(pick(256)), uint8(pick(256))
	r.ConnState, r.History = flow.ConnState(pick(14)), text("ShAdDaFf", 20)
	r.DstRTT, r.SrcRTT = rnd.Uint32(), rnd.Uint32()
	r.SrcRetransmits, r.DstRetransmits = rnd.Uint32(), rnd.Uint32()
	r.SrcOutOfOrder, r.DstOutOfOrder = rnd.Uint32(), rnd.Uint32()
	r.SrcTTL, r.DstTTL, r.Response = uint8(pick(256)), uint8(pick(256)), rnd.Uint32()
	r.App, r.AppSource, r.Cut = text("app", 12), flow.AppSource(pick(4)), flow.Cut(pick(32))
	r.TLSVersion, r.TLSCipher, r.QUICVersion = uint16(pick(65536)), uint16(pick(65536)), rnd.Uint32()
	r.TLSSNI, r.TLSALPN = text("host-", 100000)+".example", text("h", 4)
	r.JA3, r.JA3S, r.JA4 = text("ja3-", 50), text("ja3s-", 50), text("ja4-", 50)
	r.HTTPMethod, r.HTTPHost, r.HTTPURI = text("GET", 3), text("www", 1000), text("/ü'\\\t\n", 100000)
	r.HTTPUserAgent, r.HTTPStatus, r.HTTPContentType = text("agent ", 20), uint16(pick(600)), text("text/", 5)
	for range pick(4) {
		r.HTTPRequests = append(r.HTTPRequests, text("GET /", 1000))
		r.HTTPStatuses = append(r.HTTPStatuses, uint16(pick(600)))
	}
	for range pick(4) {
		r.DNSNames, r.DNSQTypes = append(r.DNSNames, text("name", 5000)), append(r.DNSQTypes, uint16(pick(300)))
		r.DNSRcodes, r.DNSAnswers = append(r.DNSRcodes, uint16(pick(24))), append(r.DNSAnswers, text("10.0.0.", 255))
	}
	r.DNSLatency = rnd.Uint32()
	r.SSHClient, r.SSHServer = text("SSH-2.0-c", 9), text("SSH-2.0-s", 9)
	r.HASSH, r.HASSHServer = text("hassh", 9), text("hasshs", 9)
	makeFeatures(rnd, r)
}

// makeFeatures is the part of makeFlow for the columns after community_hash.
func makeFeatures(rnd *rand.Rand, r *flow.Record) {
	pick := func(n int) int { return rnd.IntN(n) }
	text := func(prefix string, n int) string { return prefix + strconv.Itoa(pick(n)) }
	r.OuterSrcIP = makeAddr(rnd, 9)
	r.OuterDstIP = makeAddr(rnd, 9)
	r.EtherType = uint16(pick(65536))
	r.Sampling = rnd.Uint32()
	r.AggregatedFlows = rnd.Uint32()
	r.SrcDSCP = uint8(pick(256))
	r.DstDSCP = uint8(pick(256))
	r.SrcECN = uint8(pick(256))
	r.DstECN = uint8(pick(256))
	for range pick(3) {
		r.SrcSizeBins = append(r.SrcSizeBins, rnd.Uint32())
	}
	for range pick(3) {
		r.DstSizeBins = append(r.DstSizeBins, rnd.Uint32())
	}
	r.SrcSizeMin = uint16(pick(65536))
	r.DstSizeMin = uint16(pick(65536))
	r.SrcSizeMax = uint16(pick(65536))
	r.DstSizeMax = uint16(pick(65536))
	r.SrcSizeStd = rnd.Float32()
	r.DstSizeStd = rnd.Float32()
	r.SrcIATMin = rnd.Uint32()
	r.DstIATMin = rnd.Uint32()
	r.SrcIATMax = rnd.Uint32()
	r.DstIATMax = rnd.Uint32()
	r.SrcIATMean = rnd.Uint32()
	r.DstIATMean = rnd.Uint32()
	r.SrcIATStd = rnd.Uint32()
	r.DstIATStd = rnd.Uint32()
	for range pick(3) {
		r.FirstSizes = append(r.FirstSizes, int32(rnd.Uint32()))
	}
	for range pick(3) {
		r.FirstGaps = append(r.FirstGaps, rnd.Uint32())
	}
	r.SrcMSS = uint16(pick(65536))
	r.DstMSS = uint16(pick(65536))
	r.SrcZeroWindows = rnd.Uint32()
	r.DstZeroWindows = rnd.Uint32()
	r.ICMPErrors = rnd.Uint32()
	r.ICMPError = uint16(pick(65536))
	r.Transactions = rnd.Uint32()
	r.TransactionMin = rnd.Uint32()
	r.TransactionMean = rnd.Uint32()
	r.TransactionMax = rnd.Uint32()
	r.PayloadEntropy = rnd.Float32()
	r.PayloadPrintable = uint8(pick(256))
	r.Service = text("servic-", 20)
	r.Risks = flow.Risk(rnd.Uint64())
	r.User = text("user-", 20)
	r.Domain = text("domain-", 20)
	r.AppHost = text("app_ho-", 20)
	r.AppVersion = text("app_ve-", 20)
	r.ClientSoftware = text("client-", 20)
	r.ServerSoftware = text("server-", 20)
	for range pick(3) {
		r.AppRequests = append(r.AppRequests, text("app_re ", 1000))
	}
	for range pick(3) {
		r.AppResponses = append(r.AppResponses, text("app_re ", 1000))
	}
	r.AppErrors = rnd.Uint32()
	r.CertSubject = text("tls_ce-", 20)
	r.CertIssuer = text("tls_ce-", 20)
	r.CertSHA256 = text("tls_ce-", 20)
	r.CertNotBefore = rnd.Uint64()
	r.CertNotAfter = rnd.Uint64()
	for range pick(3) {
		r.CertNames = append(r.CertNames, text("tls_ce ", 1000))
	}
	r.TLSHandshake = rnd.Uint32()
	for range pick(3) {
		r.HTTPLatencies = append(r.HTTPLatencies, rnd.Uint32())
	}
	for range pick(3) {
		r.DNSLatencies = append(r.DNSLatencies, rnd.Uint32())
	}
}

func makeAddr(rnd *rand.Rand, n int) flow.Addr {
	if rnd.IntN(4) == 0 {
		a := netip.MustParseAddr("2001:db8::").As16()
		binary.BigEndian.PutUint64(a[8:], uint64(1+rnd.IntN(n)))
		return flow.Addr(a)
	}
	return flow.AddrFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(1 + rnd.IntN(n))}))
}

// columnText says for each column how ClickHouse and we write it down, each in
// its own way, to the same text. That every column of the table is here is
// tested.
var columnText = []struct {
	name string
	sql  string // empty: toString
	text func(*flow.Record) string
}{
	{"interface", "", func(r *flow.Record) string { return r.Interface }},
	{"vlan", "", func(r *flow.Record) string { return whole(r.VLAN) }},
	{"vlan_inner", "", func(r *flow.Record) string { return whole(r.VLANInner) }},
	{"tunnel", "", func(r *flow.Record) string { return r.Tunnel.String() }},
	{"tunnel_id", "", func(r *flow.Record) string { return whole(r.TunnelID) }},
	{"src_mac", "", func(r *flow.Record) string { return whole(r.SrcMAC) }},
	{"dst_mac", "", func(r *flow.Record) string { return whole(r.DstMAC) }},
	{"src_ip", "lower(hex(src_ip))", func(r *flow.Record) string { return fmt.Sprintf("%x", r.SrcIP[:]) }},
	{"dst_ip", "lower(hex(dst_ip))", func(r *flow.Record) string { return fmt.Sprintf("%x", r.DstIP[:]) }},
	{"src_port", "", func(r *flow.Record) string { return whole(r.SrcPort) }},
	{"dst_port", "", func(r *flow.Record) string { return whole(r.DstPort) }},
	{"protocol", "", func(r *flow.Record) string { return whole(r.Protocol) }},
	{"initiator_guessed", "", func(r *flow.Record) string { return strconv.FormatBool(r.InitiatorGuessed) }},
	{"start", "toString(toUnixTimestamp64Nano(start))", func(r *flow.Record) string { return whole(r.Start) }},
	{"end", "toString(toUnixTimestamp64Nano(end))", func(r *flow.Record) string { return whole(r.End) }},
	{"end_reason", "", func(r *flow.Record) string { return r.EndReason.String() }},
	{"flow_id", "", func(r *flow.Record) string { return whole(r.FlowID) }},
	{"segment", "", func(r *flow.Record) string { return whole(r.Segment) }},
	{"src_packets", "", func(r *flow.Record) string { return whole(r.SrcPackets) }},
	{"dst_packets", "", func(r *flow.Record) string { return whole(r.DstPackets) }},
	{"src_bytes", "", func(r *flow.Record) string { return whole(r.SrcBytes) }},
	{"dst_bytes", "", func(r *flow.Record) string { return whole(r.DstBytes) }},
	{"src_frame_bytes", "", func(r *flow.Record) string { return whole(r.SrcFrameBytes) }},
	{"dst_frame_bytes", "", func(r *flow.Record) string { return whole(r.DstFrameBytes) }},
	{"src_payload_bytes", "", func(r *flow.Record) string { return whole(r.SrcPayloadBytes) }},
	{"dst_payload_bytes", "", func(r *flow.Record) string { return whole(r.DstPayloadBytes) }},
	{"src_tcp_flags", "", func(r *flow.Record) string { return whole(r.SrcTCPFlags) }},
	{"dst_tcp_flags", "", func(r *flow.Record) string { return whole(r.DstTCPFlags) }},
	{"conn_state", "", func(r *flow.Record) string { return r.ConnState.String() }},
	{"history", "", func(r *flow.Record) string { return r.History }},
	{"dst_rtt_us", "", func(r *flow.Record) string { return whole(r.DstRTT) }},
	{"src_rtt_us", "", func(r *flow.Record) string { return whole(r.SrcRTT) }},
	{"src_retransmits", "", func(r *flow.Record) string { return whole(r.SrcRetransmits) }},
	{"dst_retransmits", "", func(r *flow.Record) string { return whole(r.DstRetransmits) }},
	{"src_out_of_order", "", func(r *flow.Record) string { return whole(r.SrcOutOfOrder) }},
	{"dst_out_of_order", "", func(r *flow.Record) string { return whole(r.DstOutOfOrder) }},
	{"src_ttl", "", func(r *flow.Record) string { return whole(r.SrcTTL) }},
	{"dst_ttl", "", func(r *flow.Record) string { return whole(r.DstTTL) }},
	{"response_us", "", func(r *flow.Record) string { return whole(r.Response) }},
	{"app", "", func(r *flow.Record) string { return r.App }},
	{"app_source", "", func(r *flow.Record) string { return r.AppSource.String() }},
	{"cut", "", func(r *flow.Record) string { return whole(r.Cut) }},
	{"tls_version", "", func(r *flow.Record) string { return whole(r.TLSVersion) }},
	{"tls_sni", "", func(r *flow.Record) string { return r.TLSSNI }},
	{"tls_alpn", "", func(r *flow.Record) string { return r.TLSALPN }},
	{"tls_cipher", "", func(r *flow.Record) string { return whole(r.TLSCipher) }},
	{"ja3", "", func(r *flow.Record) string { return r.JA3 }},
	{"ja3s", "", func(r *flow.Record) string { return r.JA3S }},
	{"ja4", "", func(r *flow.Record) string { return r.JA4 }},
	{"quic_version", "", func(r *flow.Record) string { return whole(r.QUICVersion) }},
	{"http_method", "", func(r *flow.Record) string { return r.HTTPMethod }},
	{"http_host", "", func(r *flow.Record) string { return r.HTTPHost }},
	{"http_uri", "", func(r *flow.Record) string { return r.HTTPURI }},
	{"http_user_agent", "", func(r *flow.Record) string { return r.HTTPUserAgent }},
	{"http_status", "", func(r *flow.Record) string { return whole(r.HTTPStatus) }},
	{"http_content_type", "", func(r *flow.Record) string { return r.HTTPContentType }},
	{"http_requests", "arrayStringConcat(http_requests, '|')", func(r *flow.Record) string { return strings.Join(r.HTTPRequests, "|") }},
	{"http_statuses", "arrayStringConcat(http_statuses, '|')", func(r *flow.Record) string { return wholes(r.HTTPStatuses) }},
	{"dns_names", "arrayStringConcat(dns_names, '|')", func(r *flow.Record) string { return strings.Join(r.DNSNames, "|") }},
	{"dns_qtypes", "arrayStringConcat(dns_qtypes, '|')", func(r *flow.Record) string { return wholes(r.DNSQTypes) }},
	{"dns_rcodes", "arrayStringConcat(dns_rcodes, '|')", func(r *flow.Record) string { return wholes(r.DNSRcodes) }},
	{"dns_answers", "arrayStringConcat(dns_answers, '|')", func(r *flow.Record) string { return strings.Join(r.DNSAnswers, "|") }},
	{"dns_latency_us", "", func(r *flow.Record) string { return whole(r.DNSLatency) }},
	{"ssh_client", "", func(r *flow.Record) string { return r.SSHClient }},
	{"ssh_server", "", func(r *flow.Record) string { return r.SSHServer }},
	{"hassh", "", func(r *flow.Record) string { return r.HASSH }},
	{"hassh_server", "", func(r *flow.Record) string { return r.HASSHServer }},
	{"community_hash", "", func(r *flow.Record) string {
		return whole(flow.CommunityHash(r.SrcIP, r.DstIP, r.SrcPort, r.DstPort, r.Protocol))
	}},
	{"outer_src_ip", "lower(hex(outer_src_ip))", func(r *flow.Record) string { return fmt.Sprintf("%x", r.OuterSrcIP[:]) }},
	{"outer_dst_ip", "lower(hex(outer_dst_ip))", func(r *flow.Record) string { return fmt.Sprintf("%x", r.OuterDstIP[:]) }},
	{"ethertype", "", func(r *flow.Record) string { return whole(r.EtherType) }},
	{"sampling", "", func(r *flow.Record) string { return whole(r.Sampling) }},
	{"aggregated_flows", "", func(r *flow.Record) string { return whole(r.AggregatedFlows) }},
	{"src_dscp", "", func(r *flow.Record) string { return whole(r.SrcDSCP) }},
	{"dst_dscp", "", func(r *flow.Record) string { return whole(r.DstDSCP) }},
	{"src_ecn", "", func(r *flow.Record) string { return whole(r.SrcECN) }},
	{"dst_ecn", "", func(r *flow.Record) string { return whole(r.DstECN) }},
	{"src_size_bins", "arrayStringConcat(src_size_bins, '|')", func(r *flow.Record) string { return wholes(r.SrcSizeBins) }},
	{"dst_size_bins", "arrayStringConcat(dst_size_bins, '|')", func(r *flow.Record) string { return wholes(r.DstSizeBins) }},
	{"src_size_min", "", func(r *flow.Record) string { return whole(r.SrcSizeMin) }},
	{"dst_size_min", "", func(r *flow.Record) string { return whole(r.DstSizeMin) }},
	{"src_size_max", "", func(r *flow.Record) string { return whole(r.SrcSizeMax) }},
	{"dst_size_max", "", func(r *flow.Record) string { return whole(r.DstSizeMax) }},
	{"src_size_std", "toString(reinterpretAsUInt32(src_size_std))", func(r *flow.Record) string { return whole(math.Float32bits(r.SrcSizeStd)) }},
	{"dst_size_std", "toString(reinterpretAsUInt32(dst_size_std))", func(r *flow.Record) string { return whole(math.Float32bits(r.DstSizeStd)) }},
	{"src_iat_min_us", "", func(r *flow.Record) string { return whole(r.SrcIATMin) }},
	{"dst_iat_min_us", "", func(r *flow.Record) string { return whole(r.DstIATMin) }},
	{"src_iat_max_us", "", func(r *flow.Record) string { return whole(r.SrcIATMax) }},
	{"dst_iat_max_us", "", func(r *flow.Record) string { return whole(r.DstIATMax) }},
	{"src_iat_mean_us", "", func(r *flow.Record) string { return whole(r.SrcIATMean) }},
	{"dst_iat_mean_us", "", func(r *flow.Record) string { return whole(r.DstIATMean) }},
	{"src_iat_std_us", "", func(r *flow.Record) string { return whole(r.SrcIATStd) }},
	{"dst_iat_std_us", "", func(r *flow.Record) string { return whole(r.DstIATStd) }},
	{"first_sizes", "arrayStringConcat(first_sizes, '|')", func(r *flow.Record) string { return wholes(r.FirstSizes) }},
	{"first_gaps_us", "arrayStringConcat(first_gaps_us, '|')", func(r *flow.Record) string { return wholes(r.FirstGaps) }},
	{"src_mss", "", func(r *flow.Record) string { return whole(r.SrcMSS) }},
	{"dst_mss", "", func(r *flow.Record) string { return whole(r.DstMSS) }},
	{"src_zero_windows", "", func(r *flow.Record) string { return whole(r.SrcZeroWindows) }},
	{"dst_zero_windows", "", func(r *flow.Record) string { return whole(r.DstZeroWindows) }},
	{"icmp_errors", "", func(r *flow.Record) string { return whole(r.ICMPErrors) }},
	{"icmp_error", "", func(r *flow.Record) string { return whole(r.ICMPError) }},
	{"transactions", "", func(r *flow.Record) string { return whole(r.Transactions) }},
	{"transaction_min_us", "", func(r *flow.Record) string { return whole(r.TransactionMin) }},
	{"transaction_mean_us", "", func(r *flow.Record) string { return whole(r.TransactionMean) }},
	{"transaction_max_us", "", func(r *flow.Record) string { return whole(r.TransactionMax) }},
	{"payload_entropy", "toString(reinterpretAsUInt32(payload_entropy))", func(r *flow.Record) string { return whole(math.Float32bits(r.PayloadEntropy)) }},
	{"payload_printable", "", func(r *flow.Record) string { return whole(r.PayloadPrintable) }},
	{"service", "", func(r *flow.Record) string { return r.Service }},
	{"risks", "", func(r *flow.Record) string { return whole(r.Risks) }},
	{"user", "", func(r *flow.Record) string { return r.User }},
	{"domain", "", func(r *flow.Record) string { return r.Domain }},
	{"app_host", "", func(r *flow.Record) string { return r.AppHost }},
	{"app_version", "", func(r *flow.Record) string { return r.AppVersion }},
	{"client_software", "", func(r *flow.Record) string { return r.ClientSoftware }},
	{"server_software", "", func(r *flow.Record) string { return r.ServerSoftware }},
	{"app_requests", "arrayStringConcat(app_requests, '|')", func(r *flow.Record) string { return strings.Join(r.AppRequests, "|") }},
	{"app_responses", "arrayStringConcat(app_responses, '|')", func(r *flow.Record) string { return strings.Join(r.AppResponses, "|") }},
	{"app_errors", "", func(r *flow.Record) string { return whole(r.AppErrors) }},
	{"tls_cert_subject", "", func(r *flow.Record) string { return r.CertSubject }},
	{"tls_cert_issuer", "", func(r *flow.Record) string { return r.CertIssuer }},
	{"tls_cert_sha256", "", func(r *flow.Record) string { return r.CertSHA256 }},
	{"tls_cert_not_before", "", func(r *flow.Record) string { return whole(r.CertNotBefore) }},
	{"tls_cert_not_after", "", func(r *flow.Record) string { return whole(r.CertNotAfter) }},
	{"tls_cert_names", "arrayStringConcat(tls_cert_names, '|')", func(r *flow.Record) string { return strings.Join(r.CertNames, "|") }},
	{"tls_handshake_us", "", func(r *flow.Record) string { return whole(r.TLSHandshake) }},
	{"http_latencies_us", "arrayStringConcat(http_latencies_us, '|')", func(r *flow.Record) string { return wholes(r.HTTPLatencies) }},
	{"dns_latencies_us", "arrayStringConcat(dns_latencies_us, '|')", func(r *flow.Record) string { return wholes(r.DNSLatencies) }},
	{"origin", "", func(r *flow.Record) string { return r.Origin }},
}

func whole[T ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~int32 | ~int64](n T) string {
	if n > 0 {
		return strconv.FormatUint(uint64(n), 10)
	}
	return strconv.FormatInt(int64(n), 10)
}

func wholes[T ~uint16 | ~uint32 | ~int32](list []T) string {
	words := make([]string, len(list))
	for i, n := range list {
		words[i] = whole(n)
	}
	return strings.Join(words, "|")
}

// rowText is all columns of a record.
func rowText(r *flow.Record) string {
	var b strings.Builder
	for _, c := range columnText {
		b.WriteString(c.text(r))
		b.WriteByte(0)
	}
	return b.String()
}

func rowHash(r *flow.Record) uint64 { return city.CH64([]byte(rowText(r))) }

// rowTextSQL is rowText in ClickHouse, and cityHash64 of it is rowHash.
func rowTextSQL() string {
	var words []string
	for _, c := range columnText {
		sql := c.sql
		if sql == "" {
			sql = "toString(" + c.name + ")"
		}
		words = append(words, sql, `'\0'`)
	}
	return "concat(" + strings.Join(words, ", ") + ")"
}

func TestKillRigComparesEveryColumn(t *testing.T) {
	names := flow.ColumnNames()
	for i, c := range columnText {
		if i >= len(names) || c.name != names[i] {
			t.Fatalf("column %d is %s here, in the table it is not", i, c.name)
		}
	}
	if len(names) != len(columnText) {
		t.Errorf("%d columns are compared, the table has %d", len(columnText), len(names))
	}
	var a, b flow.Record
	makeFlow(1, 7, &a)
	makeFlow(1, 7, &b)
	if rowText(&a) != rowText(&b) {
		t.Error("a flow is not a function of its number")
	}
	makeFlow(1, 8, &b)
	if rowHash(&a) == rowHash(&b) {
		t.Error("two flows are equal")
	}
}
