package dpi

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/proto/flow"
)

func TestUnknownContent(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return "\x00\x01" + string(b)
	}
	for _, tt := range []struct {
		name      string
		data      string
		entropy   float64 // bits, within 0.01; negative: not checked
		printable uint8
		risk      bool
	}{
		{"one octet", strings.Repeat("\x05", 100), 0, 0, false},
		{"two octets", strings.Repeat("\x05\x06", 50), 1, 0, false},
		{"text", "the quick brown fox jumps over the lazy dog, and then it went home to sleep for the rest of the day\n", -1, 100, false},
		{"random", random(500), -1, 38, true},
		{"random, short", random(70), -1, 0, true},
	} {
		k := newTalk(t, protoUDP, 50001)
		k.send(sideSrc, tt.data)
		r := k.end()
		if r.App != "unknown" {
			t.Errorf("%s: is %q", tt.name, r.App)
		}
		if tt.entropy >= 0 && math.Abs(float64(r.PayloadEntropy)-tt.entropy) > 0.01 {
			t.Errorf("%s: entropy %f, want %f", tt.name, r.PayloadEntropy, tt.entropy)
		}
		if got := r.Risks&flow.RiskSuspiciousEntropy != 0; got != tt.risk || r.PayloadPrintable > 60 != (tt.printable > 60) {
			t.Errorf("%s: entropy %f printable %d risk %v", tt.name, r.PayloadEntropy, r.PayloadPrintable, got)
		}
	}
	k := newTalk(t, protoTCP, 50001)
	k.send(sideSrc, "G")
	k.send(sideSrc, get("/a")[1:])
	if r := k.end(); r.App != "http" || r.PayloadEntropy != 0 || r.PayloadPrintable != 0 {
		t.Errorf("recognised later: %q entropy %f printable %d", r.App, r.PayloadEntropy, r.PayloadPrintable)
	}
}
