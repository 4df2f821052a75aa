//go:build !linux

package disk

import "os"

// Sync waits until the bytes and the length of f are on the device.
func Sync(f *os.File) error { return f.Sync() }

// Free is unknown here.
func Free(string) (int64, bool) { return 0, false }
