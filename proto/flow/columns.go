package flow

import "github.com/tapwatch/tapwatch/proto/flowpb"

type (
	pb  = flowpb.FlowBatch
	rec = Record
)

// columns ties each field's one name to its place in the Record and on the
// wire, in the order of flow.proto. The SQL type is the one in proto/table; a
// test holds the two equal. The protobuf field has the column's name.
var columns = []column{
	str("interface", func(r *rec) *string { return &r.Interface }, func(b *pb) *[]uint32 { return &b.Interface }).lowCardinality(),
	num("vlan", "UInt16", func(r *rec) *uint16 { return &r.VLAN }, func(b *pb) *[]uint32 { return &b.Vlan }),
	num("vlan_inner", "UInt16", func(r *rec) *uint16 { return &r.VLANInner }, func(b *pb) *[]uint32 { return &b.VlanInner }),
	enum("tunnel", func(r *rec) *Tunnel { return &r.Tunnel }, func(b *pb) *[]uint32 { return &b.Tunnel }),
	num("tunnel_id", "UInt32", func(r *rec) *uint32 { return &r.TunnelID }, func(b *pb) *[]uint32 { return &b.TunnelId }),
	mac("src_mac", func(r *rec) *MAC { return &r.SrcMAC }, func(b *pb) *[]uint64 { return &b.SrcMac }),
	mac("dst_mac", func(r *rec) *MAC { return &r.DstMAC }, func(b *pb) *[]uint64 { return &b.DstMac }),

	addr("src_ip", func(r *rec) *Addr { return &r.SrcIP }, func(b *pb) *[]uint32 { return &b.SrcIp }),
	addr("dst_ip", func(r *rec) *Addr { return &r.DstIP }, func(b *pb) *[]uint32 { return &b.DstIp }),
	num("src_port", "UInt16", func(r *rec) *uint16 { return &r.SrcPort }, func(b *pb) *[]uint32 { return &b.SrcPort }),
	num("dst_port", "UInt16", func(r *rec) *uint16 { return &r.DstPort }, func(b *pb) *[]uint32 { return &b.DstPort }),
	num("protocol", "UInt8", func(r *rec) *uint8 { return &r.Protocol }, func(b *pb) *[]uint32 { return &b.Protocol }),
	boolean("initiator_guessed", func(r *rec) *bool { return &r.InitiatorGuessed }, func(b *pb) *[]uint32 { return &b.InitiatorGuessed }),

	startTime(),
	endTime(),
	enum("end_reason", func(r *rec) *EndReason { return &r.EndReason }, func(b *pb) *[]uint32 { return &b.EndReason }),
	delta("flow_id", func(r *rec) *uint64 { return &r.FlowID }, func(b *pb) *[]int64 { return &b.FlowId }),
	num("segment", "UInt32", func(r *rec) *uint32 { return &r.Segment }, func(b *pb) *[]uint32 { return &b.Segment }),

	num("src_packets", "UInt64", func(r *rec) *uint64 { return &r.SrcPackets }, func(b *pb) *[]uint64 { return &b.SrcPackets }),
	num("dst_packets", "UInt64", func(r *rec) *uint64 { return &r.DstPackets }, func(b *pb) *[]uint64 { return &b.DstPackets }),
	num("src_bytes", "UInt64", func(r *rec) *uint64 { return &r.SrcBytes }, func(b *pb) *[]uint64 { return &b.SrcBytes }),
	num("dst_bytes", "UInt64", func(r *rec) *uint64 { return &r.DstBytes }, func(b *pb) *[]uint64 { return &b.DstBytes }),
	num("src_frame_bytes", "UInt64", func(r *rec) *uint64 { return &r.SrcFrameBytes }, func(b *pb) *[]uint64 { return &b.SrcFrameBytes }),
	num("dst_frame_bytes", "UInt64", func(r *rec) *uint64 { return &r.DstFrameBytes }, func(b *pb) *[]uint64 { return &b.DstFrameBytes }),
	num("src_payload_bytes", "UInt64", func(r *rec) *uint64 { return &r.SrcPayloadBytes }, func(b *pb) *[]uint64 { return &b.SrcPayloadBytes }),
	num("dst_payload_bytes", "UInt64", func(r *rec) *uint64 { return &r.DstPayloadBytes }, func(b *pb) *[]uint64 { return &b.DstPayloadBytes }),

	num("src_tcp_flags", "UInt8", func(r *rec) *uint8 { return &r.SrcTCPFlags }, func(b *pb) *[]uint32 { return &b.SrcTcpFlags }),
	num("dst_tcp_flags", "UInt8", func(r *rec) *uint8 { return &r.DstTCPFlags }, func(b *pb) *[]uint32 { return &b.DstTcpFlags }),
	enum("conn_state", func(r *rec) *ConnState { return &r.ConnState }, func(b *pb) *[]uint32 { return &b.ConnState }),
	str("history", func(r *rec) *string { return &r.History }, func(b *pb) *[]uint32 { return &b.History }).lowCardinality(),
	num("dst_rtt_us", "UInt32", func(r *rec) *uint32 { return &r.DstRTT }, func(b *pb) *[]uint32 { return &b.DstRttUs }),
	num("src_rtt_us", "UInt32", func(r *rec) *uint32 { return &r.SrcRTT }, func(b *pb) *[]uint32 { return &b.SrcRttUs }),
	num("src_retransmits", "UInt32", func(r *rec) *uint32 { return &r.SrcRetransmits }, func(b *pb) *[]uint32 { return &b.SrcRetransmits }),
	num("dst_retransmits", "UInt32", func(r *rec) *uint32 { return &r.DstRetransmits }, func(b *pb) *[]uint32 { return &b.DstRetransmits }),
	num("src_out_of_order", "UInt32", func(r *rec) *uint32 { return &r.SrcOutOfOrder }, func(b *pb) *[]uint32 { return &b.SrcOutOfOrder }),
	num("dst_out_of_order", "UInt32", func(r *rec) *uint32 { return &r.DstOutOfOrder }, func(b *pb) *[]uint32 { return &b.DstOutOfOrder }),
	num("src_ttl", "UInt8", func(r *rec) *uint8 { return &r.SrcTTL }, func(b *pb) *[]uint32 { return &b.SrcTtl }),
	num("dst_ttl", "UInt8", func(r *rec) *uint8 { return &r.DstTTL }, func(b *pb) *[]uint32 { return &b.DstTtl }),
	num("response_us", "UInt32", func(r *rec) *uint32 { return &r.Response }, func(b *pb) *[]uint32 { return &b.ResponseUs }),

	str("app", func(r *rec) *string { return &r.App }, func(b *pb) *[]uint32 { return &b.App }).lowCardinality(),
	enum("app_source", func(r *rec) *AppSource { return &r.AppSource }, func(b *pb) *[]uint32 { return &b.AppSource }),
	num("cut", "UInt32", func(r *rec) *Cut { return &r.Cut }, func(b *pb) *[]uint32 { return &b.Cut }),

	num("tls_version", "UInt16", func(r *rec) *uint16 { return &r.TLSVersion }, func(b *pb) *[]uint32 { return &b.TlsVersion }),
	str("tls_sni", func(r *rec) *string { return &r.TLSSNI }, func(b *pb) *[]uint32 { return &b.TlsSni }),
	str("tls_alpn", func(r *rec) *string { return &r.TLSALPN }, func(b *pb) *[]uint32 { return &b.TlsAlpn }).lowCardinality(),
	num("tls_cipher", "UInt16", func(r *rec) *uint16 { return &r.TLSCipher }, func(b *pb) *[]uint32 { return &b.TlsCipher }),
	str("ja3", func(r *rec) *string { return &r.JA3 }, func(b *pb) *[]uint32 { return &b.Ja3 }).lowCardinality(),
	str("ja3s", func(r *rec) *string { return &r.JA3S }, func(b *pb) *[]uint32 { return &b.Ja3S }).lowCardinality(),
	str("ja4", func(r *rec) *string { return &r.JA4 }, func(b *pb) *[]uint32 { return &b.Ja4 }).lowCardinality(),
	num("quic_version", "UInt32", func(r *rec) *uint32 { return &r.QUICVersion }, func(b *pb) *[]uint32 { return &b.QuicVersion }),

	str("http_method", func(r *rec) *string { return &r.HTTPMethod }, func(b *pb) *[]uint32 { return &b.HttpMethod }).lowCardinality(),
	str("http_host", func(r *rec) *string { return &r.HTTPHost }, func(b *pb) *[]uint32 { return &b.HttpHost }),
	str("http_uri", func(r *rec) *string { return &r.HTTPURI }, func(b *pb) *[]uint32 { return &b.HttpUri }),
	str("http_user_agent", func(r *rec) *string { return &r.HTTPUserAgent }, func(b *pb) *[]uint32 { return &b.HttpUserAgent }).lowCardinality(),
	num("http_status", "UInt16", func(r *rec) *uint16 { return &r.HTTPStatus }, func(b *pb) *[]uint32 { return &b.HttpStatus }),
	str("http_content_type", func(r *rec) *string { return &r.HTTPContentType }, func(b *pb) *[]uint32 { return &b.HttpContentType }).lowCardinality(),
	strList("http_requests", func(r *rec) *[]string { return &r.HTTPRequests }, func(b *pb) (*[]uint32, *[]uint32) { return &b.HttpRequestsN, &b.HttpRequests }),
	numList("http_statuses", func(r *rec) *[]uint16 { return &r.HTTPStatuses }, func(b *pb) (*[]uint32, *[]uint32) { return &b.HttpStatusesN, &b.HttpStatuses }),

	strList("dns_names", func(r *rec) *[]string { return &r.DNSNames }, func(b *pb) (*[]uint32, *[]uint32) { return &b.DnsNamesN, &b.DnsNames }),
	numList("dns_qtypes", func(r *rec) *[]uint16 { return &r.DNSQTypes }, func(b *pb) (*[]uint32, *[]uint32) { return &b.DnsQtypesN, &b.DnsQtypes }),
	numList("dns_rcodes", func(r *rec) *[]uint16 { return &r.DNSRcodes }, func(b *pb) (*[]uint32, *[]uint32) { return &b.DnsRcodesN, &b.DnsRcodes }),
	strList("dns_answers", func(r *rec) *[]string { return &r.DNSAnswers }, func(b *pb) (*[]uint32, *[]uint32) { return &b.DnsAnswersN, &b.DnsAnswers }),
	num("dns_latency_us", "UInt32", func(r *rec) *uint32 { return &r.DNSLatency }, func(b *pb) *[]uint32 { return &b.DnsLatencyUs }),

	str("ssh_client", func(r *rec) *string { return &r.SSHClient }, func(b *pb) *[]uint32 { return &b.SshClient }).lowCardinality(),
	str("ssh_server", func(r *rec) *string { return &r.SSHServer }, func(b *pb) *[]uint32 { return &b.SshServer }).lowCardinality(),
	str("hassh", func(r *rec) *string { return &r.HASSH }, func(b *pb) *[]uint32 { return &b.Hassh }).lowCardinality(),
	str("hassh_server", func(r *rec) *string { return &r.HASSHServer }, func(b *pb) *[]uint32 { return &b.HasshServer }).lowCardinality(),

	communityHash(),

	// observation (continued)
	addr("outer_src_ip", func(r *rec) *Addr { return &r.OuterSrcIP }, func(b *pb) *[]uint32 { return &b.OuterSrcIp }),
	addr("outer_dst_ip", func(r *rec) *Addr { return &r.OuterDstIP }, func(b *pb) *[]uint32 { return &b.OuterDstIp }),
	num("ethertype", "UInt16", func(r *rec) *uint16 { return &r.EtherType }, func(b *pb) *[]uint32 { return &b.Ethertype }),
	num("sampling", "UInt32", func(r *rec) *uint32 { return &r.Sampling }, func(b *pb) *[]uint32 { return &b.Sampling }),
	num("aggregated_flows", "UInt32", func(r *rec) *uint32 { return &r.AggregatedFlows }, func(b *pb) *[]uint32 { return &b.AggregatedFlows }),

	// quality of service: of the first packet of each direction
	num("src_dscp", "UInt8", func(r *rec) *uint8 { return &r.SrcDSCP }, func(b *pb) *[]uint32 { return &b.SrcDscp }),
	num("dst_dscp", "UInt8", func(r *rec) *uint8 { return &r.DstDSCP }, func(b *pb) *[]uint32 { return &b.DstDscp }),
	num("src_ecn", "UInt8", func(r *rec) *uint8 { return &r.SrcECN }, func(b *pb) *[]uint32 { return &b.SrcEcn }),
	num("dst_ecn", "UInt8", func(r *rec) *uint8 { return &r.DstECN }, func(b *pb) *[]uint32 { return &b.DstEcn }),

	// behaviour: of this piece of the flow. Sizes are IP octets of a packet, header included
	numList("src_size_bins", func(r *rec) *[]uint32 { return &r.SrcSizeBins }, func(b *pb) (*[]uint32, *[]uint32) { return &b.SrcSizeBinsN, &b.SrcSizeBins }),
	numList("dst_size_bins", func(r *rec) *[]uint32 { return &r.DstSizeBins }, func(b *pb) (*[]uint32, *[]uint32) { return &b.DstSizeBinsN, &b.DstSizeBins }),
	num("src_size_min", "UInt16", func(r *rec) *uint16 { return &r.SrcSizeMin }, func(b *pb) *[]uint32 { return &b.SrcSizeMin }),
	num("dst_size_min", "UInt16", func(r *rec) *uint16 { return &r.DstSizeMin }, func(b *pb) *[]uint32 { return &b.DstSizeMin }),
	num("src_size_max", "UInt16", func(r *rec) *uint16 { return &r.SrcSizeMax }, func(b *pb) *[]uint32 { return &b.SrcSizeMax }),
	num("dst_size_max", "UInt16", func(r *rec) *uint16 { return &r.DstSizeMax }, func(b *pb) *[]uint32 { return &b.DstSizeMax }),
	float("src_size_std", func(r *rec) *float32 { return &r.SrcSizeStd }, func(b *pb) *[]float32 { return &b.SrcSizeStd }),
	float("dst_size_std", func(r *rec) *float32 { return &r.DstSizeStd }, func(b *pb) *[]float32 { return &b.DstSizeStd }),
	num("src_iat_min_us", "UInt32", func(r *rec) *uint32 { return &r.SrcIATMin }, func(b *pb) *[]uint32 { return &b.SrcIatMinUs }),
	num("dst_iat_min_us", "UInt32", func(r *rec) *uint32 { return &r.DstIATMin }, func(b *pb) *[]uint32 { return &b.DstIatMinUs }),
	num("src_iat_max_us", "UInt32", func(r *rec) *uint32 { return &r.SrcIATMax }, func(b *pb) *[]uint32 { return &b.SrcIatMaxUs }),
	num("dst_iat_max_us", "UInt32", func(r *rec) *uint32 { return &r.DstIATMax }, func(b *pb) *[]uint32 { return &b.DstIatMaxUs }),
	num("src_iat_mean_us", "UInt32", func(r *rec) *uint32 { return &r.SrcIATMean }, func(b *pb) *[]uint32 { return &b.SrcIatMeanUs }),
	num("dst_iat_mean_us", "UInt32", func(r *rec) *uint32 { return &r.DstIATMean }, func(b *pb) *[]uint32 { return &b.DstIatMeanUs }),
	num("src_iat_std_us", "UInt32", func(r *rec) *uint32 { return &r.SrcIATStd }, func(b *pb) *[]uint32 { return &b.SrcIatStdUs }),
	num("dst_iat_std_us", "UInt32", func(r *rec) *uint32 { return &r.DstIATStd }, func(b *pb) *[]uint32 { return &b.DstIatStdUs }),
	signedList("first_sizes", func(r *rec) *[]int32 { return &r.FirstSizes }, func(b *pb) (*[]uint32, *[]uint32) { return &b.FirstSizesN, &b.FirstSizes }),
	numList("first_gaps_us", func(r *rec) *[]uint32 { return &r.FirstGaps }, func(b *pb) (*[]uint32, *[]uint32) { return &b.FirstGapsUsN, &b.FirstGapsUs }),

	// TCP and ICMP (continued)
	num("src_mss", "UInt16", func(r *rec) *uint16 { return &r.SrcMSS }, func(b *pb) *[]uint32 { return &b.SrcMss }),
	num("dst_mss", "UInt16", func(r *rec) *uint16 { return &r.DstMSS }, func(b *pb) *[]uint32 { return &b.DstMss }),
	num("src_zero_windows", "UInt32", func(r *rec) *uint32 { return &r.SrcZeroWindows }, func(b *pb) *[]uint32 { return &b.SrcZeroWindows }),
	num("dst_zero_windows", "UInt32", func(r *rec) *uint32 { return &r.DstZeroWindows }, func(b *pb) *[]uint32 { return &b.DstZeroWindows }),
	num("icmp_errors", "UInt32", func(r *rec) *uint32 { return &r.ICMPErrors }, func(b *pb) *[]uint32 { return &b.IcmpErrors }),
	num("icmp_error", "UInt16", func(r *rec) *uint16 { return &r.ICMPError }, func(b *pb) *[]uint32 { return &b.IcmpError }),

	// transactions: a request is what the initiator sends after the responder spoke (or first), its answer begins with the responder's next payload
	num("transactions", "UInt32", func(r *rec) *uint32 { return &r.Transactions }, func(b *pb) *[]uint32 { return &b.Transactions }),
	num("transaction_min_us", "UInt32", func(r *rec) *uint32 { return &r.TransactionMin }, func(b *pb) *[]uint32 { return &b.TransactionMinUs }),
	num("transaction_mean_us", "UInt32", func(r *rec) *uint32 { return &r.TransactionMean }, func(b *pb) *[]uint32 { return &b.TransactionMeanUs }),
	num("transaction_max_us", "UInt32", func(r *rec) *uint32 { return &r.TransactionMax }, func(b *pb) *[]uint32 { return &b.TransactionMaxUs }),

	// content of flows that nobody recognised
	float("payload_entropy", func(r *rec) *float32 { return &r.PayloadEntropy }, func(b *pb) *[]float32 { return &b.PayloadEntropy }),
	num("payload_printable", "UInt8", func(r *rec) *uint8 { return &r.PayloadPrintable }, func(b *pb) *[]uint32 { return &b.PayloadPrintable }),

	// application (continued)
	str("service", func(r *rec) *string { return &r.Service }, func(b *pb) *[]uint32 { return &b.Service }).lowCardinality(),
	risks("risks", func(r *rec) *Risk { return &r.Risks }, func(b *pb) *[]uint64 { return &b.Risks }),
	str("user", func(r *rec) *string { return &r.User }, func(b *pb) *[]uint32 { return &b.User }).lowCardinality(),
	str("domain", func(r *rec) *string { return &r.Domain }, func(b *pb) *[]uint32 { return &b.Domain }).lowCardinality(),
	str("app_host", func(r *rec) *string { return &r.AppHost }, func(b *pb) *[]uint32 { return &b.AppHost }).lowCardinality(),
	str("app_version", func(r *rec) *string { return &r.AppVersion }, func(b *pb) *[]uint32 { return &b.AppVersion }).lowCardinality(),
	str("client_software", func(r *rec) *string { return &r.ClientSoftware }, func(b *pb) *[]uint32 { return &b.ClientSoftware }).lowCardinality(),
	str("server_software", func(r *rec) *string { return &r.ServerSoftware }, func(b *pb) *[]uint32 { return &b.ServerSoftware }).lowCardinality(),
	strList("app_requests", func(r *rec) *[]string { return &r.AppRequests }, func(b *pb) (*[]uint32, *[]uint32) { return &b.AppRequestsN, &b.AppRequests }),
	strList("app_responses", func(r *rec) *[]string { return &r.AppResponses }, func(b *pb) (*[]uint32, *[]uint32) { return &b.AppResponsesN, &b.AppResponses }),
	num("app_errors", "UInt32", func(r *rec) *uint32 { return &r.AppErrors }, func(b *pb) *[]uint32 { return &b.AppErrors }),

	// certificate of TLS up to 1.2 and DTLS: the server's own
	str("tls_cert_subject", func(r *rec) *string { return &r.CertSubject }, func(b *pb) *[]uint32 { return &b.TlsCertSubject }),
	str("tls_cert_issuer", func(r *rec) *string { return &r.CertIssuer }, func(b *pb) *[]uint32 { return &b.TlsCertIssuer }),
	str("tls_cert_sha256", func(r *rec) *string { return &r.CertSHA256 }, func(b *pb) *[]uint32 { return &b.TlsCertSha256 }),
	num("tls_cert_not_before", "UInt64", func(r *rec) *uint64 { return &r.CertNotBefore }, func(b *pb) *[]uint64 { return &b.TlsCertNotBefore }),
	num("tls_cert_not_after", "UInt64", func(r *rec) *uint64 { return &r.CertNotAfter }, func(b *pb) *[]uint64 { return &b.TlsCertNotAfter }),
	strList("tls_cert_names", func(r *rec) *[]string { return &r.CertNames }, func(b *pb) (*[]uint32, *[]uint32) { return &b.TlsCertNamesN, &b.TlsCertNames }),
	num("tls_handshake_us", "UInt32", func(r *rec) *uint32 { return &r.TLSHandshake }, func(b *pb) *[]uint32 { return &b.TlsHandshakeUs }),

	// latencies of single transactions, beside the lists they belong to
	numList("http_latencies_us", func(r *rec) *[]uint32 { return &r.HTTPLatencies }, func(b *pb) (*[]uint32, *[]uint32) { return &b.HttpLatenciesUsN, &b.HttpLatenciesUs }),
	numList("dns_latencies_us", func(r *rec) *[]uint32 { return &r.DNSLatencies }, func(b *pb) (*[]uint32, *[]uint32) { return &b.DnsLatenciesUsN, &b.DnsLatenciesUs }),

	// provenance
	str("origin", func(r *rec) *string { return &r.Origin }, func(b *pb) *[]uint32 { return &b.Origin }).lowCardinality(),
}
