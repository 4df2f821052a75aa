package dpi

import (
	"math"

	"github.com/tapwatch/tapwatch/proto/flow"
)

const (
	// sampled octets of the first packet with payload are looked at.
	sampled = 512
	// randomFrom octets are needed to call something random.
	randomFrom = 64
	// randomGap is how far, in bits, the entropy of a sample of random octets
	// may lie below the most that as many octets can have: 8 bits, or log2 of
	// their number. English stays 1.5 bits and more below.
	randomGap = 0.9
)

// describe notes what a payload that nobody recognises looks like: Shannon
// entropy in bits per octet, and the share of printable octets.
func (in *Inspector) describe(b []byte, rec *flow.Record) {
	b = b[:min(len(b), sampled)]
	if len(b) == 0 {
		return
	}
	var counts [256]uint16
	printable := 0
	for _, c := range b {
		counts[c]++
		if c >= ' ' && c <= '~' || c == '\t' || c == '\r' || c == '\n' {
			printable++
		}
	}
	n, bits := float64(len(b)), 0.0
	for _, k := range counts {
		if k > 1 {
			bits += float64(k) * math.Log2(float64(k))
		}
	}
	bits = math.Log2(n) - bits/n
	rec.PayloadEntropy, rec.PayloadPrintable = float32(bits), uint8(100*printable/len(b))
	if len(b) >= randomFrom && bits > math.Log2(min(n, 256))-randomGap {
		rec.Risks |= flow.RiskSuspiciousEntropy
	}
}

// undescribe takes it back: the flow was recognised after all.
func undescribe(rec *flow.Record) {
	rec.PayloadEntropy, rec.PayloadPrintable = 0, 0
	rec.Risks &^= flow.RiskSuspiciousEntropy
}
