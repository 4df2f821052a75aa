package model

import (
	"fmt"
	"math"
	"strings"
)

// Flow is what of a flow is needed: the columns of flows, and a line of `probe flows`.
type Flow struct {
	Host       string   `json:"src_ip" ch:"src_ip"` // the client: hosts are held back as a whole
	Server     string   `json:"dst_ip" ch:"dst_ip"`
	Port       uint16   `json:"dst_port" ch:"dst_port"`
	Protocol   uint8    `json:"protocol" ch:"protocol"`
	App        string   `json:"app" ch:"app"`
	AppSource  string   `json:"app_source" ch:"app_source"`
	Service    string   `json:"service" ch:"service"`
	SNI        string   `json:"tls_sni" ch:"tls_sni"`
	ALPN       string   `json:"tls_alpn" ch:"tls_alpn"`
	JA4        string   `json:"ja4" ch:"ja4"`
	TLSVersion uint16   `json:"tls_version" ch:"tls_version"`
	FirstSizes []int32  `json:"first_sizes" ch:"first_sizes"`
	FirstGaps  []uint32 `json:"first_gaps_us" ch:"first_gaps_us"`

	SrcPackets uint64  `json:"src_packets" ch:"src_packets"`
	DstPackets uint64  `json:"dst_packets" ch:"dst_packets"`
	SrcPayload uint64  `json:"src_payload_bytes" ch:"src_payload_bytes"`
	DstPayload uint64  `json:"dst_payload_bytes" ch:"dst_payload_bytes"`
	SrcMin     uint16  `json:"src_size_min" ch:"src_size_min"`
	SrcMax     uint16  `json:"src_size_max" ch:"src_size_max"`
	SrcStd     float32 `json:"src_size_std" ch:"src_size_std"`
	DstMin     uint16  `json:"dst_size_min" ch:"dst_size_min"`
	DstMax     uint16  `json:"dst_size_max" ch:"dst_size_max"`
	DstStd     float32 `json:"dst_size_std" ch:"dst_size_std"`
	SrcGapMean uint32  `json:"src_iat_mean_us" ch:"src_iat_mean_us"`
	SrcGapStd  uint32  `json:"src_iat_std_us" ch:"src_iat_std_us"`
	DstGapMean uint32  `json:"dst_iat_mean_us" ch:"dst_iat_mean_us"`
	DstGapStd  uint32  `json:"dst_iat_std_us" ch:"dst_iat_std_us"`
}

// Usable says whether the flow has a shape: payload both ways, three packets of it.
func (f *Flow) Usable() bool {
	if len(f.FirstSizes) < 3 {
		return false
	}
	out, in := false, false
	for _, s := range f.FirstSizes {
		out, in = out || s > 0, in || s < 0
	}
	return out && in
}

// firstPackets are those whose sizes and gaps are features by themselves.
const firstPackets = 10

// FeatureNames are those of FeaturesOf, in order.
func FeatureNames() []string {
	var list []string
	for i := range firstPackets {
		list = append(list, fmt.Sprintf("size_%d", i+1))
	}
	for i := 1; i < firstPackets; i++ {
		list = append(list, fmt.Sprintf("gap_%d", i+1))
	}
	return append(list, "first_packets", "first_turns", "first_out_share", "first_out_max", "first_in_max", "first_out_mean", "first_in_mean",
		"src_mean", "dst_mean", "src_min", "src_max", "src_std", "dst_min", "dst_max", "dst_std", "src_gap_mean", "src_gap_std", "dst_gap_mean", "dst_gap_std",
		"payload_ratio", "packet_ratio", "udp", "tls_version", "ja4_version", "ja4_ciphers", "ja4_extensions", "ja4_ciphers_hash", "ja4_extensions_hash", "alpn_h2", "alpn_http1", "alpn_h3", "alpn_other",
		"sni_length", "sni_labels", "sni_digits")
}

