package model

import "time"

// Row is a flow as statements return it that ask for models: flows.sql here, and
// those of detectors.
type Row struct {
	Site       string    `ch:"site"`
	ID         string    `ch:"id"`
	Community  string    `ch:"community_id"`
	Key        uint64    `ch:"key"` // tells flows apart, whoever saw them
	End        time.Time `ch:"end"`
	Start      time.Time `ch:"start"`
	Host       string    `ch:"src_ip"`
	Server     string    `ch:"dst_ip"`
	Port       uint16    `ch:"dst_port"`
	Protocol   uint8     `ch:"protocol"`
	App        string    `ch:"app"`
	AppSource  string    `ch:"app_source"`
	Service    string    `ch:"service"`
	SNI        string    `ch:"tls_sni"`
	ALPN       string    `ch:"tls_alpn"`
	JA4        string    `ch:"ja4"`
	TLSVersion uint16    `ch:"tls_version"`
	FirstSizes []int32   `ch:"first_sizes"`
	FirstGaps  []uint32  `ch:"first_gaps_us"`
	SrcPackets uint64    `ch:"src_packets"`
	DstPackets uint64    `ch:"dst_packets"`
	SrcPayload uint64    `ch:"src_payload_bytes"`
	DstPayload uint64    `ch:"dst_payload_bytes"`
	SrcMin     uint16    `ch:"src_size_min"`
	SrcMax     uint16    `ch:"src_size_max"`
	SrcStd     float32   `ch:"src_size_std"`
	DstMin     uint16    `ch:"dst_size_min"`
	DstMax     uint16    `ch:"dst_size_max"`
	DstStd     float32   `ch:"dst_size_std"`
	SrcGapMean uint32    `ch:"src_iat_mean_us"`
	SrcGapStd  uint32    `ch:"src_iat_std_us"`
	DstGapMean uint32    `ch:"dst_iat_mean_us"`
	DstGapStd  uint32    `ch:"dst_iat_std_us"`
}

// Flow is the part that a model is told of.
func (r *Row) Flow() Flow {
	return Flow{
		Host:       r.Host,
		Server:     r.Server,
		Port:       r.Port,
		Protocol:   r.Protocol,
		App:        r.App,
		AppSource:  r.AppSource,
		Service:    r.Service,
		SNI:        r.SNI,
		ALPN:       r.ALPN,
		JA4:        r.JA4,
		TLSVersion: r.TLSVersion,
		FirstSizes: r.FirstSizes,
		FirstGaps:  r.FirstGaps,
		SrcPackets: r.SrcPackets,
		DstPackets: r.DstPackets,
		SrcPayload: r.SrcPayload,
		DstPayload: r.DstPayload,
		SrcMin:     r.SrcMin,
		SrcMax:     r.SrcMax,
		SrcStd:     r.SrcStd,
		DstMin:     r.DstMin,
		DstMax:     r.DstMax,
		DstStd:     r.DstStd,
		SrcGapMean: r.SrcGapMean,
		SrcGapStd:  r.SrcGapStd,
		DstGapMean: r.DstGapMean,
		DstGapStd:  r.DstGapStd,
	}
}
