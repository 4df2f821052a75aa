//go:build darwin || freebsd

package spool

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// fdatasync waits until the bytes and the length of f are on the device.
func fdatasync(f *os.File) error { return f.Sync() }

// capacity is unknown here.
func capacity(string) int64 { return 0 }

// lockFile keeps other processes out until f is closed.
func lockFile(f *os.File) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("another process uses it: stop that one, or configure another directory: %w", err)
		}
		return err
	}
	return nil
}

func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
