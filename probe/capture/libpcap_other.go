//go:build !linux && !darwin

package capture

import (
	"fmt"

	"golang.org/x/net/bpf"
)

// compileLibpcap has no way to libpcap on this system.
func compileLibpcap(expr string, _ uint16, _ int) ([]bpf.RawInstruction, error) {
	return nil, fmt.Errorf("filter %q: capture filters need Linux or macOS: %w", expr, ErrNoLibpcap)
}
