//go:build !linux

package capture

import "fmt"

// OpenLive captures from an interface; here it only says that it cannot.
func OpenLive(iface string, _ LiveOptions) ([]Source, error) {
	return nil, fmt.Errorf("open interface %s: %w: capture to a file with tcpdump and read that", iface, ErrUnsupported)
}

// SetFilter changes the filter of live sources, of which there are none here.
func SetFilter(_ []Source, _ string, _ int) error {
	return fmt.Errorf("set the capture filter: %w", ErrUnsupported)
}
