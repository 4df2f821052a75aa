//go:build linux || darwin || freebsd

package disk

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Lock keeps other processes out until f is closed. It fails at once if one
// has the lock.
func Lock(f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("another process uses it: stop that one, or configure another directory: %w", err)
		}
		return err
	}
	return nil
}

// Full reports whether err says that the device or a quota is full.
func Full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
