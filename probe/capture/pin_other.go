//go:build !linux

package capture

import "errors"

// Pin would keep the calling goroutine on one processor; it needs Linux.
func Pin(cpu int) (release func(), err error) {
	return nil, errors.New("pin a worker to a processor: this needs Linux")
}
