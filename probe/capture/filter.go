package capture

import (
	"fmt"
	"regexp"

	"golang.org/x/net/bpf"
)

// Filter is a compiled BPF program. It is read-only after it was made, and may
// be used by several goroutines. A nil Filter lets every frame through.
type Filter struct {
	expr string
	raw  []bpf.RawInstruction
	prog []step
	vlan bool
}

// FullFrame is the snap length that stands for "everything"; libpcap's
// MAXIMUM_SNAPLEN.
const FullFrame = 262144

// CompileFilter compiles an expression in tcpdump's language for frames of the
// LINKTYPE link with libpcap, which is loaded when it is first needed. snaplen
// is what the program returns for a frame that passes, in bytes; 0 or less
// means FullFrame. Errors wrap ErrNoLibpcap, with the package to install, or
// ErrFilter, with libpcap's own message.
func CompileFilter(expr string, link uint16, snaplen int) (*Filter, error) {
	if snaplen <= 0 || snaplen > FullFrame {
		snaplen = FullFrame
	}
	raw, err := compileLibpcap(expr, link, snaplen)
	if err != nil {
		return nil, err
	}
	return newFilter(expr, raw)
}

// newFilter checks a program and prepares it for Match.
func newFilter(expr string, raw []bpf.RawInstruction) (*Filter, error) {
	prog, err := prepare(raw)
	if err != nil {
		return nil, fmt.Errorf("filter %q: %w: %w", expr, err, ErrFilter)
	}
	return &Filter{expr: expr, raw: raw, prog: prog, vlan: usesVLAN(expr, raw)}, nil
}

// Expr is the expression the filter was compiled from.
func (f *Filter) Expr() string { return f.expr }

// Raw is the program as libpcap made it; it belongs to the Filter.
func (f *Filter) Raw() []bpf.RawInstruction { return f.raw }

// NeedsVLAN says that the program looks at VLAN tags. In the kernel these are
// beside the frame, not in it, so such a program runs in user space, on the
// frame with its tags restored.
func (f *Filter) NeedsVLAN() bool { return f.vlan }

// vlanWord finds the expressions that ask for tags or for bytes behind the
// addresses, where a tag would be.
var vlanWord = regexp.MustCompile(`(?i)\b(vlan|mpls|pppoed|pppoes)\b|\b(ether|link|fddi|tr|wlan)\s*\[`)

// usesVLAN also looks for comparisons with a tag's EtherType (IEEE 802.1Q,
// 802.1ad, and the older 0x9100), which "ether proto 0x8100" compiles to.
func usesVLAN(expr string, raw []bpf.RawInstruction) bool {
	if vlanWord.MatchString(expr) {
		return true
	}
	for _, r := range raw {
		if r.Op == opJmp|jmpEq && (r.K == 0x8100 || r.K == 0x88a8 || r.K == 0x9100) {
			return true
		}
	}
	return false
}
