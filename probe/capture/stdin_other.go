//go:build !linux

package capture

import "os"

// openPath opens a file, or standard input for "-".
func openPath(path string) (*os.File, error) {
	if path == "-" {
		return os.Stdin, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, cause(err)
	}
	return f, nil
}
