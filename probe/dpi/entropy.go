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

// census holds what describe would else work out for each octet.
type census struct {
	// steps[k] is what k log2 k grows by from k to k+1, in 1/censusUnit: the
	// entropy of n octets is log2 n less the sum of k log2 k over all octets'
	// counts k, divided by n.
	steps     [sampled]int64
	printable [256]uint8 // 1 or 0
}

const censusUnit = 1 << 40

func newCensus() *census {
	s := new(census)
	weight := func(k int) int64 { return int64(math.Round(censusUnit * float64(k) * math.Log2(float64(max(k, 1))))) }
	for k := range s.steps {
		s.steps[k] = weight(k+1) - weight(k)
	}
	for c := range s.printable {
		if c >= ' ' && c <= '~' || c == '\t' || c == '\r' || c == '\n' {
			s.printable[c] = 1
		}
	}
	return s
}

// describe notes what a payload that nobody recognises looks like: Shannon
// entropy in bits per octet, and the share of printable octets.
func (in *Inspector) describe(b []byte, rec *flow.Record) {
	b = b[:min(len(b), sampled)]
	if len(b) == 0 {
		return
	}
	if in.census == nil {
		in.census = newCensus()
	}
	var counts [256]uint16
	printable, sum := 0, int64(0)
	for _, c := range b {
		sum += in.census.steps[counts[c]&(sampled-1)]
		counts[c]++
		printable += int(in.census.printable[c])
	}
	n := float64(len(b))
	bits := math.Log2(n) - float64(sum)/censusUnit/n
	if bits < 1e-9 { // what rounding leaves of none
		bits = 0
	}
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