// FeaturesOf makes numbers of a flow: logarithms of amounts, with the sign of the
// direction for sizes. Neither addresses nor ports are among them: the same
// application elsewhere looks the same. The name of the server gives its shape
// only. Totals are of the flow so far, as ratios, so that long and short ones compare.
func FeaturesOf(f *Flow) []float64 {
	row := make([]float64, 0, 64)
	var outN, inN, outSum, inSum, outMax, inMax, turns float64
	for i, s := range f.FirstSizes {
		size := math.Abs(float64(s))
		if s > 0 {
			outN, outSum, outMax = outN+1, outSum+size, max(outMax, size)
		} else {
			inN, inSum, inMax = inN+1, inSum+size, max(inMax, size)
		}
		if i > 0 && (s > 0) != (f.FirstSizes[i-1] > 0) {
			turns++
		}
	}
	for i := range firstPackets {
		v := 0.0
		if i < len(f.FirstSizes) {
			v = float64(f.FirstSizes[i])
		}
		row = append(row, v)
	}
	for i := 1; i < firstPackets; i++ {
		v := -1.0
		if i < len(f.FirstGaps) {
			v = log(float64(f.FirstGaps[i]))
		}
		row = append(row, v)
	}
	n := float64(len(f.FirstSizes))
	row = append(row, n, ratio(turns, n), ratio(outN, n), outMax, inMax, ratio(outSum, outN), ratio(inSum, inN))
	row = append(row, ratio(float64(f.SrcPayload), float64(f.SrcPackets)), ratio(float64(f.DstPayload), float64(f.DstPackets)), float64(f.SrcMin), float64(f.SrcMax), float64(f.SrcStd),
		float64(f.DstMin), float64(f.DstMax), float64(f.DstStd), log(float64(f.SrcGapMean)), log(float64(f.SrcGapStd)), log(float64(f.DstGapMean)), log(float64(f.DstGapStd)),
		log(float64(f.SrcPayload))-log(float64(f.DstPayload)), log(float64(f.SrcPackets))-log(float64(f.DstPackets)), flag(f.Protocol == 17), float64(f.TLSVersion))
	row = append(row, ja4Numbers(f.JA4)...)
	h2, h1, h3, other := 0.0, 0.0, 0.0, 0.0
	for name := range strings.SplitSeq(f.ALPN, ",") {
		switch {
		case name == "":
		case strings.HasPrefix(name, "h2"):
			h2 = 1
		case strings.HasPrefix(name, "http/"):
			h1 = 1
		case strings.HasPrefix(name, "h3"):
			h3 = 1
		default:
			other = 1
		}
	}
	digits := 0.0
	for _, c := range f.SNI {
		digits += flag(c >= '0' && c <= '9')
	}
	row = append(row, h2, h1, h3, other, float64(len(f.SNI)), float64(strings.Count(f.SNI, ".")), digits)
	for i, v := range row {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			v = 0
		}
		row[i] = round(v)
	}
	return row
}

// ja4Numbers are version, ciphers, extensions of a JA4 ("t13d1516h2_…_…") and its two
// hashes as numbers, which trees can tell apart but not order in any sense; -1
// without.
func ja4Numbers(s string) []float64 {
	a, rest, _ := strings.Cut(s, "_")
	b, c, _ := strings.Cut(rest, "_")
	if len(a) != 10 {
		return []float64{-1, -1, -1, -1, -1}
	}
	two := func(t string) float64 {
		if t[0] < '0' || t[0] > '9' || t[1] < '0' || t[1] > '9' {
			return 0
		}
		return float64(t[0]-'0')*10 + float64(t[1]-'0')
	}
	return []float64{two(a[1:3]), two(a[4:6]), two(a[6:8]), short(b), short(c)}
}

// short is a number of 0 to 65535 for the first four hexadecimal digits.
func short(s string) float64 {
	var n uint32
	for i := 0; i < len(s) && i < 4; i++ {
		d := strings.IndexByte("0123456789abcdef", s[i])
		if d < 0 {
			return -1
		}
		n = n<<4 | uint32(d)
	}
	return float64(n)
}

func log(v float64) float64 { return math.Log1p(max(v, 0)) }

func ratio(a, b float64) float64 {
	if b <= 0 {
		return 0
	}
	return a / b
}

func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
