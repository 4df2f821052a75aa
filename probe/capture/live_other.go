//go:build !linux

package capture

import (
	"fmt"
	"log/slog"
)

// OpenLive captures from an interface; here it only says that it cannot.
func OpenLive(iface string, _ LiveOptions) ([]Source, error) {
	return nil, fmt.Errorf("open interface %s: %w: capture to a file with tcpdump and read that", iface, ErrUnsupported)
}

// SetFilter changes the filter of live sources, of which there are none here.
func SetFilter(_ []Source, _ string, _ int) error {
	return fmt.Errorf("set the capture filter: %w", ErrUnsupported)
}

// Handover prepares live sources for another program, of which there are none
// here.
func Handover(_ []Source) (state []byte, descriptors []int, err error) {
	return nil, nil, fmt.Errorf("hand over a source: %w", ErrUnsupported)
}

// Inherit takes over what Handover prepared.
func Inherit(_ []byte, _ *slog.Logger) ([]Source, error) {
	return nil, fmt.Errorf("take over captures: %w", ErrUnsupported)
}
